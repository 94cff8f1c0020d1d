"""Scalar models: the head's initialization, and scores at all or some positions."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.models import heads, transformer

KEY = jax.random.key(2)
# Two orders of the same float32 sums, over 3 layers, and their squares' gradients.
CLOSE = {"rtol": 2e-4, "atol": 2e-5}


@pytest.fixture(scope="module")
def model(tiny):
    return heads.scalar_model(tiny.config)


@pytest.fixture(scope="module")
def scores(model):
    compiled = jax.jit(model.scores)
    return lambda params, batch: np.asarray(
        compiled(params, batch.tokens, batch.positions, batch.segments)
    )


def test_score_is_the_trunk_times_the_head(model, params, rows, hidden, scores):
    scalar = model.from_trunk(KEY, params)
    scalar["head"]["bias"] = jnp.float32(0.5)
    actual = scores(scalar, rows)
    assert actual.dtype == np.float32 and actual.shape == rows.tokens.shape
    expected = hidden(rows) @ np.asarray(scalar["head"]["weight"]) + 0.5
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


def test_last_score_is_unaffected_by_padding(model, params, rows, scores):
    scalar = model.from_trunk(KEY, params)
    last = (np.arange(4), rows.lengths - 1)
    noisy = dataclasses.replace(
        rows, tokens=np.where(rows.segments > 0, rows.tokens, 5)
    )
    np.testing.assert_array_equal(
        scores(scalar, noisy)[last], scores(scalar, rows)[last]
    )


def test_head_distribution_and_seed(tiny):
    """W ~ N(0, 1 / (d + 1)), from its key alone; b = 0."""
    wide = dataclasses.replace(
        tiny.config, width=4000, layers=1, hidden=1, heads=1, kv_heads=1
    )
    trunk = transformer.language_model(wide)
    small = jax.tree.map(
        lambda x: jnp.zeros((), x.dtype), jax.eval_shape(trunk.init, KEY)
    )
    model = heads.scalar_model(wide)
    head = model.from_trunk(KEY, small)["head"]
    # standard error of the std of 4000 numbers: 1 / sqrt(8000) = 1.1 %
    np.testing.assert_allclose(np.std(head["weight"]), 4001**-0.5, rtol=0.045)
    assert abs(np.mean(head["weight"])) < 4 / 4001**0.5 / 4000**0.5
    assert head["bias"] == 0.0
    chex.assert_trees_all_equal(model.from_trunk(KEY, small)["head"], head)
    other = model.from_trunk(jax.random.key(3), small)["head"]
    assert not np.array_equal(other["weight"], head["weight"])


def test_zero_head(tiny, params):
    scalar = heads.scalar_model(tiny.config, zero_head=True).from_trunk(KEY, params)
    assert not np.any(scalar["head"]["weight"])


def test_unused_unembedding_is_dropped_and_trunk_is_a_copy(model, params):
    """A step that donates the reward model's parameters leaves the policy's alone."""
    scalar = model.from_trunk(KEY, params)
    assert "unembed" in params and "unembed" not in scalar
    chex.assert_trees_all_equal(scalar["blocks"], params["blocks"])
    jax.jit(lambda p: jax.tree.map(jnp.add, p, p), donate_argnums=0)(scalar)
    assert not any(x.is_deleted() for x in jax.tree.leaves(params))


def test_init_and_specs_have_the_same_tree(model):
    scalar = jax.eval_shape(model.init, KEY)
    assert set(scalar) == {"embed", "blocks", "norm", "head"}
    chex.assert_trees_all_equal_structs(scalar, model.specs())
    jax.tree.map(lambda x, s: chex.assert_equal(x.ndim, len(s)), scalar, model.specs())


def test_scores_are_float32_of_a_bfloat16_trunk(tiny, params, rows):
    model = heads.scalar_model(dataclasses.replace(tiny.config, dtype="bfloat16"))
    scalar = model.from_trunk(KEY, params)
    arrays = (rows.tokens, rows.positions, rows.segments)
    assert jax.eval_shape(model.scores, scalar, *arrays).dtype == jnp.float32


def two_places(model, params, vocab_size):
    """Scores at two places of two rows, one with two texts and padding, and of all."""
    tokens = np.random.default_rng(1).integers(0, vocab_size, (2, 11))
    segments = np.array([[1] * 5 + [2] * 4 + [0] * 2, [1] * 11], np.int32)
    positions = np.array([[*range(5), *range(4), 0, 0], range(11)], np.int32)
    inputs, at = (
        (tokens.astype(np.int32), positions, segments),
        np.array([[4, 8], [10, 3]]),
    )
    every = model.scores(params, *inputs)
    return model.scores(params, *inputs, at=at), jnp.take_along_axis(every, at, axis=1)


def test_scores_at_some_positions_equal_those_of_all(family, tiny_of, draw):
    model = heads.scalar_model(tiny_of(family, unroll=3).config)
    compiled = jax.jit(two_places, static_argnums=(0, 2))
    actual, expected = compiled(model, draw(model), model.config.vocab_size)
    np.testing.assert_allclose(actual, expected, **CLOSE)


@pytest.mark.parametrize("layers, unroll", [(1, 1), (3, 3), (3, 1)])
def test_gradients_at_some_positions_equal_those_of_all(variant, draw, layers, unroll):
    config = variant(layers=layers, unroll=unroll).config
    model = heads.scalar_model(config)
    squares = lambda params, i: jnp.sum(
        two_places(model, params, config.vocab_size)[i] ** 2
    )
    gradients = jax.jit(lambda p: [jax.grad(squares)(p, i) for i in (0, 1)])
    actual, expected = gradients(draw(model))
    chex.assert_trees_all_close(actual, expected, **CLOSE)


def test_the_last_layer_computes_these_positions_only(variant):
    """A third of the products of three layers, but for keys, values and the head."""
    model = variant(unroll=3, hidden=240)
    scalar = heads.scalar_model(model.config)
    abstract = jax.eval_shape(scalar.init, KEY)
    place = jax.ShapeDtypeStruct((1, 64), jnp.int32)
    cost = lambda *at: (
        jax.jit(scalar.scores)
        .lower(abstract, place, place, place, *at)
        .compile()
        .cost_analysis()["flops"]
    )
    share = cost(jax.ShapeDtypeStruct((1, 1), jnp.int32)) / cost()
    assert 2 / 3 < share < 0.75
