"""Text mixed into PPO: the gradient is the sum of both, whatever the micro-batches."""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from jaxalign import batches
from jaxalign.training import forward, objectives, state, step

KEY = jax.random.key(0)
WEIGHT = 0.7


@pytest.fixture
def params(bigram, scalar):
    return {"policy": bigram.init(KEY), "value": scalar.init(KEY)}


@pytest.fixture
def rollout(bigram, scalar, rows, params):
    sequences, rng = rows(6), np.random.default_rng(5)
    noise = lambda: rng.normal(size=sequences.tokens.shape).astype(np.float32)
    return batches.RolloutBatch(
        sequences=sequences,
        old_logp=forward.token_logps(bigram, params["policy"], sequences)
        + 0.1 * noise(),
        old_value=noise(),
        advantage=noise(),
        returns=noise(),
    )


def mean_gradient(objective, params, batch):
    """The gradient of a sum over its weight."""
    total = lambda p: objective(p, batch)[0]
    weight = objective(params, batch)[1][0]
    return jax.tree.map(lambda g: np.asarray(g / weight), jax.grad(total)(params))


@pytest.mark.slow
def test_the_gradient_is_the_sum_of_the_two(bigram, scalar, rows, params, rollout):
    text = rows(3, seed=1)
    ppo, sft = objectives.ppo(bigram, scalar), objectives.sft(bigram)
    mixed = objectives.with_ptx(ppo, bigram, ptx_coef=WEIGHT)
    found = mean_gradient(mixed, params, objectives.mix_batches(rollout, text))
    of_ppo = mean_gradient(ppo, params, rollout)
    of_text = mean_gradient(sft, params["policy"], text)
    expected = jax.tree.map(lambda a, b: a + WEIGHT * b, of_ppo["policy"], of_text)
    for name, gradient in expected.items():
        np.testing.assert_allclose(found["policy"][name], gradient, atol=1e-6)
        assert np.abs(gradient - of_ppo["policy"][name]).max() > 1e-3
    # the value model reads no text
    np.testing.assert_allclose(
        found["value"]["head"], of_ppo["value"]["head"], atol=1e-6
    )


def test_micro_batches_change_nothing(bigram, scalar, rows, params, rollout):
    # six rows of each, of unequal lengths: no micro-batch has the batch's share
    batch = objectives.mix_batches(rollout, rows(6, seed=1))
    mixed = objectives.with_ptx(objectives.ppo(bigram, scalar), bigram, ptx_coef=WEIGHT)
    sgd = optax.sgd(1.0)
    found = []
    for parts in (1, 3):
        update = step.make_step(mixed, sgd, micro_batches=parts)
        now, metrics = update(state.create(params, sgd, KEY), batch)
        found.append((now.params, metrics["ptx_nll"]))
    (one, nll), (three, same) = found
    np.testing.assert_allclose(nll, same, rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(three), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_text_of_which_nothing_counts_adds_nothing(
    bigram, scalar, rows, params, rollout
):
    text = rows(3)
    text = dataclasses.replace(text, loss_mask=np.zeros_like(text.loss_mask))
    ppo = objectives.ppo(bigram, scalar)
    mixed = objectives.with_ptx(ppo, bigram, ptx_coef=WEIGHT)
    total, _ = mixed(params, objectives.mix_batches(rollout, text))
    assert total == ppo(params, rollout)[0]


def test_an_entropy_bonus_is_taken_off_the_loss(bigram, scalar, params, rollout):
    plain, (_, metrics) = objectives.ppo(bigram, scalar)(params, rollout)
    total, _ = objectives.ppo(bigram, scalar, entropy_coef=0.5)(params, rollout)
    np.testing.assert_allclose(total, plain - 0.5 * metrics["entropy"][0], rtol=1e-5)
