"""The KV cache: prefill and decode equal the full forward pass."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import sharding

CLOSE = {"rtol": 2e-5, "atol": 2e-5}  # another order of float32 sums
PROMPTS = np.array([5, 2, 1, 3], np.int32)
STEPS = 4


@pytest.fixture(scope="module")
def extend(tiny):
    return jax.jit(tiny.extend)


def prefill_and_decode(extend, tiny, params, rows):
    """Ragged prompts at once, then a token of each row at a time: [B 1 D] each."""
    prompts = np.where(rows.positions < PROMPTS[:, None], rows.tokens, 7)[:, :5]
    first, cache = extend(params, prompts, tiny.init_cache(4, 12))
    states = [np.asarray(first)]
    cache = cache._replace(length=jnp.asarray(PROMPTS))
    for step in range(STEPS):
        tokens = np.take_along_axis(rows.tokens, (PROMPTS + step)[:, None], axis=1)
        hidden, cache = extend(params, tokens, cache)
        states.append(np.asarray(hidden))
    return states, cache


@pytest.fixture(scope="module")
def full_hidden(rows, hidden):
    """All 9 tokens of every row count here."""
    return hidden(dataclasses.replace(rows, segments=np.ones_like(rows.segments)))


def test_prefill_and_decode_equal_the_full_forward(
    extend, tiny, params, rows, full_hidden
):
    (first, *steps), cache = prefill_and_decode(extend, tiny, params, rows)
    for row, prompt in enumerate(PROMPTS):
        np.testing.assert_allclose(
            first[row, :prompt], full_hidden[row, :prompt], **CLOSE
        )
        for step, hidden in enumerate(steps):
            expected = full_hidden[row, prompt + step]
            np.testing.assert_allclose(hidden[row, 0], expected, **CLOSE)
    np.testing.assert_array_equal(cache.length, PROMPTS + STEPS)


def test_several_tokens_at_a_time(extend, tiny, params, rows, full_hidden):
    """Three ragged tokens more at once, after ragged prompts."""
    _, cache = extend(params, rows.tokens[:, :5], tiny.init_cache(4, 12))
    cache = cache._replace(length=jnp.asarray(PROMPTS))
    columns = PROMPTS[:, None] + np.arange(3)[None, :]
    tokens = np.take_along_axis(rows.tokens, columns, axis=1)
    hidden, longer = extend(params, tokens, cache)
    expected = np.take_along_axis(full_hidden, columns[:, :, None], axis=1)
    np.testing.assert_allclose(hidden, expected, **CLOSE)
    np.testing.assert_array_equal(longer.length, PROMPTS + 3)


def test_slots_beyond_the_length_are_not_read(extend, tiny, params, rows):
    clean, _ = extend(params, rows.tokens[:, :5], tiny.init_cache(4, 12))
    empty = tiny.init_cache(4, 12)
    dirty = empty._replace(
        keys=tuple(x + 9.0 for x in empty.keys),
        values=tuple(x + 9.0 for x in empty.values),
    )
    actual, _ = extend(params, rows.tokens[:, :5], dirty)
    np.testing.assert_array_equal(actual, clean)


def test_prepared_parameters_give_the_same(tiny, variant, params, rows):
    """Cut per layer: cast matrices to the compute dtype, keep norms in float32."""
    model = variant(dtype="bfloat16")
    ready = model.prepare(params)
    assert len(ready["blocks"]) == tiny.config.layers
    assert ready["blocks"][1]["attention"]["query"].dtype == jnp.bfloat16
    assert ready["blocks"][1]["attention_norm"]["scale"].dtype == jnp.float32
    extend = jax.jit(model.extend)
    cache = model.init_cache(4, 9)
    assert cache.keys[0].dtype == jnp.bfloat16
    assert cache.keys[0].shape == (4, tiny.config.kv_heads, 9, tiny.config.head_dim)
    actual, filled = extend(ready, rows.tokens, cache)
    chex.assert_trees_all_equal((actual, filled), extend(params, rows.tokens, cache))
    np.testing.assert_array_equal(model.unembed(ready), model.unembed(params))


def test_extend_on_eight_devices(tiny, params, rows, full_hidden):
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    spread = sharding.place(params, tiny.specs(), mesh)
    with jax.set_mesh(mesh):
        read = jax.jit(lambda p, t: tiny.extend(p, t, tiny.init_cache(4, 9))[0])
        actual = read(spread, sharding.place_batch(rows, mesh).tokens)
    np.testing.assert_allclose(actual, full_hidden, **CLOSE)


def test_prefill_of_ragged_rows_is_the_full_forward(extend, tiny, params, rows, hidden):
    """Two paths of code, one model: also where rows end."""
    actual, _ = extend(params, rows.tokens, tiny.init_cache(4, 12))
    for row, length in enumerate(rows.lengths):
        np.testing.assert_allclose(
            actual[row, :length], hidden(rows)[row, :length], **CLOSE
        )
