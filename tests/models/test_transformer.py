"""The training forward pass: against numpy, and its invariances."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.batches import TokenBatch
from jaxalign.models import attention

# Two orders of the same float32 sums, over 3 layers of values about 1.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}


def loss(model, params, batch, weights):
    """Some number that depends on every hidden state that is not padding."""
    read = model.hidden(params, batch.tokens, batch.positions, batch.segments)
    counted = jnp.where((batch.segments > 0)[:, :, None], read, 0.0)
    return jnp.sum(counted.astype(jnp.float32) * weights)


@pytest.fixture(scope="module")
def weights():
    return np.random.default_rng(3).normal(size=(4, 9, 24)).astype(np.float32)


@pytest.fixture(scope="module")
def gradient(tiny, params, rows, weights):
    """(loss, gradient) of the plain model."""
    return value_and_grad(tiny, params, rows, weights)


def assert_same(actual, expected, *, ulps=100):
    """Equal to some float32 roundings of the largest number of each leaf."""

    def same(a, b):
        atol = ulps * np.finfo(np.float32).eps * np.abs(b).max()
        np.testing.assert_allclose(a, b, rtol=0.0, atol=atol)

    jax.tree.map(same, jax.device_get(actual), jax.device_get(expected))


def value_and_grad(model, params, rows, weights):
    def of(params):
        return loss(model, params, rows, weights)

    return jax.jit(jax.value_and_grad(of))(params)


def by_hand(config, params, tokens):
    """One row, in numpy with float64, query heads and pairs one at a time."""
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), params)

    def norm(x, scale):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + config.norm_eps) * scale

    def turn(x):  # [T E]: the pair (x_i, x_{i + 4}) turns by t * 10000^(-i / 4)
        turned = np.empty_like(x)
        for t in range(len(x)):
            for i in range(4):
                z = complex(x[t, i], x[t, i + 4])
                z *= np.exp(1j * t * 10_000.0 ** (-i / 4))
                turned[t, i], turned[t, i + 4] = z.real, z.imag
        return turned

    x = p["embed"][tokens]
    future = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    for layer in range(config.layers):
        block = jax.tree.map(lambda x, layer=layer: x[layer], p["blocks"])
        at, ff = block["attention"], block["feed_forward"]
        y, total = norm(x, block["attention_norm"]["scale"]), 0.0
        for head in range(6):
            query = turn(y @ at["query"][:, head])
            key = turn(y @ at["key"][:, head // 2])
            scores = np.exp(query @ key.T / np.sqrt(8) + future)
            actual = (
                scores / scores.sum(-1, keepdims=True) @ (y @ at["value"][:, head // 2])
            )
            total += actual @ at["out"][head]
        x = x + total
        y = norm(x, block["feed_forward_norm"]["scale"])
        gate = y @ ff["gate"]
        x = x + (gate / (1 + np.exp(-gate)) * (y @ ff["up"])) @ ff["down"]
    return norm(x, p["norm"]["scale"])


def test_forward_by_hand(tiny, params, rows, hidden):
    read = hidden(rows)
    for row, length in enumerate(rows.lengths):
        expected = by_hand(tiny.config, params, rows.tokens[row, :length])
        np.testing.assert_allclose(read[row, :length], expected, **CLOSE)


def test_grouped_queries_are_repeated_keys(variant, params, rows, hidden):
    """Each key head, written out once per query head that shares it."""
    model = variant(kv_heads=6)
    at = params["blocks"]["attention"]
    repeated = {name: jnp.repeat(at[name], 2, axis=2) for name in ("key", "value")}
    blocks = {**params["blocks"], "attention": {**at, **repeated}}
    read = jax.jit(model.hidden)(
        {**params, "blocks": blocks}, rows.tokens, rows.positions, rows.segments
    )
    real = rows.segments > 0
    np.testing.assert_allclose(read[real], hidden(rows)[real], **CLOSE)


def test_padding_changes_nothing(rows, hidden):
    """Neither what the padding holds, nor how much of it there is."""
    real = rows.segments > 0
    other = np.where(real, rows.tokens, 21 - rows.tokens)
    plain, noisy = hidden(rows), hidden(dataclasses.replace(rows, tokens=other))
    np.testing.assert_array_equal(noisy[real], plain[real])
    # the wrong padding would have been seen
    assert np.abs(noisy[~real] - plain[~real]).max() > 0.1
    wider = jax.tree.map(lambda x: np.pad(x, ((0, 0), (0, 3))), rows)
    np.testing.assert_allclose(hidden(wider)[:, :9][real], plain[real], **CLOSE)


def test_packed_equals_unpacked(rows, hidden):
    """9 tokens of row 0; then rows 1, 2 and 3 behind each other, 12 tokens in all."""
    plain = hidden(rows)
    parts = [rows.tokens[row, : rows.lengths[row]] for row in (1, 2, 3)]
    tokens = np.concatenate(parts)[None]
    positions = np.concatenate([np.arange(len(part)) for part in parts])[None]
    segments = np.repeat([1, 2, 3], rows.lengths[1:])[None]
    packed = TokenBatch(tokens, positions, segments, segments > 0)
    wide = jax.tree.map(lambda x: np.pad(x, ((0, 3), (0, 0))), packed)
    read = hidden(wide)[0]
    for row, start in ((1, 0), (2, 4), (3, 5)):
        end = start + rows.lengths[row]
        alone = plain[row, : rows.lengths[row]]
        np.testing.assert_allclose(read[start:end], alone, **CLOSE)


@pytest.mark.parametrize(
    "changes",
    [{"unroll": 1}, {"remat": "full"}, {"remat": "dots"}],
    ids=lambda changes: "-".join(map(str, *changes.items())),
)
def test_scan_and_remat_change_no_number(
    variant, params, rows, weights, gradient, changes
):
    """The plain model is unrolled (3 layers, unroll 4) and keeps everything."""
    other = value_and_grad(variant(**changes), params, rows, weights)
    assert_same(other, gradient)


@pytest.mark.slow
def test_remat_saves_memory(variant, rows):
    """At the default unroll: XLA must not merge the second forward with the first."""

    def temporaries(remat):
        model = variant(remat=remat, layers=4)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        wide = jax.tree.map(lambda x: np.tile(x, (16, 4)), rows)
        ones = np.ones((64, 36, 24), np.float32)
        step = jax.jit(jax.grad(lambda p: loss(model, p, wide, ones)))
        return step.lower(shapes).compile().memory_analysis().temp_size_in_bytes

    # kept: the layer's inputs, 1 of the 20 or so arrays of its size in a layer; the
    # gradients and one layer at a time remain
    assert temporaries("full") < 0.5 * temporaries("none")


def test_compiled_size_does_not_grow_with_depth(variant, rows):
    """The program that XLA gets is as long for 32 layers as for 8."""

    def lines(layers, **changes):
        model = variant(layers=layers, **changes)
        shapes = jax.eval_shape(model.init, jax.random.key(0))
        arrays = (rows.tokens, rows.positions, rows.segments)
        return len(jax.jit(model.hidden).lower(shapes, *arrays).as_text().splitlines())

    assert lines(8) == lines(32)
    assert lines(3) > lines(3, unroll=1)  # what unrolling would look like


def test_eight_devices_equal_one(tiny, params, rows, weights, gradient, capfd):
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    spread = sharding.place(params, tiny.specs(), mesh)
    assert not spread["blocks"]["feed_forward"]["gate"].is_fully_replicated
    with jax.set_mesh(mesh):
        on_eight = value_and_grad(
            tiny, spread, sharding.place_batch(rows, mesh), weights
        )
    # XLA says so where it has to gather a whole array to cut it otherwise
    assert "rematerialization" not in capfd.readouterr().err
    # sums over width and hidden are cut in two: another order of float32 additions
    assert_same(on_eight, gradient)


@pytest.fixture(scope="module")
def filled(rows):
    """The rows, of which one has nothing in it: it only fills the batch up."""
    segments = np.where(np.arange(4)[:, None] == 2, 0, rows.segments)
    return dataclasses.replace(rows, segments=segments)


@pytest.fixture(scope="module")
def half(variant, params, filled, weights):
    """(loss, gradient) computed in bfloat16."""
    model = variant(dtype="bfloat16", unroll=1)
    return value_and_grad(model, params, filled, weights)


def test_bfloat16_computes_in_bfloat16_and_trains_float32(
    variant, params, filled, weights, half
):
    model = variant(dtype="bfloat16", unroll=1)
    arrays = (filled.tokens, filled.positions, filled.segments)
    program = str(jax.make_jaxpr(model.hidden)(params, *arrays))
    products = [line for line in program.splitlines() if "dot_general" in line]
    # seven weight matrices, scores and what they find; the scores alone are float32
    assert len(products) == 9
    assert sum("f32[" in line.split("=")[0] for line in products) == 1
    assert jax.eval_shape(model.hidden, params, *arrays).dtype == jnp.bfloat16
    chex.assert_trees_all_equal_dtypes(half[1], params)
    exact = value_and_grad(variant(unroll=1), params, filled, weights)
    # a rounding is 2^-9, and there are some 60 in a row: 20 in each of 3 layers
    gap = jax.tree.map(lambda a, b: float(jnp.linalg.norm(a - b)), half[1], exact[1])
    size = jax.tree.map(lambda x: 60 * 2**-9 * float(jnp.linalg.norm(x)), exact[1])
    jax.tree.map(np.testing.assert_array_less, gap["blocks"], size["blocks"])
    assert gap["embed"] < size["embed"]


@jax.custom_vjp
def garbled(x, real):
    """x, and NaN where it is not real; there, NaN is its gradient too."""
    return jnp.where(real, x, jnp.nan)


garbled.defvjp(
    lambda x, real: (garbled(x, real), real),
    lambda real, g: (jnp.where(real, g, jnp.nan), None),
)


def test_cudnn_gets_lengths_and_no_mask(
    variant, params, filled, weights, half, monkeypatch
):
    """XLA answers in cuDNN's place, with garbage in padding, as it may leave there."""
    plain, calls = jax.nn.dot_product_attention, []

    def kernel(query, key, value, *, implementation, **options):
        calls.append((implementation, options))
        lengths = options["query_seq_lengths"]
        real = jnp.arange(query.shape[1])[None, :] < lengths[:, None]
        real = (real & jnp.all(lengths > 0))[:, :, None, None]
        inputs = (jnp.where(real, garbled(x, real), 0) for x in (query, key, value))
        return jnp.where(real, plain(*inputs, **options), jnp.nan)

    monkeypatch.setattr(attention.jax.nn, "dot_product_attention", kernel)
    model = variant(dtype="bfloat16", attention="cudnn", unroll=1)
    fused = value_and_grad(model, params, filled, weights)
    implementation, options = calls[0]
    assert implementation == "cudnn" and options["is_causal"]
    lengths = {"query_seq_lengths", "key_value_seq_lengths"}
    assert set(options) == {"is_causal", "scale"} | lengths and options["scale"] is None
    # the same bfloat16 products; a NaN of the padding would be everywhere
    chex.assert_tree_all_finite(fused)
    chex.assert_trees_all_close(fused, half, rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kv_heads": 4}, "heads is 6; it must be a multiple of kv_heads, 4"),
        ({"kv_heads": 0}, "kv_heads is 0"),
        ({"head_dim": 7}, "head_dim is 7 and rotary_fraction is 1.0: .* even"),
        ({"remat": "some"}, "remat is 'some'; it must be none, dots or full"),
        ({"attention": "flash"}, "attention is 'flash'; it must be xla or cudnn"),
        ({"attention": "cudnn"}, "dtype is float32; attention cudnn needs bfloat16"),
        ({"dtype": "int8"}, "dtype is 'int8'; it must be one of float32"),
        (
            {"attention": "cudnn", "dtype": "bfloat16", "head_dim": 12},
            "multiple of 8",
        ),
    ],
)
def test_refused_configs(tiny, changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(tiny.config, **changes)
