"""Answers that share their prompt train as they would in rows of their own."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxalign import batches, losses
from jaxalign.data import loader, packing
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import Preference, Ranking
from jaxalign.models import heads, transformer
from jaxalign.models.config import ModelConfig
from jaxalign.rewards import reward_model
from jaxalign.training import objectives, reference_cache

CONFIG = ModelConfig(
    vocab_size=23,
    width=16,
    hidden=24,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=4,
    context=64,
)
KEY = jax.random.key(0)


def examples(count, answers):
    """Prompts of 1 to 6 tokens, with answers of 1 to 9."""
    rng = np.random.default_rng(0)
    made = []
    for i in range(count):
        asked = rng.integers(0, 23, rng.integers(1, 7))
        told = [rng.integers(0, 23, rng.integers(1, 10)) for _ in range(answers(i))]
        rows = [np.concatenate([asked, x]).astype(np.int32) for x in told]
        masks = [np.arange(len(x)) >= len(asked) for x in rows]
        sequences = tuple(TokenRow(x, m) for x, m in zip(rows, masks, strict=True))
        made.append(Example(sequences, i, 0.25 * i))
    return made


def both_ways(made, kind):
    """A packed batch, and the same examples in rows of their own."""
    shared = next(packing.answer_batches(made, 16, seed=0))
    held = [made[i] for i in shared.row[shared.valid]]
    apart = loader.batches(held, len(held), kind=kind, seed=0, shuffle=False)
    return shared, next(apart)


def compare(objective, params, shared, apart):
    gradient = jax.value_and_grad(objective, has_aux=True)
    (total, (weight, metrics)), grads = jax.jit(gradient)(params, shared)
    (other, (other_weight, others)), other_grads = jax.jit(gradient)(params, apart)
    assert weight == other_weight > 16 / 2
    # float32: the same numbers, added up in rows of another shape
    np.testing.assert_allclose(total, other, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5),
        grads,
        other_grads,
    )
    assert metrics.keys() == others.keys()
    for name, part in metrics.items():
        np.testing.assert_allclose(part, others[name], rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_pairs_train_policies_alike():
    shared, apart = both_ways(examples(40, lambda i: 2), Preference)
    assert shared.sequences.tokens.size < 2 * apart.chosen.tokens.size
    model = transformer.language_model(CONFIG)
    params = model.init(KEY)
    rng = np.random.default_rng(1)
    ref = rng.normal(-20, 1, (2, len(apart.row))).astype(np.float32)
    spread = np.zeros((2, len(shared.row)), np.float32)
    spread[:, shared.valid] = ref
    objective = objectives.preference(model, objectives.pairwise_loss("dpo", beta=0.3))
    compare(
        objective,
        params,
        shared.with_reference(*spread),
        apart.with_reference(*ref),
    )


@pytest.mark.slow
def test_pairs_and_their_margins_train_reward_models_alike():
    shared, apart = both_ways(examples(40, lambda i: 2), Preference)
    model = heads.scalar_model(CONFIG)
    compare(objectives.reward(model, center=0.1), model.init(KEY), shared, apart)


@pytest.mark.slow
def test_rankings_of_unlike_numbers_train_reward_models_alike():
    shared, apart = both_ways(examples(40, lambda i: 2 + i % 3), Ranking)
    model = heads.scalar_model(CONFIG)
    for loss in (losses.all_pairs_bradley_terry, losses.plackett_luce):
        objective = objectives.ranking(model, loss=loss)
        compare(objective, model.init(KEY), shared, apart)


def test_prompts_that_differ_share_their_beginning():
    made = examples(40, lambda i: 2)
    for i, example in enumerate(made):
        first, second = example.sequences
        tokens = second.tokens.copy()
        at = i % max(second.prompt_length, 1)  # at once, or later
        tokens[at] = 22 - first.tokens[0]
        second = TokenRow(tokens, second.mask)
        made[i] = dataclasses.replace(example, sequences=(first, second))
    shared, apart = both_ways(made, Preference)
    model = heads.scalar_model(CONFIG)
    compare(objectives.reward(model), model.init(KEY), shared, apart)


def test_what_does_not_count_at_an_answers_start_is_still_its_own():
    # as --mask-formatting leaves it: the chosen answer's first token does not count
    tokens = np.array([6, 7, 8, 9], np.int32), np.array([6, 7, 5, 4], np.int32)
    masks = np.array([0, 0, 0, 1], bool), np.array([0, 0, 1, 1], bool)
    one = Example(tuple(map(TokenRow, tokens, masks)), 0)
    batch = next(packing.answer_batches([one], 1, seed=0))
    assert batch.sequences.tokens[0, :7].tolist() == [6, 7, 8, 9, 7, 5, 4]
    counted = batch.sequences.loss_mask[0, :7].tolist()
    assert counted == [False, False, False, True, False, True, True]


def test_an_answer_sees_its_prompt_and_no_other_answer():
    made = examples(40, lambda i: 3)
    shared = next(packing.answer_batches(made, 16, seed=0))
    model = heads.scalar_model(CONFIG)
    params = model.init(KEY)

    def scores(tokens):
        sequences = dataclasses.replace(shared.sequences, tokens=tokens)
        changed = dataclasses.replace(shared, sequences=sequences)
        found = reward_model.answer_scores(model, params, changed)
        found = found.reshape(shared.mask.shape)
        return np.where(shared.mask, found, 0.0)  # of no meaning where nobody answers

    tokens = shared.sequences.tokens
    before = scores(tokens)
    segments = shared.sequences.segments
    second = (segments == 1 + 2 * batches.BRANCH_STRIDE) & shared.sequences.loss_mask
    changed = scores(np.where(second, (tokens + 1) % 23, tokens)) != before
    # of the first prompt of each row, the second answer alone
    per_row = changed.reshape(len(tokens), -1, 3)
    assert per_row[:, 0, 1].all() and per_row.sum() == len(tokens)
    asked = segments == 1
    changed = scores(np.where(asked, (tokens + 1) % 23, tokens)) != before
    alone = ~asked.any(axis=1)  # prompts of one token are in each branch
    per_row = changed.reshape(len(tokens), -1, 3)
    assert (per_row[:, 0].all(axis=1) | alone).all() and not per_row[:, 1:].any()


def test_the_reference_scores_shared_prompts_alike():
    made = examples(40, lambda i: 2)
    shared, apart = both_ways(made, Preference)
    model = transformer.language_model(CONFIG)
    score = reference_cache.reference_logp_fn(model)
    sums = score(model.init(KEY), shared)
    others = score(model.init(KEY), apart)
    assert sums.shape[1] == 4  # whole answers, then their shared lengths
    np.testing.assert_allclose(sums[shared.valid], others, rtol=1e-5)
    assert not sums[~shared.valid].any()


def test_sums_by_hand():
    # one row: prompt (7), answers (8) and (9, 9), each after the prompt's last token
    one = Example(
        (
            TokenRow(np.array([6, 7, 8], np.int32), np.array([False, False, True])),
            TokenRow(np.array([6, 7, 9, 9], np.int32), np.array([0, 0, 1, 1], bool)),
        ),
        5,
        0.5,
    )
    batch = next(packing.answer_batches([one], 1, seed=0))
    assert batch.sequences.tokens[0, :6].tolist() == [6, 7, 8, 7, 9, 9]
    assert batch.sequences.positions[0, :6].tolist() == [0, 1, 2, 1, 2, 3]
    logp = np.arange(batch.sequences.tokens.size, dtype=np.float32)[None]
    counted = np.where(batch.sequences.loss_mask, logp, 0)
    rows = np.asarray(batch.per_answer(counted))
    np.testing.assert_array_equal(rows[0, :4], [0, 2, 0, 0])
    np.testing.assert_array_equal(rows[1, :4], [0, 4, 5, 0])
    assert not rows[2:].any()
    np.testing.assert_array_equal(batch.answer_ends()[0, :2], [2, 5])
    assert batch.row[0] == 5 and batch.margin[0] == 0.5
