"""NF4 quantization: the paper's levels, errors, and models with quantized weights."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.models import int8, lora, nf4

KEY = jax.random.key(0)


def test_levels_are_quantiles_of_the_normal():
    """Eight on the side of 1 and seven on that of -1, with a 0, over the largest."""
    # half a step from the ends, on average of both sides' steps of 1/15 and 1/16 of 1
    outermost = 1 - (1 / 30 + 1 / 32) / 2
    above = [NormalDist().inv_cdf(p) for p in np.linspace(outermost, 0.5, 9)[:-1]]
    below = [-NormalDist().inv_cdf(p) for p in np.linspace(outermost, 0.5, 8)[:-1]]
    expected = np.sort([*above, 0.0, *below]) / max(above)
    # the paper's were computed in float32
    np.testing.assert_allclose(nf4.LEVELS, expected, atol=1e-6)


def test_codes_by_hand():
    # halves of the largest, 4: 1, -1, then 0.5 and -0.25 between levels
    weight = jnp.array([[4.0], [-4.0], [2.0], [-1.0], [0.0], [0.2], [0.0], [3.0]])
    quantized = nf4.quantize(weight, axes=(0,))
    assert quantized.scale.tolist() == [[4.0]] and quantized.axis == -2
    # 0.5 is nearer 0.4407 than 0.5626, -0.25 than -0.1848 is -0.2844; 0.05 than 0 is
    # 0.0796; and 0.75 is next to 0.7230
    codes = [15, 0, 12, 4, 7, 8, 7, 14]
    pairs = [low | high << 4 for low, high in zip(codes[::2], codes[1::2], strict=True)]
    assert (
        quantized.codes.dtype == jnp.uint8 and quantized.codes[:, 0].tolist() == pairs
    )
    expected = 4 * nf4.LEVELS[codes]
    np.testing.assert_array_equal(quantized.materialize()[:, 0], expected)


@pytest.fixture(scope="module")
def weight():
    """Two layers of heads: 3 x 128 inputs, 5 outputs; one block is 0."""
    weight = np.random.default_rng(0).normal(size=(2, 3, 128, 5)).astype(np.float32)
    weight[1, 2, 64:, 3] = 0.0
    return weight


def test_each_number_has_its_nearest_level(weight):
    quantized = nf4.quantize(weight, axes=(1, 2))
    assert quantized.shape == weight.shape and quantized.scale.shape == (2, 3, 2, 5)
    dense = np.asarray(quantized.materialize())
    blocks = weight.reshape(2, 3, 2, 64, 5)
    scale = np.abs(blocks).max(axis=3, keepdims=True)
    np.testing.assert_array_equal(quantized.scale, scale[..., 0, :])
    every = scale[..., None] * nf4.LEVELS
    nearest = np.abs(every - blocks[..., None]).min(axis=-1)
    error = np.abs(dense.reshape(blocks.shape) - blocks)
    # float32 rounding of quotients and products
    np.testing.assert_allclose(error, nearest, atol=1e-6)
    # no gap between levels is wider than that between -1 and the next
    assert error.max() <= (1 - 0.6961) / 2 * scale.max()
    assert not dense[1, 2, 64:, 3].any()


def test_other_input_sizes_have_smaller_blocks():
    quantized = nf4.quantize(np.ones((24, 3), np.float32), axes=(0,))
    assert quantized.scale.shape == (3, 3) and (quantized.materialize() == 1.0).all()
    with pytest.raises(ValueError, match="even number of inputs; the matrix has 9"):
        nf4.quantize(np.ones((9, 3)), axes=(0,))


def test_a_seventh_of_the_memory():
    base = {"blocks": {"feed_forward": {"up": jnp.ones((2, 1024, 100))}}}
    size = lambda tree: sum(x.nbytes for x in jax.tree.leaves(tree))
    quantized = int8.quantize_params(base, "up", quantizer=nf4.quantize)
    # 4 bits a number, and 32 for each 64 of them
    assert size(quantized) == size(base) * (4 + 32 / 64) / 32


def test_codes_are_sharded_as_the_weight(weight):
    mesh = sharding.make_mesh({"fsdp": 2, "tensor": 4})
    spec = jax.sharding.PartitionSpec(None, None, "fsdp", None)
    cut = jax.device_put(weight, jax.sharding.NamedSharding(mesh, spec))
    sharded, local = (nf4.quantize(x, axes=(1, 2)) for x in (cut, weight))
    np.testing.assert_array_equal(sharded.codes, local.codes)
    np.testing.assert_array_equal(sharded.materialize(), local.materialize())
    assert {x.data.shape for x in sharded.codes.addressable_shards} == {(2, 3, 32, 5)}


def test_model_and_adapter_equal_those_of_the_dequantized_base(tiny, params, rows):
    base = int8.quantize_params(params, quantizer=nf4.quantize)
    adapter = jax.tree.map(lambda x: x + 0.05, lora.init(KEY, base, rank=4))

    @jax.jit
    def hidden(base):
        attached = lora.attach(base, adapter, scale=1.0)
        return tiny.hidden(attached, rows.tokens, rows.positions, rows.segments)

    actual = hidden(base)
    # the same numbers, whose float32 products another program adds up
    np.testing.assert_allclose(actual, hidden(lora.merge(base)), rtol=1e-4, atol=1e-4)
    assert np.abs(actual - hidden(params)).max() > 1e-3
