"""Attention in blocks is attention."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.models import attention
from jaxalign.models.config import ModelConfig


def config(heads: int, groups: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=1,
        width=8,
        hidden=8,
        layers=1,
        heads=heads,
        kv_heads=groups,
        head_dim=8,
        context=16_384,
    )


@pytest.mark.parametrize("length", [5, 128, 200, 300])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_blocks_are_the_whole_softmax(length, groups, monkeypatch):
    """Short rows, whole blocks, a cut one, and blocks longer than the least."""
    monkeypatch.setattr(attention, "BLOCKS", 2)
    rng = np.random.default_rng(length)
    query = rng.normal(size=(1, length, 4, 8)).astype(np.float32)
    key, value, by = (
        rng.normal(size=(1, length, heads, 8)).astype(np.float32)
        for heads in (groups, groups, 4)
    )
    segments = 1 + (np.arange(length) >= length // 3)
    mask = np.tril(segments[:, None] == segments[None, :])[None]

    def total(function):
        def weighed(*inputs):
            found = function(*inputs)
            return jnp.sum(found * by), found

        return jax.value_and_grad(weighed, (0, 1, 2), has_aux=True)(query, key, value)

    plain = lambda *x: jax.nn.dot_product_attention(*x, mask=mask[:, None])
    blocks = lambda *x: attention.causal(
        *x, mask=jnp.asarray(mask), config=config(4, groups)
    )
    # float32 sums of up to 300 terms, in another order
    (_, found), gradients = total(blocks)
    (_, expected), wanted = total(plain)
    chex.assert_trees_all_close(found, expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(gradients, wanted, rtol=1e-4, atol=1e-4)


def test_compile_time_does_not_grow_with_length():
    """There are never more than 8 blocks."""
    shape = lambda heads: jax.ShapeDtypeStruct((1, 16_384, heads, 8), jnp.float32)
    mask = jax.ShapeDtypeStruct((1, 16_384, 16_384), bool)
    text = (
        jax.jit(
            lambda q, k, v, m: attention.causal(q, k, v, mask=m, config=config(2, 1))
        )
        .lower(shape(2), shape(1), shape(1), mask)
        .as_text()
    )
    assert text.count("dot_general") == 2 * attention.BLOCKS
