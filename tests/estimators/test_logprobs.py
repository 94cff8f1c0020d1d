"""Chunked log-probs: equal to the plain ones, and never [B T V] in memory."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec
from jax.test_util import check_grads

from jaxalign import estimators, sharding
from jaxalign.estimators import chunks

KEYS = jax.random.split(jax.random.key(0), 3)
HIDDEN = jax.random.normal(KEYS[0], (2, 7, 4))
UNEMBED = jax.random.normal(KEYS[1], (4, 11))
TARGETS = jax.random.randint(KEYS[2], (2, 7), 0, 11)


def plain(hidden, unembed, temperature, cap=None):
    """The same, written without chunks."""
    logits = hidden @ unembed
    logits = logits if cap is None else cap * jnp.tanh(logits / cap)
    logp = jax.nn.log_softmax(logits / temperature, axis=-1)
    picked = jnp.take_along_axis(logp, TARGETS[..., None], axis=-1)[..., 0]
    return picked, -jnp.sum(jnp.exp(logp) * logp, axis=-1)


@pytest.mark.parametrize("chunk", [1, 3, 7, 100, None])
@pytest.mark.parametrize("cap, temperature", [(None, 1.0), (2.0, 0.7)])
def test_chunked_equals_plain_with_its_gradients(chunk, cap, temperature):
    at = (HIDDEN, UNEMBED, jnp.float32(temperature))

    # sin gives each token another cotangent
    def actual(hidden, unembed, temperature):
        hyperparameters = {"chunk": chunk, "logit_cap": cap, "temperature": temperature}
        single = estimators.token_logprobs(hidden, unembed, TARGETS, **hyperparameters)
        both = estimators.token_statistics(hidden, unembed, TARGETS, **hyperparameters)
        total = jnp.sum(jnp.sin(single)) + jnp.sum(jnp.sin(3.0 * both.entropy))
        return total + jnp.sum(jnp.cos(both.logp)), (single, both.logp, both.entropy)

    def expected(*at):
        logp, entropy = plain(*at, cap)
        total = jnp.sum(jnp.sin(logp)) + jnp.sum(jnp.sin(3.0 * entropy))
        return total + jnp.sum(jnp.cos(logp)), (logp, logp, entropy)

    both = [jax.jit(jax.grad(f, (0, 1, 2), has_aux=True)) for f in (actual, expected)]
    # float32: sums of 11 terms, and of 14 tokens, in another order
    chex.assert_trees_all_close(*(f(*at) for f in both), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("cap", [None, 2.0])
def test_gradients_agree_with_finite_differences(cap):
    # float64: central differences of step 1e-6 are exact to about 1e-10 / 1e-6
    with jax.enable_x64(True):
        wide = [jnp.asarray(x, jnp.float64) for x in (HIDDEN, UNEMBED, 0.7)]
        function = lambda hidden, unembed, temperature: estimators.token_statistics(
            hidden, unembed, TARGETS, chunk=3, logit_cap=cap, temperature=temperature
        )
        check_grads(function, wide, 1, ["rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


def test_entropies_that_are_only_metrics_have_no_gradient():
    def watching(hidden, unembed):
        actual = estimators.token_statistics(hidden, unembed, TARGETS, chunk=3)
        return jnp.sum(jnp.sin(actual.logp)), actual.entropy

    def without(hidden, unembed):
        actual = estimators.token_logprobs(hidden, unembed, TARGETS, chunk=3)
        return jnp.sum(jnp.sin(actual))

    gradient = jax.grad(watching, (0, 1), has_aux=True)
    grads, entropy = jax.jit(gradient)(HIDDEN, UNEMBED)
    expected = jax.jit(jax.grad(without, (0, 1)))(HIDDEN, UNEMBED)
    chex.assert_trees_all_close(grads, expected, rtol=1e-6)
    np.testing.assert_allclose(entropy, plain(HIDDEN, UNEMBED, 1.0)[1], rtol=1e-5)


def test_by_hand():
    # logits (log 1, log 3): p = 1/4, 3/4
    unembed = jnp.log(jnp.array([[1.0, 3.0]]))
    logp = estimators.token_logprobs(jnp.ones((1, 1, 1)), unembed, jnp.array([[1]]))
    np.testing.assert_allclose(logp, [[np.log(0.75)]], rtol=1e-6)


def test_statistics_by_hand():
    # entropy of (1/4, 3/4)
    unembed = jnp.log(jnp.array([[1.0, 3.0]]))
    actual = estimators.token_statistics(
        jnp.ones((1, 1, 1)), unembed, jnp.array([[0]]), chunk=1
    )
    entropy = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    np.testing.assert_allclose(actual.logp, [[np.log(0.25)]], rtol=1e-6)
    np.testing.assert_allclose(actual.entropy, [[entropy]], rtol=1e-6)


def test_next_token_is_shifted():
    tokens = TARGETS
    actual = estimators.next_token_logprobs(HIDDEN, UNEMBED, tokens)
    logp = jax.nn.log_softmax(HIDDEN @ UNEMBED, axis=-1)
    for t in range(1, 7):
        expected = logp[jnp.arange(2), t - 1, tokens[:, t]]
        np.testing.assert_allclose(actual[:, t], expected, rtol=1e-5)
    np.testing.assert_array_equal(actual[:, 0], 0.0)


def test_bfloat16_accumulates_in_float32():
    # 4096 products of 1/64 * 1/64 sum to 1 exactly; a bfloat16 sum would stop at 2^-5,
    # where adding 2^-12 no longer changes its 8 bits
    hidden = jnp.full((1, 1, 4096), 1 / 64, jnp.bfloat16)
    unembed = jnp.stack([hidden[0, 0], jnp.zeros(4096, jnp.bfloat16)], axis=1)
    logp = estimators.token_logprobs(hidden, unembed, jnp.array([[0]]))
    assert logp.dtype == jnp.float32
    np.testing.assert_allclose(logp, [[-np.log1p(np.exp(-1.0))]], rtol=1e-5)


def test_gradients_of_bfloat16_are_summed_in_float32():
    # equal odds of two words, 2048 tokens, four a chunk: each adds 1/2 to the gradient,
    # 1024 in all. A bfloat16 sum would stop at 512, where 512 + 2 rounds to 512.
    hidden = jnp.ones((1, 2048, 1), jnp.bfloat16)
    total = lambda unembed: estimators.token_logprobs(
        hidden, unembed, jnp.zeros((1, 2048), jnp.int32), chunk=4
    ).sum()
    gradient = jax.grad(total)(jnp.zeros((1, 2), jnp.bfloat16))
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, [[1024.0, -1024.0]])


def test_one_token_has_no_next():
    tokens = jnp.zeros((2, 1), jnp.int32)
    total = lambda h: estimators.next_token_logprobs(h, UNEMBED, tokens).sum()
    value, gradient = jax.value_and_grad(total)(HIDDEN[:, :1])
    assert value == 0.0 and (gradient == 0.0).all()


@pytest.mark.parametrize(
    "shape, vocabulary, chunk, expected",
    [
        ((16, 256), 8192, None, 256),  # 2^25 logits: one chunk
        ((4, 512), 128_000, None, 128),  # 131 fit: four chunks of 128
        ((2, 7), 11, 5, 4),  # two chunks of 5 would be 10: of 4, 8
        ((2, 7), 11, 100, 7),
        ((4096, 9), 2**20, None, 1),
    ],
)
def test_chunks_are_even(shape, vocabulary, chunk, expected):
    assert chunks.balanced_chunk_size(shape, vocabulary, chunk) == expected


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

    all_logits = rows * length * vocabulary * 4
    assert all_logits > 1e9
    chunked = lambda h, u, t: estimators.token_logprobs(h, u, t, chunk=16)
    # a chunk's logits a few times over, and the unembedding's gradient twice
    allowed = 4 * (rows * 16 * vocabulary * 4) + 3 * (width * vocabulary * 4)
    assert peak(naive) > all_logits
    assert peak(chunked) < allowed < all_logits / 4
    # by default, 128 of 512 positions at a time, and their gradient
    assert peak(estimators.token_logprobs) < 0.7 * all_logits


def collectives(text):
    """(computation, operation) of each collective in a compiled program."""
    computation = ""
    for line in text.splitlines():
        if line.endswith("{") and not line.startswith(" "):
            computation = line.split()[0]
        named = re.search(r" (all-reduce|all-gather|reduce-scatter|all-to-all)\(", line)
        if named:
            yield computation, named[1]


def test_eight_devices_equal_one_and_add_up_once():
    mesh = sharding.make_mesh({"data": 8})
    hidden, targets = jnp.tile(HIDDEN, (4, 1, 1)), jnp.tile(TARGETS, (4, 1))
    total = lambda h, u, t: jnp.sum(
        jnp.sin(estimators.token_logprobs(h, u, t, chunk=2))
    )
    step = jax.value_and_grad(total, (0, 1))
    one = jax.jit(step)(hidden, UNEMBED, targets)
    with jax.set_mesh(mesh):
        hidden, targets = sharding.place_batch((hidden, targets), mesh)
        unembed = sharding.place(UNEMBED, PartitionSpec(), mesh)
        compiled = jax.jit(step).lower(hidden, unembed, targets).compile()
        eight = compiled(hidden, unembed, targets)
    # sums in another order: float32 rounding
    chex.assert_trees_all_close(eight, one, rtol=1e-5, atol=1e-5)
    assert eight[1][0].addressable_shards[0].data.shape == (1, 7, 4)
    # no row travels, and sums cross devices outside the loop over chunks
    actual = set(collectives(compiled.as_text()))
    assert actual == {("ENTRY", "all-reduce")}
