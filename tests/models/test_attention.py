"""Blockwise attention against the full softmax."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.models import attention, blockwise_attention
from jaxalign.models.config import ModelConfig
from tests.support import quick

KERNELS = {"everywhere": attention.causal_attention, "cpu": attention.blockwise_cpu}


def config(heads: int, groups: int, **fields) -> ModelConfig:
    return ModelConfig(
        vocab_size=1,
        width=8,
        hidden=8,
        layers=1,
        heads=heads,
        kv_heads=groups,
        head_dim=8,
        context=16_384,
        **fields,
    )


@pytest.mark.parametrize("length", quick.only([5, 200], [5, 128, 200, 300]))
@pytest.mark.parametrize("groups", quick.only([2], [1, 2, 4]))
@pytest.mark.parametrize("kernel", KERNELS)
def test_blockwise_attention_equals_the_full_softmax(
    kernel, length, groups, monkeypatch
):
    """Short rows, whole blocks, a cut one, and blocks longer than the least."""
    monkeypatch.setattr(blockwise_attention, "BLOCKS", 2)
    rng = np.random.default_rng(length)
    query = rng.normal(size=(1, length, 4, 8)).astype(np.float32)
    key, value, weights = (
        rng.normal(size=(1, length, heads, 8)).astype(np.float32)
        for heads in (groups, groups, 4)
    )
    segments = 1 + (np.arange(length) >= length // 3)
    mask = np.tril(segments[:, None] == segments[None, :])[None]

    def total(function):
        def weighted_sum(*inputs):
            output = function(*inputs)
            return jnp.sum(output * weights), output

        gradient = jax.value_and_grad(weighted_sum, (0, 1, 2), has_aux=True)
        return jax.jit(gradient)(query, key, value)

    plain = lambda *x: jax.nn.dot_product_attention(*x, mask=mask[:, None])
    ours = lambda *x: KERNELS[kernel](
        *x, mask=jnp.asarray(mask), config=config(4, groups)
    )
    # float32 sums of up to 300 terms, in another order
    (_, output), gradients = total(ours)
    (_, expected), expected_gradients = total(plain)
    chex.assert_trees_all_close(output, expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(gradients, expected_gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", KERNELS)
def test_compile_time_does_not_grow_with_length(kernel):
    """There are never more than 8 blocks."""
    shape = lambda heads: jax.ShapeDtypeStruct((1, 16_384, heads, 8), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, 16_384, 16_384), bool)
    text = (
        jax.jit(
            lambda q, k, v, m: KERNELS[kernel](q, k, v, mask=m, config=config(2, 1))
        )
        .lower(shape(2), shape(1), shape(1), mask)
        .as_text()
    )
    assert text.count("dot_general") == 2 * blockwise_attention.BLOCKS


def test_the_scale_multiplies_scores_and_two_gradients():
    """Half the query at twice the scale: the same scores, twice its gradient."""
    shape = (1, 3, 2, 8)
    query, key, value = jax.random.normal(jax.random.key(0), (3, *shape))
    mask = jnp.tril(jnp.ones((1, 3, 3), bool))

    def gradients(query, scale):
        fields = config(2, 2, query_scale=scale)
        total = lambda *x: jnp.sum(
            jnp.sin(attention.blockwise_cpu(*x, mask=mask, config=fields))
        )
        return jax.grad(total, (0, 1, 2))(query, key, value)

    once, twice = gradients(query, 1.0), gradients(query / 2, 2.0)
    # powers of two change no rounding
    chex.assert_trees_all_equal((once[0] * 2, *once[1:]), twice)


def test_caps_and_bfloat16_use_the_general_kernel():
    """The gradient made for CPUs knows neither."""
    segments = jnp.ones((1, 2), jnp.int32)
    mask = jnp.tril(jnp.ones((1, 2, 2), bool))
    kernel = lambda **fields: attention.select_attention(
        segments, mask, config(1, 1, **fields)
    )
    assert kernel().func is attention.blockwise_cpu
    assert kernel(attention_cap=50.0).func is attention.causal_attention
    assert kernel(dtype="bfloat16").func is attention.causal_attention
