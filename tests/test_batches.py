"""Batches: masks from lengths, one meaning on numpy and traced arrays, pytrees."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import batches

# Rows of at most 5: a prompt of 2; one that ends early, without prompt; an empty one.
TOKENS = np.arange(15, dtype=np.int32).reshape(3, 5)
LENGTHS = np.array([5, 3, 0])
PROMPTS = np.array([2, 0, 0])


def test_from_lengths_by_hand():
    batch = batches.from_lengths(TOKENS, LENGTHS, PROMPTS)
    assert batch.segments.tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0] * 5]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4]] * 3
    # answers follow prompts; the first token, which nothing predicts, never counts
    answers = [[0, 0, 1, 1, 1], [0, 1, 1, 0, 0], [0] * 5]
    assert batch.loss_mask.astype(int).tolist() == answers
    assert batch.lengths.tolist() == LENGTHS.tolist()


def test_masks_know_nothing_of_ids():
    # an end token equal to the padding token (0 here) is still supervised
    mask = batches.from_lengths(0 * TOKENS, LENGTHS, PROMPTS).loss_mask
    other = batches.from_lengths(TOKENS + 7, LENGTHS, PROMPTS).loss_mask
    np.testing.assert_array_equal(mask, other)
    assert mask[0, 4] and mask[1, 2]


def test_numpy_stays_numpy_and_traced_is_the_same():
    plain = batches.from_lengths(TOKENS, LENGTHS, PROMPTS)
    assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(plain))
    arrays = map(jnp.asarray, (TOKENS, LENGTHS, PROMPTS))
    traced = jax.jit(batches.from_lengths)(*arrays)
    chex.assert_trees_all_equal(traced, plain)
    chex.assert_trees_all_equal_dtypes(traced, plain)


def test_batches_are_frozen_pytrees():
    tokens = batches.from_lengths(TOKENS, LENGTHS, PROMPTS)
    with pytest.raises(dataclasses.FrozenInstanceError):
        tokens.tokens = TOKENS
    row, some = np.arange(3), np.ones(3)
    pair = batches.PreferenceBatch(tokens, tokens, some, row, some > 0, label_prob=some)
    pair = pair.with_reference(*np.ones((4, 3)))
    ranking = batches.RankingBatch(tokens, some[None] > 0, row[:1])
    unpaired = batches.UnpairedBatch(tokens, tokens, some > 0, row, some > 0)
    unpaired = unpaired.with_reference(some, some)
    rollout = batches.RolloutBatch(tokens, *[np.ones(TOKENS.shape)] * 4)
    for batch in (tokens, pair, ranking, unpaired, rollout):
        leaves, tree = jax.tree.flatten(batch)
        chex.assert_trees_all_equal(jax.tree.unflatten(tree, leaves), batch)
        # every field travels, but for what is known of the columns beforehand
        fields = [f for f in dataclasses.fields(batch) if "static" not in f.metadata]
        values = [getattr(batch, field.name) for field in fields]
        assert len(leaves) == sum(len(jax.tree.leaves(x)) for x in values)
        assert batch is tokens or not any(x is None for x in values)
        nested = [x for x in values if isinstance(x, batches.TokenBatch)]
        assert all(len(jax.tree.leaves(x)) == 4 for x in nested)


def test_padded_batches_have_an_answer_a_row():
    """Pairs in turns, rankings in order: what `rows` gives, `per_answer` keeps."""
    chosen = batches.from_lengths(TOKENS, LENGTHS, PROMPTS)
    other = batches.from_lengths(TOKENS + 50, np.array([2, 4, 1]), PROMPTS)
    some, row = np.ones(3, np.float32), np.arange(3)
    pair = batches.PreferenceBatch(chosen, other, some, row, some > 0)
    assert pair.rows().tokens[:, 0].tolist() == [0, 50, 5, 55, 10, 60]
    assert pair.per_answer(TOKENS) is TOKENS
    # lengths 5 and 2, 3 and 4, 0 (no token: column 0) and 1
    assert pair.answer_ends().tolist() == [[4], [1], [2], [3], [0], [0]]
    left, right = batches.deinterleave(pair.rows().tokens)
    np.testing.assert_array_equal(left, chosen.tokens)
    np.testing.assert_array_equal(right, other.tokens)
    unpaired = batches.UnpairedBatch(chosen, other, some > 0, row, some > 0)
    chex.assert_trees_all_equal(unpaired.rows(), pair.rows())
    ranking = batches.RankingBatch(chosen, some[None] > 0, row[:1])
    assert ranking.rows() is chosen and ranking.answer_ends().tolist() == [
        [4],
        [2],
        [0],
    ]
