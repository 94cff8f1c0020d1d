"""Answers that share a prompt: what they read together is what each would alone."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.batches import Branches, TokenBatch, from_lengths
from jaxalign.models import attention, blockwise_attention
from jaxalign.planning import hlo_counts
from jaxalign.training import forward
from tests.support import quick

CLOSE = {"rtol": 2e-5, "atol": 2e-5}  # another order of float32 sums
PROMPTS, SAMPLES, ASKED, ROOM = 4, 3, 6, 4
LENGTHS = np.array([6, 2, 1, 4], np.int32)  # of the prompts
KINDS = {
    "plain": {},
    "window": {"window": 3, "sliding": (True, False, True)},
    "capped": {"attention_cap": 2.0},
    "learned": {"learned_positions": True},
}


@pytest.fixture(scope="module")
def texts():
    """Each prompt with three answers of 4 tokens, a row each."""
    rng = np.random.default_rng(0)
    asked, count = LENGTHS.repeat(SAMPLES), PROMPTS * SAMPLES
    tokens = rng.integers(0, 22, (count, ASKED + ROOM)).astype(np.int32)
    prompts = tokens[::SAMPLES].repeat(SAMPLES, axis=0)
    tokens = np.where(np.arange(ASKED + ROOM) < asked[:, None], prompts, tokens)
    return from_lengths(tokens, asked + ROOM, asked)


def full(model, params, texts):
    """The hidden states of rows apart."""
    told = texts.tokens, texts.positions, texts.segments
    return np.asarray(jax.jit(model.hidden)(params, *told))


def answered(model, params, texts):
    """The hidden states [B N D] of answers read one token at a time, and the cache."""
    extend = jax.jit(model.extend)
    cache = model.init_cache(PROMPTS, ASKED + ROOM)
    _, cache = extend(params, texts.tokens[::SAMPLES, :ASKED], cache)
    cache = model.branch(cache._replace(length=jnp.asarray(LENGTHS)), SAMPLES, ROOM)
    found = []
    for step in range(ROOM):
        at = (LENGTHS.repeat(SAMPLES) + step)[:, None]
        tokens = np.take_along_axis(texts.tokens, at, axis=1)
        hidden, cache = extend(params, tokens, cache)
        found.append(hidden)
    return np.concatenate(found, axis=1), cache


@pytest.mark.parametrize("kind", quick.only(["plain", "window"], KINDS))
def test_branches_of_a_cache_decode_as_rows_do(variant, draw, texts, kind):
    model = variant(**KINDS[kind])
    params = draw(model)
    found, cache = answered(model, params, texts)
    at = LENGTHS.repeat(SAMPLES)[:, None] + np.arange(ROOM)
    whole = full(model, params, texts)
    expected = np.take_along_axis(whole, at[:, :, None], axis=1)
    np.testing.assert_allclose(found, expected, **CLOSE)
    np.testing.assert_array_equal(cache.length, LENGTHS.repeat(SAMPLES) + ROOM)


def test_prompts_are_kept_once(tiny):
    cache = tiny.branch(tiny.init_cache(PROMPTS, ASKED + ROOM), SAMPLES, ROOM)
    heads, size = tiny.config.kv_heads, tiny.config.head_dim
    asked, own = (PROMPTS, heads, ASKED, size), (PROMPTS * SAMPLES, heads, ROOM, size)
    assert {x.shape for x in (*cache.prefix.keys, *cache.prefix.values)} == {asked}
    assert {x.shape for x in (*cache.keys, *cache.values)} == {own}
    alone = tiny.init_cache(PROMPTS, 2)
    assert tiny.branch(alone, 1, 1) is alone


@pytest.mark.parametrize("mesh", [{"data": 2, "tensor": 1}, {"data": 8}], ids=str)
def test_prompts_that_do_not_divide_are_copied(tiny, params, texts, mesh):
    """Four prompts over two devices are shared, and over eight they are not."""
    one, _ = answered(tiny, params, texts)
    made = sharding.make_mesh(mesh, jax.devices()[: np.prod(list(mesh.values()))])
    with jax.set_mesh(made):
        found, cache = answered(tiny, sharding.place(params, tiny.specs(), made), texts)
    assert (cache.prefix is None) == (mesh["data"] == 8)
    np.testing.assert_allclose(found, one, **CLOSE)


def laid_out(texts):
    """All answers to a prompt in one row."""
    zeros = np.zeros(texts.tokens.shape, np.float32)
    rows, _ = forward.pack_shared_prompts(texts, zeros, answers=SAMPLES, room=ROOM)
    assert rows.sequences.branches == Branches(ASKED - 1, SAMPLES)
    return rows


@pytest.mark.parametrize("kind", quick.only(["plain"], KINDS))
def test_rows_of_known_layout_are_rows_behind_a_mask(variant, draw, texts, kind):
    """With and without their layout: hidden states, and all gradients."""
    model = variant(**KINDS[kind])
    params = draw(model)
    rows = laid_out(texts).sequences
    real = np.asarray(rows.segments > 0)[:, :, None]

    @jax.jit
    def read(params, rows):
        def total(params):
            hidden, _ = forward.hidden_and_unembed(model, params, rows)
            kept = jnp.where(real, hidden, 0.0)
            return jnp.sum(jnp.sin(kept)), kept

        return jax.value_and_grad(total, has_aux=True)(params)

    (_, found), gradient = read(params, rows)
    (_, expected), wanted = read(params, dataclasses.replace(rows, branches=None))
    np.testing.assert_allclose(found, expected, **CLOSE)
    # another order of float32 sums; entries reach 300, and part there by 2e-4
    chex.assert_trees_all_close(gradient, wanted, rtol=1e-4, atol=1e-4)


def test_answers_cost_no_scores_of_each_other(tiny, params):
    """The work of four more answers is the same, however many there are."""

    def work(answers, known):
        shape = (1, 64 + answers * 64)
        whole, mask = (jax.ShapeDtypeStruct(shape, kind) for kind in (int, bool))
        branches = Branches(64, answers) if known else None
        rows = TokenBatch(whole, whole, whole, mask, branches=branches)
        head = jax.make_jaxpr(functools.partial(forward.hidden_and_unembed, tiny))(
            params, rows
        )
        return hlo_counts.matmul_flops(head.jaxpr)

    def growth(known):
        one, two, three = (work(answers, known) for answers in (4, 8, 12))
        return (three - two) / (two - one)

    assert growth(known=True) == 1
    assert growth(known=False) > 1.2


def test_prompts_of_one_token_have_no_columns(texts):
    """The one is each answer's first: nothing is left to share."""
    first = dataclasses.replace(texts, loss_mask=np.arange(10) >= np.ones((12, 1)))
    rows, _ = forward.pack_shared_prompts(
        first, np.zeros((12, 10), np.float32), answers=SAMPLES, room=9
    )
    assert rows.sequences.branches is None


@pytest.mark.parametrize("way", [attention.causal_attention, attention.blockwise_cpu])
def test_what_comes_before_is_part_of_one_softmax(tiny, way):
    """Two rows that share three keys, each with five of its own: against the whole."""
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    query, key, value, by = draw(4, 5, 6, 8), *draw(2, 4, 5, 3, 8), draw(4, 5, 6, 8)
    before = tuple(draw(2, 2, 3, 3, 8))
    mask = np.tril(rng.random((4, 5, 5)) < 0.5) | np.eye(5, dtype=bool)
    shown = rng.random((4, 5, 3)) < 0.6

    def here(query, key, value, before):
        part = blockwise_attention.MaskedKV(*(x.swapaxes(1, 2) for x in before), shown)
        found = way(query, key, value, mask=mask, config=tiny.config, prefix=part)
        return jnp.sum(found * by), found

    def whole(query, key, value, before):
        key, value = (
            jnp.concatenate([jnp.repeat(x, 2, axis=0), y], axis=1)
            for x, y in zip(before, (key, value), strict=True)
        )
        seen = np.concatenate([shown, mask], axis=-1)[:, None]
        found = jax.nn.dot_product_attention(query, key, value, mask=seen)
        return jnp.sum(found * by), found

    told = (query, key, value, before)
    of = lambda f: jax.jit(jax.value_and_grad(f, (0, 1, 2, 3), has_aux=True))(*told)
    ((_, found), gradients), ((_, expected), wanted) = of(here), of(whole)
    np.testing.assert_allclose(found, expected, **CLOSE)
    chex.assert_trees_all_close(gradients, wanted, **CLOSE)
