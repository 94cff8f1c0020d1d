"""Batches: shapes, masks, orders, shares of processes, and going on after a stop."""

import itertools
import json

import jax
import numpy as np
import pytest
from chex import assert_trees_all_equal

from jaxalign.data import loader
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Unpaired,
)


def row(prompt, answer, first=1):
    """A sequence of `prompt` and then `answer` tokens."""
    tokens = np.arange(first, first + prompt + answer, dtype=np.int32)
    return TokenRow(tokens, np.arange(prompt + answer) >= prompt)


def singles(count):
    """Examples whose first token is their number, from 1."""
    return [Example((row(1, 2, first=i + 1),), i) for i in range(count)]


def pairs(count):
    return [Example((row(2, 3), row(2, 5)), 10 * i, 0.5 * i) for i in range(count)]


def numbers(batches, count=None):
    """The rows of each batch."""
    batches = itertools.islice(batches, count) if count else batches
    return [[int(t) - 1 for t in b.tokens[:, 0]] for b in batches]


def test_masks_come_from_lengths_and_padding_is_no_token():
    # the answer ends with 0, which is also what rows are padded with
    sequence = TokenRow(np.array([0, 5, 0], np.int32), np.array([False, True, True]))
    short = TokenRow(np.array([7, 0], np.int32), np.array([False, True]))
    batch = next(
        loader.batches(
            [Example((sequence,), 0), Example((short,), 1)],
            2,
            kind=Demonstration,
            seed=0,
            shuffle=False,
            length=4,
        )
    )
    assert batch.tokens.tolist() == [[0, 5, 0, 0], [7, 0, 0, 0]]
    assert batch.segments.tolist() == [[1, 1, 1, 0], [1, 1, 0, 0]]
    assert batch.loss_mask.tolist() == [[0, 1, 1, 0], [0, 1, 0, 0]]
    assert batch.lengths.tolist() == [3, 2]
    assert (batch.tokens.dtype, batch.loss_mask.dtype) == (np.int32, bool)


def test_masks_of_several_answers_keep_their_gaps():
    gaps = np.array([False, True, False, False, True])
    example = Example((TokenRow(np.arange(5, dtype=np.int32), gaps),), 0)
    batch = next(loader.batches([example], 1, kind=Demonstration, seed=0, length=6))
    assert batch.loss_mask.tolist() == [[*gaps.tolist(), False]]


def test_all_batches_have_one_shape():
    examples = [Example((row(1, 1 + i),), i) for i in range(7)]
    shapes = {
        b.tokens.shape
        for b in itertools.islice(
            loader.batches(examples, 2, kind=Demonstration, seed=0), 10
        )
    }
    assert shapes == {(2, 16)}  # the longest has 8 tokens
    longer = [*examples, Example((row(1, 16),), 7)]
    batch = next(loader.batches(longer, 2, kind=Demonstration, seed=0))
    assert batch.tokens.shape == (2, 32)
    with pytest.raises(ValueError, match="length 7 is shorter than an example of 8"):
        loader.batches(examples, 2, kind=Demonstration, seed=0, length=7)


def test_pairs_carry_margin_and_row():
    batch = next(loader.batches(pairs(3), 3, kind=Preference, seed=0, shuffle=False))
    assert batch.row.tolist() == [0, 10, 20]
    assert batch.margin.tolist() == [0.0, 0.5, 1.0]
    assert batch.valid.all()
    assert batch.chosen.loss_mask.sum(1).tolist() == [3, 3, 3]
    assert batch.rejected.loss_mask.sum(1).tolist() == [5, 5, 5]
    assert batch.chosen.tokens.shape == batch.rejected.tokens.shape == (3, 16)


def test_rankings_of_unlike_size():
    examples = [
        Example((row(1, 1, 10), row(1, 2, 20)), 0),
        Example((row(1, 1, 30), row(1, 2, 40), row(1, 3, 50)), 1),
    ]
    batch = next(loader.batches(examples, 2, kind=Ranking, seed=0, shuffle=False))
    assert batch.mask.tolist() == [[True, True, False], [True, True, True]]
    # the missing answer repeats one, so that no row is empty
    assert batch.answers.tokens[:, 0].tolist() == [10, 20, 20, 30, 40, 50]


def test_prompts_are_not_answered():
    prompts = [
        Example((TokenRow(np.arange(1, n + 1, dtype=np.int32), np.zeros(n, bool)),), n)
        for n in (3, 2)
    ]
    batch = next(loader.batches(prompts, 2, kind=Prompt, seed=0, shuffle=False))
    assert batch.lengths.tolist() == [3, 2] and batch.row.tolist() == [3, 2]
    assert batch.tokens[:, :4].tolist() == [[1, 2, 3, 0], [1, 2, 0, 0]]
    tokens = np.arange(12).reshape(4, 3)
    batches = loader.prompt_batches(tokens, np.array([1, 2, 3, 1]), 2, seed=0)
    for batch in itertools.islice(batches, 4):
        assert batch.tokens.tolist() == tokens[batch.row].tolist()
        assert batch.lengths.tolist() == np.array([1, 2, 3, 1])[batch.row].tolist()


def asked(prompt, answer, up, number):
    tokens = np.array([*prompt, *answer], np.int32)
    mask = np.arange(len(tokens)) >= len(prompt)
    return Example((TokenRow(tokens, mask),), number, float(up))


@pytest.mark.parametrize("count", [2, 3, 4, 5])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_no_prompt_meets_its_own_answer(count, batch_size):
    # of each prompt two answers, neighbours; 100 * prompt + 1, + 2 are its answers
    examples = [
        asked([p + 1, p + 1], [100 * p + a] * (p + a), a == 1, 2 * p + a)
        for p in range(count)
        for a in (1, 2)
    ]
    for order in (examples, examples[::-1], examples[::2] + examples[1::2]):
        mismatch = {}
        for batch in itertools.chain(
            loader.evaluation_batches(order, batch_size, kind=Unpaired),
            loader.batches(order, batch_size, kind=Unpaired, seed=0, epochs=1),
        ):
            for i in range(batch_size):
                own, other = batch.answers, batch.mismatched_answers
                assert own.tokens[i, :2].tolist() == other.tokens[i, :2].tolist()
                (prompt,) = set(own.tokens[i, :2] - 1)
                answer = other.tokens[i][other.loss_mask[i]]
                assert set(answer // 100) != {prompt}
                assert len(set(answer)) == 1
                assert batch.desirable[i] == (own.tokens[i, 2] % 100 == 1)
                # kept reference log-probs are found by row: it never changes
                kept = mismatch.setdefault(int(batch.row[i]), answer.tolist())
                assert kept == answer.tolist()


def test_mismatched_answers_stay_within_the_longest_example():
    examples = [asked([1] * 9, [2], 1, 0), asked([3], [4] * 9, 0, 1)]
    batch = next(loader.batches(examples, 2, kind=Unpaired, seed=0, shuffle=False))
    assert batch.mismatched_answers.lengths.tolist() == [10, 2]
    assert batch.mismatched_answers.loss_mask.sum(1).tolist() == [1, 1]


def test_a_mismatched_answer_counts_as_it_does_at_home():
    # the 9 that ends each answer counts in neither, as formatting tokens may not
    rows = [
        TokenRow(np.array(tokens, np.int32), np.array(mask, bool))
        for tokens, mask in (([1, 2, 3, 9], [0, 0, 1, 0]), ([4, 5, 9], [0, 1, 0]))
    ]
    examples = [Example((row,), i) for i, row in enumerate(rows)]
    batch = next(loader.batches(examples, 2, kind=Unpaired, seed=0, shuffle=False))
    other = batch.mismatched_answers
    assert [
        t[:n].tolist() for t, n in zip(other.tokens, other.lengths, strict=True)
    ] == [
        [1, 2, 5, 9],
        [4, 3, 9],
    ]
    assert other.loss_mask[:, :4].tolist() == [[0, 0, 1, 0], [0, 1, 0, 0]]


def test_one_prompt_alone_has_no_mismatched_answer():
    examples = [asked([1], [2], 1, 0), asked([1], [3], 0, 1)]
    with pytest.raises(ValueError, match="KTO needs two different prompts"):
        next(loader.batches(examples, 2, kind=Unpaired, seed=0))


def test_every_row_once_an_epoch_in_an_order_of_its_own():
    batches = loader.batches(singles(12), 4, kind=Demonstration, seed=3, epochs=3)
    found = numbers(batches)
    epochs = [sum(found[i : i + 3], []) for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    again = loader.batches(singles(12), 4, kind=Demonstration, seed=3, epochs=3)
    assert numbers(again) == found
    other = loader.batches(singles(12), 4, kind=Demonstration, seed=4, epochs=3)
    assert numbers(other) != found
    still = loader.batches(
        singles(12), 4, kind=Demonstration, seed=3, shuffle=False, epochs=1
    )
    assert sum(numbers(still), []) == list(range(12))


def test_the_last_partial_batch_of_all_epochs_is_left_out():
    # 2 * 5 rows are three batches of 3, and 1 row
    batches = loader.batches(singles(5), 3, kind=Demonstration, seed=0, epochs=2)
    found = numbers(batches)
    assert [len(batch) for batch in found] == [3, 3, 3]
    assert sorted(sum(found, [])[:5]) == list(range(5))


@pytest.mark.parametrize("kind", [Demonstration, Preference, Ranking, Unpaired, Prompt])
def test_an_evaluation_sees_every_row_once(kind):
    examples = pairs(5) if kind in (Preference, Ranking) else singles(5)
    batches = list(loader.evaluation_batches(examples, 4, kind=kind))
    assert len(batches) == 2
    if kind is Demonstration:
        valid = np.concatenate([b.loss_mask.any(1) for b in batches])
    elif kind is Ranking:
        valid = np.concatenate([b.mask.any(1) for b in batches])
    else:
        valid = np.concatenate([b.valid for b in batches])
        rows = np.concatenate([b.row for b in batches])
        assert rows[valid].tolist() == [e.row for e in examples]
    assert valid.tolist() == [True] * 5 + [False] * 3
    assert len({jax.tree.map(np.shape, b).__repr__() for b in batches}) == 1


def test_an_evaluation_of_few_rows_fills_one_batch():
    few = loader.evaluation_batches(pairs(1), 4, kind=Preference)
    assert next(few).valid.tolist() == [True, False, False, False]
    assert list(few) == []


def test_batches_larger_than_the_data_are_refused():
    with pytest.raises(
        ValueError, match="batch 4 is larger than the data set of 3 rows"
    ):
        loader.batches(singles(3), 4, kind=Demonstration, seed=0)
    with pytest.raises(ValueError, match="no examples"):
        loader.batches([], 4, kind=Demonstration, seed=0)
    with pytest.raises(TypeError, match="no batches of"):
        next(loader.batches(singles(4), 4, kind=int, seed=0))


@pytest.mark.parametrize("processes", [2, 3])
def test_the_processes_shares_are_the_one_process_batches(monkeypatch, processes):
    def all_batches():
        return numbers(
            loader.batches(singles(20), 6, kind=Demonstration, seed=1, epochs=2)
        )

    whole = all_batches()
    monkeypatch.setattr(jax, "process_count", lambda: processes)
    shares = []
    for index in range(processes):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        shares.append(all_batches())
    assert {len(batch) for share in shares for batch in share} == {6 // processes}
    together = [
        sorted(sum(parts, ())) for parts in zip(*map(tuples, shares), strict=True)
    ]
    assert together == [sorted(batch) for batch in whole]
    with pytest.raises(ValueError, match=f"batch 7 does not divide by {processes}"):
        loader.batches(singles(20), 7, kind=Demonstration, seed=1)


def tuples(share):
    return [tuple(batch) for batch in share]


@pytest.mark.parametrize("stop", [0, 1, 4, 7])
def test_going_on_after_a_stop_is_as_never_stopped(stop):
    def fresh():
        return loader.batches(pairs(10), 4, kind=Preference, seed=5)

    whole = list(itertools.islice(fresh(), 10))
    stopped = fresh()
    for _ in range(stop):
        next(stopped)
    state = json.loads(json.dumps(stopped.get_state()))
    resumed = fresh()
    next(resumed)
    resumed.set_state(state)
    for batch in whole[stop:]:
        assert_trees_all_equal(next(resumed), batch)


def test_a_place_in_other_data_is_refused():
    state = loader.batches(singles(9), 3, kind=Demonstration, seed=0).get_state()
    for count, size, seed in ((8, 3, 0), (9, 2, 0), (9, 3, 1)):
        other = loader.batches(singles(count), size, kind=Demonstration, seed=seed)
        with pytest.raises(ValueError, match="cannot go on with the data: it stood in"):
            other.set_state(state)
