"""Objectives of SFT and of reward models, against numpy in float64."""

import dataclasses

import jax
import numpy as np

from jaxalign import batches
from jaxalign.training import objectives
from tests.training.objective_values import KEY, means, sigmoid


def test_sft_is_the_mean_nll_of_answer_tokens(bigram, rows, bigram_logps):
    params, batch = bigram.init(KEY), rows(6)
    loss, metrics = means(objectives.sft(bigram)(params, batch))
    logp = bigram_logps(params, batch.tokens)
    np.testing.assert_allclose(loss, -logp[batch.loss_mask].mean(), rtol=1e-5)
    assert metrics["answer_length"] == batch.loss_mask.sum() / 6


def test_sft_ignores_padding_and_prompts(bigram, rows):
    params, batch = bigram.init(KEY), rows(6)
    other = dataclasses.replace(
        batch, tokens=np.where(batch.segments > 0, batch.tokens, 7)
    )
    sft = jax.value_and_grad(objectives.sft(bigram), has_aux=True)
    (a, _), grads = sft(params, batch)
    (b, _), other_grads = sft(params, other)
    assert a == b
    jax.tree.map(np.testing.assert_array_equal, grads, other_grads)


def test_reward_reads_the_last_real_token(scalar, pairs):
    params, batch = scalar.init(KEY), pairs(5)
    head = np.asarray(params["head"], np.float64)

    def last(side):
        at = side.lengths - 1
        return head[side.tokens[np.arange(5), at]] + 0.01 * at

    chosen, rejected = last(batch.chosen), last(batch.rejected)
    terms = -np.log(sigmoid(chosen - rejected - batch.margin))
    terms += 0.5 * (chosen + rejected) ** 2
    loss, metrics = means(objectives.reward(scalar, center=0.5)(params, batch))
    # the last pair is not valid
    np.testing.assert_allclose(loss, terms[:4].mean(), rtol=1e-5)
    assert metrics["accuracy"] == (chosen > rejected)[:4].mean()
    np.testing.assert_allclose(metrics["score/chosen"], chosen[:4].mean(), rtol=1e-5)


def test_a_tie_is_half_right(scalar, pairs):
    batch = pairs(5)
    tied = dataclasses.replace(batch, rejected=batch.chosen, margin=np.zeros(5, "f4"))
    loss, metrics = means(objectives.reward(scalar)(scalar.init(KEY), tied))
    np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)
    assert metrics["accuracy"] == 0.5


def test_confidence_is_an_input_of_the_step(scalar, pairs):
    # margins are not read; 0 is the soft loss, 1 the sharper of the two outcomes
    params = scalar.init(KEY)
    label_prob = np.array([0.75, 0.9, 1.0, 0.5, 0.0], np.float32)
    batch = dataclasses.replace(
        pairs(5), label_prob=label_prob, margin=np.full(5, 3.0, np.float32)
    )
    of = lambda loss, *inputs: means(
        objectives.reward(scalar, loss=loss)(params, batch, *inputs)
    )
    soft, _ = of(objectives.soft_label_loss)
    none, _ = of(objectives.confidence_loss, np.float32(0.0))
    np.testing.assert_allclose(none, soft, rtol=1e-6)
    full, _ = of(objectives.confidence_loss, np.float32(1.0))
    half, _ = of(objectives.confidence_loss, np.float32(0.5))
    assert full < soft  # -log sigmoid(|gap|) is the least of all targets
    # the loss is linear in the target
    np.testing.assert_allclose(half, (soft + full) / 2, rtol=1e-5)


def test_ranking_of_two_is_bradley_terry(scalar, pairs):
    # Plackett-Luce with K = 2 is -log softmax([a, b])[0] = -log sigmoid(a - b).
    params, batch = scalar.init(KEY), pairs(5)
    full = dataclasses.replace(
        batch, valid=np.ones(5, bool), margin=np.zeros(5, np.float32)
    )
    ranked = batches.RankingBatch(
        batch.rows(),
        np.ones((5, 2), bool),
        batch.row,
    )
    want, _ = means(objectives.reward(scalar)(params, full))
    got, _ = means(objectives.ranking(scalar)(params, ranked))
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_prompts_with_one_answer_do_not_count(scalar, rows):
    mask = np.array([[True, True, False], [True, False, False]])
    batch = batches.RankingBatch(rows(6), mask, np.arange(2))
    _, (weight, _) = objectives.ranking(scalar)(scalar.init(KEY), batch)
    assert weight == 1
