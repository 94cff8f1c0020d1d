"""Int8 quantization: errors, memory, and adapters of a quantized base."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax.traverse_util import flatten_dict

from jaxalign.models import int8, lazy_weights, lora
from jaxalign.training import objectives, state, step

KEY = jax.random.key(0)


def test_codes_by_hand():
    # the outputs' largest are 2 and 12.7: scales 2 / 127 and 0.1
    weight = jnp.array([[2.0, 1.26], [-1.0, -12.7], [0.0, 0.0]])
    quantized = int8.quantize(weight, axes=(0,))
    codes, scale = quantized.codes, quantized.scale
    np.testing.assert_allclose(scale, [[2 / 127, 0.1]], rtol=1e-6)
    # -1 / (2 / 127) = -63.5 is rounded to the even -64; 12.6 to 13
    np.testing.assert_array_equal(codes, [[127, 13], [-64, -127], [0, 0]])
    assert codes.dtype == jnp.int8


def test_no_number_changes_by_more_than_half_a_scale():
    weight = np.random.default_rng(0).normal(size=(3, 50, 4, 5)).astype(np.float32)
    weight[:, :, 1, 2] = 0.0
    quantized = int8.quantize(weight, axes=(1,))
    scale = quantized.scale
    assert scale.shape == (3, 1, 4, 5)
    error = np.abs(quantized.materialize() - weight)
    # and float32 rounding of the quotient and the product
    assert (error <= scale * (0.5 + 1e-4)).all()
    assert error.max() > 0.4 * scale.max()
    assert not error[:, :, 1, 2].any()


def test_scales_are_per_layer_and_output_and_vectors_are_unchanged(params):
    quantized = flatten_dict(int8.quantize_params(params))
    out = quantized["blocks", "attention", "out"]
    assert out.codes.shape == out.shape == (3, 6, 8, 24)
    assert out.scale.shape == (3, 1, 1, 24)
    assert quantized["blocks", "attention", "query"].scale.shape == (3, 1, 6, 8)
    arrays = {
        path for path, leaf in quantized.items() if not isinstance(leaf, int8.Int8)
    }
    assert {path[-1] for path in arrays} == {"scale", "embed", "unembed"}


def test_a_quarter_of_the_memory():
    base = {"blocks": {"feed_forward": {"up": jnp.ones((2, 1000, 100))}}}
    size = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))
    # a code a number, and 4 bytes for each of 100 outputs of 2 layers
    assert size(int8.quantize_params(base, "up")) == size(base) // 4 + 2 * 100 * 4


@pytest.fixture(scope="module")
def base(params):
    return int8.quantize_params(params)


@pytest.fixture(scope="module")
def adapter(base):
    return lora.init(KEY, base, rank=4)


def test_the_model_equals_that_of_the_dequantized_base(tiny, base, rows):
    plain = lora.merge(base)
    assert not any(map(lazy_weights.is_lazy, jax.tree.leaves(plain)))
    hidden = jax.jit(
        lambda p: tiny.hidden(p, rows.tokens, rows.positions, rows.segments)
    )
    # the same numbers, whose float32 products another program adds up
    np.testing.assert_allclose(hidden(base), hidden(plain), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_gradients_equal_those_of_the_dequantized_base(tiny, base, adapter, rows):
    objective = objectives.sft(tiny)
    noisy = jax.tree.map(lambda x: x + 0.05, adapter)
    gradient = jax.jit(
        jax.grad(
            lambda adapter, base: objective(
                lora.attach(base, adapter, scale=1.0), rows
            )[0]
        )
    )
    ours, theirs = gradient(noisy, base), gradient(noisy, lora.merge(base))
    largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(theirs))
    chex.assert_trees_all_close(ours, theirs, rtol=1e-4, atol=1e-5 * largest)


def test_an_adapter_of_a_quantized_base_learns(tiny, base, adapter, rows):
    before = jax.tree.map(np.array, base)
    whole = jax.tree_util.Partial(
        lambda base, adapter: lora.attach(base, adapter, scale=1.0), base
    )
    optimizer = optax.adam(1e-2)
    update = step.make_step(objectives.sft(tiny), optimizer, merge=whole)
    current, losses = state.create(adapter, optimizer, KEY), []
    for _ in range(20):
        current, metrics = update(current, rows)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.8 * losses[0]
    chex.assert_trees_all_equal(jax.tree.map(np.asarray, base), before)


def test_quantizing_the_embedding_is_refused(params):
    with pytest.raises(ValueError, match="embed cannot be quantized"):
        int8.quantize_params(params, "embed")
