"""Answers that share a prompt equal answers in rows of their own."""

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
PROMPTS, SAMPLES, PROMPT, ROOM = 4, 3, 6, 4
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
    lengths, count = LENGTHS.repeat(SAMPLES), PROMPTS * SAMPLES
    tokens = rng.integers(0, 22, (count, PROMPT + ROOM)).astype(np.int32)
    prompts = tokens[::SAMPLES].repeat(SAMPLES, axis=0)
    tokens = np.where(np.arange(PROMPT + ROOM) < lengths[:, None], prompts, tokens)
    return from_lengths(tokens, lengths + ROOM, lengths)


def full_hidden(model, params, texts):
    """The hidden states of rows apart."""
    inputs = texts.tokens, texts.positions, texts.segments
    return np.asarray(jax.jit(model.hidden)(params, *inputs))


def decode_answers(model, params, texts):
    """The hidden states [B N D] of answers read one token at a time, and the cache."""
    extend = jax.jit(model.extend)
    cache = model.init_cache(PROMPTS, PROMPT + ROOM)
    _, cache = extend(params, texts.tokens[::SAMPLES, :PROMPT], cache)
    cache = model.branch(cache._replace(length=jnp.asarray(LENGTHS)), SAMPLES, ROOM)
    states = []
    for step in range(ROOM):
        at = (LENGTHS.repeat(SAMPLES) + step)[:, None]
        tokens = np.take_along_axis(texts.tokens, at, axis=1)
        hidden, cache = extend(params, tokens, cache)
        states.append(hidden)
    return np.concatenate(states, axis=1), cache


@pytest.mark.parametrize("kind", quick.only(["plain", "window"], KINDS))
def test_branches_of_a_cache_decode_as_separate_rows(variant, draw, texts, kind):
    model = variant(**KINDS[kind])
    params = draw(model)
    actual, cache = decode_answers(model, params, texts)
    at = LENGTHS.repeat(SAMPLES)[:, None] + np.arange(ROOM)
    hidden = full_hidden(model, params, texts)
    expected = np.take_along_axis(hidden, at[:, :, None], axis=1)
    np.testing.assert_allclose(actual, expected, **CLOSE)
    np.testing.assert_array_equal(cache.length, LENGTHS.repeat(SAMPLES) + ROOM)


def test_prompts_are_stored_once(tiny):
    cache = tiny.branch(tiny.init_cache(PROMPTS, PROMPT + ROOM), SAMPLES, ROOM)
    heads, size = tiny.config.kv_heads, tiny.config.head_dim
    shared, own = (PROMPTS, heads, PROMPT, size), (PROMPTS * SAMPLES, heads, ROOM, size)
    assert {x.shape for x in (*cache.prefix.keys, *cache.prefix.values)} == {shared}
    assert {x.shape for x in (*cache.keys, *cache.values)} == {own}
    alone = tiny.init_cache(PROMPTS, 2)
    assert tiny.branch(alone, 1, 1) is alone


@pytest.mark.parametrize("mesh", [{"data": 2, "tensor": 1}, {"data": 8}], ids=str)
def test_prompts_that_do_not_divide_are_copied(tiny, params, texts, mesh):
    """Four prompts over two devices are shared, and over eight they are not."""
    on_one_device, _ = decode_answers(tiny, params, texts)
    devices = sharding.make_mesh(mesh, jax.devices()[: np.prod(list(mesh.values()))])
    with jax.set_mesh(devices):
        actual, cache = decode_answers(
            tiny, sharding.place(params, tiny.specs(), devices), texts
        )
    assert (cache.prefix is None) == (mesh["data"] == 8)
    np.testing.assert_allclose(actual, on_one_device, **CLOSE)


def pack_answers(texts):
    """All answers to a prompt in one row."""
    zeros = np.zeros(texts.tokens.shape, np.float32)
    rows, _ = forward.pack_shared_prompts(texts, zeros, answers=SAMPLES, room=ROOM)
    assert rows.sequences.branches == Branches(PROMPT - 1, SAMPLES)
    return rows


@pytest.mark.parametrize("kind", quick.only(["plain"], KINDS))
def test_branches_equal_masked_rows(variant, draw, texts, kind):
    """With and without their layout: hidden states, and all gradients."""
    model = variant(**KINDS[kind])
    params = draw(model)
    rows = pack_answers(texts).sequences
    real = np.asarray(rows.segments > 0)[:, :, None]

    @jax.jit
    def read(params, rows):
        def total(params):
            hidden, _ = forward.hidden_and_unembed(model, params, rows)
            masked = jnp.where(real, hidden, 0.0)
            return jnp.sum(jnp.sin(masked)), masked

        return jax.value_and_grad(total, has_aux=True)(params)

    (_, actual), gradient = read(params, rows)
    (_, expected), expected_gradient = read(
        params, dataclasses.replace(rows, branches=None)
    )
    np.testing.assert_allclose(actual, expected, **CLOSE)
    # another order of float32 sums; entries reach 300, and part there by 2e-4
    chex.assert_trees_all_close(gradient, expected_gradient, rtol=1e-4, atol=1e-4)


def test_no_scores_between_answers_are_computed(tiny, params):
    """The work of four more answers is the same, however many there are."""

    def work(answers, known):
        shape = (1, 64 + answers * 64)
        ids, mask = (jax.ShapeDtypeStruct(shape, kind) for kind in (int, bool))
        branches = Branches(64, answers) if known else None
        rows = TokenBatch(ids, ids, ids, mask, branches=branches)
        head = jax.make_jaxpr(functools.partial(forward.hidden_and_unembed, tiny))(
            params, rows
        )
        return hlo_counts.matmul_flops(head.jaxpr)

    def growth(known):
        few, more, most = (work(answers, known) for answers in (4, 8, 12))
        return (most - more) / (more - few)

    assert growth(known=True) == 1
    assert growth(known=False) > 1.2


def test_prompts_of_one_token_have_no_columns(texts):
    """The one is each answer's first: nothing is left to share."""
    first = dataclasses.replace(texts, loss_mask=np.arange(10) >= np.ones((12, 1)))
    rows, _ = forward.pack_shared_prompts(
        first, np.zeros((12, 10), np.float32), answers=SAMPLES, room=9
    )
    assert rows.sequences.branches is None


@pytest.mark.parametrize(
    "kernel", [attention.causal_attention, attention.blockwise_cpu]
)
def test_a_prefix_is_part_of_one_softmax(tiny, kernel):
    """Two rows that share three keys, each with five of its own: against the whole."""
    rng = np.random.default_rng(1)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    query, key, value, weights = (
        draw(4, 5, 6, 8),
        *draw(2, 4, 5, 3, 8),
        draw(4, 5, 6, 8),
    )
    prefix = tuple(draw(2, 2, 3, 3, 8))
    mask = np.tril(rng.random((4, 5, 5)) < 0.5) | np.eye(5, dtype=bool)
    prefix_mask = rng.random((4, 5, 3)) < 0.6

    def with_prefix(query, key, value, prefix):
        part = blockwise_attention.MaskedKV(
            *(x.swapaxes(1, 2) for x in prefix), prefix_mask
        )
        actual = kernel(query, key, value, mask=mask, config=tiny.config, prefix=part)
        return jnp.sum(actual * weights), actual

    def concatenated(query, key, value, prefix):
        key, value = (
            jnp.concatenate([jnp.repeat(x, 2, axis=0), y], axis=1)
            for x, y in zip(prefix, (key, value), strict=True)
        )
        full_mask = np.concatenate([prefix_mask, mask], axis=-1)[:, None]
        actual = jax.nn.dot_product_attention(query, key, value, mask=full_mask)
        return jnp.sum(actual * weights), actual

    inputs = (query, key, value, prefix)
    run = lambda f: jax.jit(jax.value_and_grad(f, (0, 1, 2, 3), has_aux=True))(*inputs)
    ((_, actual), gradients), ((_, expected), expected_gradient) = (
        run(with_prefix),
        run(concatenated),
    )
    np.testing.assert_allclose(actual, expected, **CLOSE)
    chex.assert_trees_all_close(gradients, expected_gradient, **CLOSE)
