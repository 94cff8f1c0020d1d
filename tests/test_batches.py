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
    pair = batches.PreferenceBatch(tokens, tokens, some, row, some > 0)
    ranking = batches.RankingBatch(tokens, some[None] > 0, row[:1])
    unpaired = batches.UnpairedBatch(tokens, tokens, some > 0, row, some > 0)
    rollout = batches.RolloutBatch(tokens, *[np.ones(TOKENS.shape)] * 4)
    for batch in (tokens, pair, ranking, unpaired, rollout):
        leaves, tree = jax.tree.flatten(batch)
        chex.assert_trees_all_equal(jax.tree.unflatten(tree, leaves), batch)
        # every field travels, but for what is known of the columns beforehand
        fields = [f for f in dataclasses.fields(batch) if "static" not in f.metadata]
        nested = [f for f in fields if "Batch" in str(f.type)]
        own = len(fields) - len(nested)
        assert len(leaves) == own + 4 * len(nested)
