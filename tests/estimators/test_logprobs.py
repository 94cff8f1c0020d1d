"""Chunked log-probs: equal to the plain ones, and never [B T V] in memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import estimators

KEYS = jax.random.split(jax.random.key(0), 3)
HIDDEN = jax.random.normal(KEYS[0], (2, 7, 4))
UNEMBED = jax.random.normal(KEYS[1], (4, 11))
TARGETS = jax.random.randint(KEYS[2], (2, 7), 0, 11)


def plain(hidden, unembed, cap=None, temperature=1.0):
    """The same, written without chunks."""
    logits = hidden @ unembed
    logits = logits if cap is None else cap * jnp.tanh(logits / cap)
    logp = jax.nn.log_softmax(logits / temperature, axis=-1)
    return jnp.take_along_axis(logp, TARGETS[..., None], axis=-1)[..., 0]


@pytest.mark.parametrize("chunk", [1, 3, 7, 100, None])
@pytest.mark.parametrize("cap, temperature", [(None, 1.0), (2.0, 0.7)])
def test_chunked_equals_plain_with_its_gradients(chunk, cap, temperature):
    knobs = {"chunk": chunk, "logit_cap": cap, "temperature": temperature}

    def total(hidden, unembed):
        logp = estimators.token_logprobs(hidden, unembed, TARGETS, **knobs)
        return jnp.sum(jnp.sin(logp)), logp

    expected = lambda h, u: jnp.sum(jnp.sin(plain(h, u, cap, temperature)))
    gradients, logp = jax.grad(total, (0, 1), has_aux=True)(HIDDEN, UNEMBED)
    exact = plain(HIDDEN, UNEMBED, cap, temperature)
    # float32: sums of 11 terms in another order
    chex.assert_trees_all_close(logp, exact, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(
        gradients, jax.grad(expected, (0, 1))(HIDDEN, UNEMBED), rtol=1e-4, atol=1e-5
    )


def test_by_hand():
    # logits (log 1, log 3): p = 1/4, 3/4
    unembed = jnp.log(jnp.array([[1.0, 3.0]]))
    logp = estimators.token_logprobs(jnp.ones((1, 1, 1)), unembed, jnp.array([[1]]))
    np.testing.assert_allclose(logp, [[np.log(0.75)]], rtol=1e-6)


def test_statistics_by_hand():
    # entropy of (1/4, 3/4)
    unembed = jnp.log(jnp.array([[1.0, 3.0]]))
    found = estimators.token_statistics(
        jnp.ones((1, 1, 1)), unembed, jnp.array([[0]]), chunk=1
    )
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(found.logp, [[np.log(0.25)]], rtol=1e-6)
    np.testing.assert_allclose(found.entropy, [[entropy]], rtol=1e-6)


def test_next_token_is_shifted():
    tokens = TARGETS
    found = estimators.next_token_logprobs(HIDDEN, UNEMBED, tokens)
    logp = jax.nn.log_softmax(HIDDEN @ UNEMBED, axis=-1)
    for t in range(1, 7):
        expected = logp[jnp.arange(2), t - 1, tokens[:, t]]
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-5)
    np.testing.assert_array_equal(found[:, 0], 0.0)


def test_bfloat16_accumulates_in_float32():
    # 4096 products of 1/64 * 1/64 sum to 1 exactly; a bfloat16 sum would stop at 2^-5,
    # where adding 2^-12 no longer changes its 8 bits
    hidden = jnp.full((1, 1, 4096), 1 / 64, jnp.bfloat16)
    unembed = jnp.stack([hidden[0, 0], jnp.zeros(4096, jnp.bfloat16)], axis=1)
    logp = estimators.token_logprobs(hidden, unembed, jnp.array([[0]]))
    assert logp.dtype == jnp.float32
    np.testing.assert_allclose(logp, [[-np.log1p(np.exp(-1.0))]], rtol=1e-5)


def test_peak_memory_does_not_hold_all_logits():
    rows, length, width, vocabulary = 4, 512, 64, 128_000
    shapes = (
        jax.ShapeDtypeStruct((rows, length, width), jnp.float32),
        jax.ShapeDtypeStruct((width, vocabulary), jnp.float32),
        jax.ShapeDtypeStruct((rows, length), jnp.int32),
    )

    def peak(logprobs):
        total = lambda h, u, t: jnp.sum(logprobs(h, u, t))
        compiled = jax.jit(jax.grad(total, (0, 1))).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    def naive(h, u, t):
        logp = jax.nn.log_softmax(h @ u, axis=-1)
        return jnp.take_along_axis(logp, t[..., None], axis=-1)[..., 0]

    whole = rows * length * vocabulary * 4
    chunked = lambda h, u, t: estimators.token_logprobs(h, u, t, chunk=16)
    # a chunk's logits a few times over, and the unembedding's gradient twice
    allowed = 4 * (rows * 16 * vocabulary * 4) + 3 * (width * vocabulary * 4)
    assert peak(naive) > whole
    assert peak(chunked) < allowed < whole / 4
    assert peak(estimators.token_logprobs) < whole
