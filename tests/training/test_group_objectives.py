"""The objective of group methods, on a bigram policy and by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.batches import GroupBatch
from jaxalign.training import forward, group_methods, objectives

KEY = jax.random.key(0)
ADVANTAGE = np.array([1.0, -1.0, 0.5, 2.0], np.float32)


@pytest.fixture
def rollout(bigram, rows):
    """Answers of the policy itself, so that every ratio is 1, and a reference."""
    params, sequences = bigram.init(KEY), rows(4)
    logp = forward.token_logps(bigram, params, sequences)
    other = bigram.init(jax.random.key(1))
    ref_logp = forward.token_logps(bigram, other, sequences)
    return params, GroupBatch(sequences, logp, ref_logp, ADVANTAGE)


def gradient(objective, params, batch):
    (total, (weight, metrics)), grads = jax.value_and_grad(objective, has_aux=True)(
        params, batch
    )
    return float(total) / float(weight), jax.tree.map(lambda g: g / weight, grads)


def policy_gradient(bigram, params, batch, weights):
    """The gradient of -sum of weights * logp, the weights by hand [B T]."""

    def loss(params):
        logp = forward.token_logps(bigram, params, batch.sequences)
        return -jnp.sum(jnp.where(batch.sequences.loss_mask, weights * logp, 0.0))

    return jax.grad(loss)(params)


@pytest.mark.parametrize("name", group_methods.METHODS)
def test_at_ratio_1_each_is_the_policy_gradient_with_its_own_weights(
    bigram, rollout, name
):
    params, batch = rollout
    mask = np.asarray(batch.sequences.loss_mask)
    tokens, lengths = mask.sum(), mask.sum(1, keepdims=True)
    per_token = {
        "grpo": 1 / (4 * lengths),
        "dr_grpo": np.full((4, 1), 1 / (4 * 7)),  # the longest answer is said to be 7
        "rloo": np.full((4, 1), 1 / 4),
        "reinforce_plus_plus": np.full((4, 1), 1 / tokens),
        "dapo": np.full((4, 1), 1 / tokens),
        "gspo": 1 / (4 * lengths),
        "cispo": np.full((4, 1), 1 / tokens),
    }[name]
    method = group_methods.METHODS[name]
    objective = objectives.group(bigram, method.loss, method.mean(7))
    _, grads = gradient(objective, params, batch)
    expected = policy_gradient(bigram, params, batch, ADVANTAGE[:, None] * per_token)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        grads,
        expected,
    )


def test_the_kl_is_added_per_token(bigram, rollout):
    params, batch = rollout
    mask = np.asarray(batch.sequences.loss_mask)
    method = group_methods.METHODS["dapo"]
    plain = objectives.group(bigram, method.loss, method.mean(7))
    held = objectives.group(bigram, method.loss, method.mean(7), kl_coef=0.5)
    ratio = np.asarray(batch.ref_logp - batch.old_logp)[mask]
    k3 = (np.exp(ratio) - 1 - ratio).mean()
    difference = gradient(held, params, batch)[0] - gradient(plain, params, batch)[0]
    np.testing.assert_allclose(difference, 0.5 * k3, rtol=1e-4)


@pytest.mark.slow
def test_rows_that_do_not_count_change_nothing(bigram, rollout):
    params, batch = rollout
    counts = np.array([True, True, False, True])
    mask = batch.sequences.loss_mask & counts[:, None]
    silent = dataclasses.replace(batch.sequences, loss_mask=mask)
    less = jax.tree.map(lambda x: np.asarray(x)[counts], batch)
    for name, method in group_methods.METHODS.items():
        objective = objectives.group(bigram, method.loss, method.mean(7), kl_coef=0.1)
        masked = gradient(
            objective, params, dataclasses.replace(batch, sequences=silent)
        )
        removed = gradient(objective, params, less)
        np.testing.assert_allclose(masked[0], removed[0], rtol=1e-5, err_msg=name)
