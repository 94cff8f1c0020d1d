"""PPO's objective: by numpy, ratio 1 on the first minibatch and not on the second."""

from functools import partial

import jax
import numpy as np
import optax
import pytest

from jaxalign import batches
from jaxalign.training import forward, objectives, state, step

KEY = jax.random.key(0)


@pytest.fixture
def params(bigram, scalar):
    return {"policy": bigram.init(KEY), "value": scalar.init(KEY)}


@pytest.fixture
def rollout(bigram, scalar, rows, params):
    """Makes a rollout of random rows, its old log-probs at a temperature."""

    # The batch is an argument, as in a run: what is compiled in gets folded otherwise,
    # and the last bit of a log-prob changes.
    @partial(jax.jit, static_argnums=2)
    def score(params, batch, temperature):
        return forward.token_logps(bigram, params, batch, temperature=temperature)

    def make(temperature=1.0):
        sequences, rng = rows(6), np.random.default_rng(5)
        noise = lambda: rng.normal(size=sequences.tokens.shape).astype(np.float32)
        return batches.RolloutBatch(
            sequences=sequences,
            old_logp=score(params["policy"], sequences, temperature),
            old_value=forward.token_values(scalar, params["value"], sequences),
            advantage=noise(),
            returns=noise(),
        )

    return make


def test_values_are_read_before_their_token(scalar, rows, params):
    batch = rows(3)
    values = forward.token_values(scalar, params["value"], batch)
    head = np.asarray(params["value"]["head"])
    np.testing.assert_allclose(values[:, 1], head[batch.tokens[:, 0]], rtol=1e-6)
    np.testing.assert_array_equal(values[:, 0], 0.0)


def test_the_loss_by_numpy(bigram, scalar, rollout, params, bigram_logps):
    batch = rollout()
    rng = np.random.default_rng(6)
    shape = batch.old_logp.shape
    batch = batches.RolloutBatch(
        sequences=batch.sequences,
        old_logp=np.asarray(batch.old_logp + rng.normal(size=shape) * 0.3, np.float32),
        old_value=np.asarray(
            batch.old_value + rng.normal(size=shape) * 0.3, np.float32
        ),
        advantage=batch.advantage,
        returns=batch.returns,
    )
    total, (weight, metrics) = objectives.ppo(
        bigram, scalar, clip_low=0.1, clip_high=0.3, value_clip=0.2, vf_coef=0.5
    )(params, batch)
    tokens, mask = batch.sequences.tokens, batch.sequences.loss_mask
    logp = bigram_logps(params["policy"], tokens)
    ratio = np.exp(logp - batch.old_logp)
    advantage = batch.advantage
    policy = -np.minimum(ratio * advantage, np.clip(ratio, 0.9, 1.3) * advantage)
    head = np.asarray(params["value"]["head"], np.float64)
    scores = head[tokens] + 0.01 * np.arange(shape[1])[None, :]
    value = np.pad(scores[:, :-1], ((0, 0), (1, 0)))
    old = batch.old_value
    clipped = np.clip(value, old - 0.2, old + 0.2)
    squares = (value - batch.returns) ** 2, (clipped - batch.returns) ** 2
    value_loss = 0.5 * np.maximum(*squares)
    assert weight == mask.sum()
    mean = {n: float(s) / float(w) for n, (s, w) in metrics.items()}
    np.testing.assert_allclose(
        float(total) / float(weight),
        (policy + 0.5 * value_loss)[mask].mean(),
        rtol=1e-5,
    )
    np.testing.assert_allclose(mean["value_loss"], value_loss[mask].mean(), rtol=1e-5)
    outside = (ratio < 0.9) | (ratio > 1.3)
    np.testing.assert_allclose(mean["clipfrac"], outside[mask].mean(), rtol=1e-6)
    log_ratio = np.log(ratio)
    k3 = (ratio - 1 - log_ratio)[mask].mean()
    np.testing.assert_allclose(mean["approxkl"], k3, rtol=1e-4)
    half_square = 0.5 * (log_ratio**2)[mask].mean()
    np.testing.assert_allclose(mean["approxkl_sq"], half_square, rtol=1e-4)
    explained = 1 - (batch.returns - value)[mask].var() / batch.returns[mask].var()
    got = objectives.explained_variance(mean)
    np.testing.assert_allclose(got, explained, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_ratio_is_one_at_first_and_then_not(
    bigram, scalar, rollout, params, temperature
):
    batch = rollout(temperature)
    optimizer = optax.adam(1e-2)
    objective = objectives.ppo(bigram, scalar, temperature=temperature)
    update = step.make_step(objective, optimizer)
    now = state.create(params, optimizer, KEY)
    now, first = update(now, batch)
    now, second = update(now, batch)
    # Exactly: both sides are one function of the same parameters.
    assert first["ratio"] == 1.0 and first["clipfrac"] == 0.0
    assert first["approxkl"] == 0.0 and first["approxkl_sq"] == 0.0
    assert second["approxkl"] > 1e-6


def test_temperature_on_one_side_only_is_seen(bigram, scalar, rollout, params):
    objective = objectives.ppo(bigram, scalar, temperature=1.0)
    _, (weight, metrics) = objective(params, rollout(0.7))
    assert metrics["approxkl"][0] / weight > 1e-3


def test_entropy_is_that_of_the_answers(bigram, scalar, rollout, params):
    batch = rollout(0.7)
    objective = objectives.ppo(bigram, scalar, temperature=0.7)
    _, (weight, metrics) = objective(params, batch)
    tree = jax.tree.map(lambda x: np.asarray(x, np.float64), params["policy"])
    logits = tree["embed"] @ tree["unembed"] / 0.7
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    entropy = -(np.exp(logp) * logp).sum(-1)
    before = np.pad(batch.sequences.tokens[:, :-1], ((0, 0), (1, 0)))
    want = entropy[before][batch.sequences.loss_mask].mean()
    np.testing.assert_allclose(metrics["entropy"][0] / weight, want, rtol=1e-5)
