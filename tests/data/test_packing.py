"""Packed rows: whole sequences side by side, and nothing else."""

import collections
import itertools
import json

import jax
import numpy as np
import pytest
from chex import assert_trees_all_equal

from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.packing import packed_batches

LENGTH = 16


def sequences(count):
    """Of unlike lengths; each token of the i-th is i + 1, its prompt is its first."""
    lengths = [3 + i % 5 for i in range(count)]
    return [
        Example((TokenRow(np.full(n, i + 1, np.int32), np.arange(n) >= 1 + i % 2),), i)
        for i, n in enumerate(lengths)
    ]


def unpacked(batch, examples):
    """The numbers of the sequences in a batch, each checked to be whole."""
    for tokens, positions, segments, mask in zip(
        batch.tokens, batch.positions, batch.segments, batch.loss_mask, strict=True
    ):
        assert not mask[segments == 0].any()
        for segment in range(1, segments.max() + 1):
            (at,) = np.nonzero(segments == segment)
            own = examples[tokens[at[0]] - 1].sequences[0]
            assert at.tolist() == list(range(at[0], at[0] + len(own.tokens)))
            assert tokens[at].tolist() == own.tokens.tolist()
            assert positions[at].tolist() == list(range(len(at)))
            assert mask[at].tolist() == own.mask.tolist()
            yield int(tokens[at[0]]) - 1


def test_rows_hold_whole_sequences():
    examples = sequences(20)
    batches = packed_batches(examples, 4, length=LENGTH, seed=0)
    seen = collections.Counter()
    for batch in itertools.islice(batches, 12):
        assert batch.tokens.shape == (4, LENGTH)
        found = list(unpacked(batch, examples))
        assert len(found) > 4  # more than one sequence in a row
        seen.update(found)
    # some wait in rows that are not full: one epoch more or less
    assert set(seen) == set(range(20)) and max(seen.values()) - min(seen.values()) <= 2


def test_what_comes_first_in_a_row_is_never_predicted():
    answer = Example((TokenRow(np.array([7, 8], np.int32), np.array([True, True])),), 0)
    batch = next(packed_batches([answer] * 8, 2, length=4, seed=0))
    assert batch.loss_mask.tolist() == [[False, True, False, True]] * 2


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_going_on_after_a_stop_is_as_never_stopped(stop):
    def fresh(seed=3):
        return packed_batches(sequences(20), 2, length=LENGTH, seed=seed)

    whole = list(itertools.islice(fresh(), 10))
    stopped = fresh()
    for _ in range(stop):
        next(stopped)
    state = json.loads(json.dumps(stopped.get_state()))
    resumed = fresh()
    resumed.set_state(state)
    for batch in whole[stop:]:
        assert_trees_all_equal(next(resumed), batch)
    with pytest.raises(ValueError, match="cannot go on with the data"):
        fresh(seed=4).set_state(state)


def test_seeds_give_orders():
    examples = sequences(120)

    def begun(seed):
        # as many rows as are filled at once, whichever of them comes first
        batches = packed_batches(examples, 2, length=LENGTH, seed=seed)
        rows = (unpacked(b, examples) for b in itertools.islice(batches, 4))
        return sorted(itertools.chain(*rows))

    assert begun(0) == begun(0) != begun(1)


def test_the_processes_shares_are_the_one_process_batches(monkeypatch):
    def begun():
        batches = packed_batches(sequences(64), 4, length=LENGTH, seed=0)
        return [(next(batches), batches.rows.tolist()) for _ in range(3)]

    whole = begun()
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    shares = []
    for index in range(2):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(begun())
    for (batch, rows), *parts in zip(whole, *shares, strict=True):
        joined = jax.tree.map(
            lambda *x: np.concatenate(x), *(part for part, _ in parts)
        )
        assert_trees_all_equal(joined, batch)
        assert sorted(set(unpacked(batch, sequences(64)))) == rows
        assert [named for _, named in parts] == [rows, rows]


def test_what_cannot_be_packed_is_refused(monkeypatch):
    with pytest.raises(ValueError, match="length 6 is shorter than an example of 7"):
        packed_batches(sequences(5), 2, length=6, seed=0)
    with pytest.raises(ValueError, match="0 examples cannot be packed"):
        packed_batches([], 2, length=8, seed=0)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match="batch 3 does not divide by 2 processes"):
        packed_batches(sequences(5), 3, length=8, seed=0)


def test_few_sequences_fill_many_rows():
    examples = sequences(1)
    batch = next(packed_batches(examples, 8, length=LENGTH, seed=0))
    assert set(unpacked(batch, examples)) == {0}
