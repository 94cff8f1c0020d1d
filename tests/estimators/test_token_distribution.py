"""Whole next-token distributions, chunk by chunk, against the plain ones."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import estimators

KEYS = jax.random.split(jax.random.key(0), 4)
HIDDEN = jax.random.normal(KEYS[0], (2, 7, 4))
UNEMBED = jax.random.normal(KEYS[1], (4, 11))
OTHER = jax.random.normal(KEYS[2], (2, 7, 3)), jax.random.normal(KEYS[3], (3, 11))
CASES = pytest.mark.parametrize("chunk, cap", [(1, None), (4, 2.0), (None, None)])


def logp(hidden, unembed, cap):
    logits = hidden[:, :-1] @ unembed
    logits = logits if cap is None else cap * jnp.tanh(logits / cap)
    return jax.nn.log_softmax(logits)


def shifted(x):
    return jnp.pad(x, ((0, 0), (1, 0)))


def plain_kl(hidden, unembed, other_hidden, other_unembed, cap=None):
    p, q = logp(hidden, unembed, cap), logp(other_hidden, other_unembed, cap)
    return shifted(jnp.sum(jnp.exp(p) * (p - q), axis=-1))


@CASES
def test_kl_equals_the_plain_one_with_its_gradients(chunk, cap):
    at = (HIDDEN, UNEMBED, *OTHER)
    actual = lambda *at: estimators.next_token_kl(*at, chunk=chunk, logit_cap=cap)
    # float32: sums of 11 terms, and of 14 tokens, in another order
    chex.assert_trees_all_close(actual(*at), plain_kl(*at, cap), rtol=1e-5, atol=1e-6)
    # sin gives each token another cotangent
    gradients = [
        jax.jit(jax.grad(lambda *at, f=f: jnp.sum(jnp.sin(f(*at))), (0, 1, 2, 3)))(*at)
        for f in (actual, lambda *at: plain_kl(*at, cap))
    ]
    chex.assert_trees_all_close(*gradients, rtol=1e-4, atol=1e-5)


@CASES
def test_log_sum_square_equals_the_plain_one_and_gets_no_gradient(chunk, cap):
    actual = lambda *at: estimators.next_token_log_sum_square(
        *at, chunk=chunk, logit_cap=cap
    )
    p = jnp.exp(logp(HIDDEN, UNEMBED, cap))
    expected = shifted(jnp.log(jnp.sum(p**2, axis=-1)))
    chex.assert_trees_all_close(actual(HIDDEN, UNEMBED), expected, rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda *at: actual(*at).sum(), (0, 1))(HIDDEN, UNEMBED)
    chex.assert_trees_all_equal(
        gradient, jax.tree.map(jnp.zeros_like, (HIDDEN, UNEMBED))
    )


def test_by_hand():
    # (1/4, 3/4) against (1/2, 1/2): KL = 1/4 log(1/2) + 3/4 log(3/2); 1/16 + 9/16
    one, two = jnp.log(jnp.array([[1.0, 3.0]])), jnp.zeros((1, 2))
    hidden = jnp.ones((1, 2, 1))
    kl = estimators.next_token_kl(hidden, one, hidden, two)
    expected = 0.25 * np.log(0.5) + 0.75 * np.log(1.5)
    np.testing.assert_allclose(kl, [[0.0, expected]], rtol=1e-6)
    square = estimators.next_token_log_sum_square(hidden, one)
    np.testing.assert_allclose(square, [[0.0, np.log(0.625)]], rtol=1e-6)


def test_gradients_of_bfloat16_are_summed_in_float32():
    # p = (1/2, 1/2) against q = softmax(0, log 3): d KL(p || q) / d its logits = q - p
    # = (-1/4, 1/4) at each of 2048 tokens, 512 in all. Four a chunk: a bfloat16 sum
    # would stop at 256, where 256 + 1 rounds to 256.
    hidden = jnp.ones((1, 2049, 1), jnp.bfloat16)
    p, q = jnp.zeros((1, 2), jnp.bfloat16), jnp.array([[0.0, np.log(3.0)]])
    total = lambda q: estimators.next_token_kl(hidden, p, hidden, q, chunk=4).sum()
    gradient = jax.grad(total)(q.astype(jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    # log 3 in bfloat16 is off by up to 2^-9 of itself
    np.testing.assert_allclose(gradient, [[-512.0, 512.0]], rtol=1e-2)


def test_one_token_has_no_next():
    actual = estimators.next_token_kl(HIDDEN[:, :1], UNEMBED, HIDDEN[:, :1], UNEMBED)
    np.testing.assert_array_equal(actual, 0.0)
    square = estimators.next_token_log_sum_square(HIDDEN[:, :1], UNEMBED)
    np.testing.assert_array_equal(square, 0.0)


def test_no_logits_of_all_positions_at_once():
    # [8 512 4096] in float32 are 64 MB for each of the two models; a chunk of 16
    # positions holds 2 MB of each
    shapes = [
        jax.ShapeDtypeStruct(shape, jnp.float32)
        for shape in ((8, 513, 8), (8, 4096), (8, 513, 8), (8, 4096))
    ]
    total = lambda *at: estimators.next_token_kl(*at, chunk=16).sum()
    compiled = jax.jit(jax.grad(total, (0, 1))).lower(*shapes).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 32e6
