"""Tokenised data on disk, views and mixtures: the same rows, read when asked for."""

import dataclasses
import datetime
import itertools
import json
import os
import threading
import weakref
from collections.abc import Sequence

import jax
import numpy as np
import pytest
from chex import assert_trees_all_equal

from jaxalign.data import dataset_ops, loader, packing, readers, token_cache, tokenize
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.dataset_ops import Mixture, Subset
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Ranking,
    Unpaired,
    assistant_message,
)

ASKED = [{"role": "user", "content": "hello world"}]


def demonstrations(count):
    """Conversations of several turns and lengths; each third is too long."""
    return [
        Demonstration(
            [
                *ASKED,
                assistant_message("yes"),
                *ASKED,
                assistant_message("sure " * (i % 7) + str(i)),
            ]
            if i % 3
            else [*ASKED, assistant_message("sure " * 99)]
        )
        for i in range(count)
    ]


def pairs(count, name=""):
    """Pairs with a margin and a soft label each, exact in float32."""
    return [
        Preference(ASKED, f"{name}{i}", "no", margin=i / 2, label_prob=1 - i / 1024)
        for i in range(count)
    ]


WEATHER = {"type": "function", "function": {"name": "weather"}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {}}}
RECORDS = {
    "tools and plain texts": [
        Demonstration(
            [
                *ASKED,
                assistant_message("bad") | {"train": False},
                *ASKED,
                assistant_message("good"),
            ]
        ),
        Demonstration(ASKED, plain=True),
        Demonstration(
            [*ASKED, assistant_message("") | {"tool_calls": [CALL]}], tools=(WEATHER,)
        ),
        Demonstration([*ASKED, assistant_message("a") | {"reasoning_content": "b"}]),
    ],
    "demonstrations": demonstrations(20),
    "pairs": [Preference(ASKED, "same", "same"), *pairs(20)],
    "rankings": [Ranking(ASKED, tuple(map(str, range(2 + i % 3)))) for i in range(9)],
}


def same(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert (one.row, one.value) == (other.row, other.value)
        for a, b in zip(one.sequences, other.sequences, strict=True):
            assert a.tokens.tolist() == b.tokens.tolist()
            assert a.mask.tolist() == b.mask.tolist()
            assert (a.tokens.dtype, a.mask.dtype) == (b.tokens.dtype, b.mask.dtype)


@pytest.mark.parametrize("name", RECORDS)
def test_what_is_stored_is_what_is_tokenised(name, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "CHUNK_RECORDS", 4)
    settings = {"context": 64, "all_turns": name == "demonstrations"}
    expected, report = tokenize.tokenize(RECORDS[name], tokenizer, **settings)
    found = token_cache.write(
        tmp_path / "x", iter(RECORDS[name]), tokenizer, **settings
    )
    same(found, expected)
    assert found.report == report and len(found) == report.usable < 21
    assert found.longest == tokenize.longest_sequence(expected)
    same([found[-1], *found[2:4]], [expected[-1], *expected[2:4]])
    with pytest.raises(IndexError):
        found[len(found)]


def test_a_token_that_counts_is_its_complement():
    row = token_cache.decode_row(np.array([0, 5, ~0, ~5], np.int32))
    assert row.tokens.tolist() == [0, 5, 0, 5]
    assert row.mask.tolist() == [False, False, True, True]


def test_workers_change_nothing(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "CHUNK_RECORDS", 3)
    alone = token_cache.write(tmp_path / "alone", pairs(20), tokenizer, context=64)
    two = token_cache.write(
        tmp_path / "two", pairs(20), tokenizer, context=64, workers=2
    )
    same(two, alone)
    for name in os.listdir(tmp_path / "alone"):
        one, other = (tmp_path / side / name for side in ("alone", "two"))
        assert one.read_bytes() == other.read_bytes()


def test_nothing_half_written_is_left_in_place(tokenizer, tmp_path):
    def broken():
        yield from pairs(3)
        raise ValueError("rows.jsonl:4: is not JSON")

    folder = tmp_path / "x"
    with pytest.raises(ValueError, match="rows.jsonl:4"):
        token_cache.write(folder, broken(), tokenizer, context=64)
    assert not folder.exists()
    with pytest.raises(ValueError, match="--context 4: 0 of 3 rows"):
        token_cache.write(folder, pairs(3), tokenizer, context=4)
    assert len(token_cache.write(folder, pairs(3), tokenizer, context=64)) == 3


def test_one_writes_and_the_others_wait(tokenizer, tmp_path):
    folder, found = tmp_path / "cache" / "x", []

    def other():
        with token_cache.write_lock(folder) as there:
            found.append(there)

    with token_cache.write_lock(folder) as there:
        assert not there
        waits = threading.Thread(target=other)
        waits.start()
        waits.join(0.2)
        assert waits.is_alive() and not found
        token_cache.write(folder, pairs(3), tokenizer, context=64)
    waits.join(10)
    assert found == [True]


def test_the_key_changes_with_all_that_decides(tokenizer, templated, tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": "q"})
    other = templated("{{ messages }}")

    def keys():
        return [
            token_cache.cache_key(str(path), Preference, tokenizer, context=64),
            token_cache.cache_key(str(path), Demonstration, tokenizer, context=64),
            token_cache.cache_key(str(path), Preference, other, context=64),
            token_cache.cache_key(str(path), Preference, tokenizer, context=65),
        ]

    before = keys()
    assert len(set(before)) == 4 and keys() == before
    dated = templated("{{ strftime_now('%d') }}{{ messages }}")
    days = [datetime.date(2026, 1, day) for day in (1, 2)]
    manners = [
        *map(tokenizers.TokenizationOptions, days),
        tokenizers.TokenizationOptions(days[0], True),
    ]
    found = set()
    for manner in manners:  # the day and kept special tokens decide, too
        tokenizers.set_tokenization_options(dated, manner)
        found.add(token_cache.cache_key(str(path), Preference, dated, context=64))
    assert len(found) == 3
    jsonl(path, {"prompt": "qq"})
    assert not set(keys()) & set(before)


def test_batches_of_the_disk_are_those_of_memory(tokenizer, tmp_path):
    here, _ = tokenize.tokenize(pairs(20), tokenizer, context=64)
    there = token_cache.write(tmp_path / "x", pairs(20), tokenizer, context=64)
    both = [
        loader.batches(x, 4, kind=Preference, seed=1, epochs=2) for x in (here, there)
    ]
    for one, other in zip(*both, strict=True):
        assert_trees_all_equal(one, other)


def test_a_view_is_some_of_the_rows(tokenizer, tmp_path):
    there = token_cache.write(tmp_path / "x", pairs(20), tokenizer, context=64)
    held_out = Subset(there, np.flatnonzero(there.rows % 10 == 9))
    assert [e.row for e in held_out] == [9, 19] and len(held_out) == 2
    assert held_out[-1].row == 19 and held_out[:1][0].row == 9
    batch = next(loader.batches(held_out, 2, kind=Preference, seed=0, shuffle=False))
    assert batch.row.tolist() == [9, 19]


@pytest.fixture
def mixture(tokenizer, tmp_path):
    """A small part on disk with a weight of 3, and a large one in memory, of 1."""
    small = token_cache.write(tmp_path / "small", pairs(5), tokenizer, context=64)
    large, _ = tokenize.tokenize(pairs(200, "x"), tokenizer, context=64)
    return Mixture([small, large], [3.0, 1.0])


def test_a_mixture_gives_each_part_its_share(mixture):
    assert len(mixture) == 205
    rows = [mixture[i].row for i in range(205)]
    assert len(set(rows)) == 205 and rows == sorted(rows)
    batches = loader.batches(mixture, 8, kind=Preference, seed=0)
    found = np.concatenate([b.row for b in itertools.islice(batches, 50)])
    small = found <= rows[4]
    assert small.mean() == 0.75
    # each part is shuffled anew in each of its epochs
    epochs = found[small].reshape(-1, 5)
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(rows[:5])}
    assert len({tuple(epoch) for epoch in epochs}) > 10
    assert len(set(found[~small])) == 100
    first = next(loader.batches(mixture, 8, kind=Preference, seed=0))
    one = dataclasses.replace(mixture[rows.index(first.row[0])], row=0)
    length = len(one.sequences[0].tokens)
    assert first.chosen.tokens[0, :length].tolist() == one.sequences[0].tokens.tolist()


def test_a_mixture_goes_on_after_a_stop_and_with_any_processes(mixture, monkeypatch):
    def rows(count, state=None):
        batches = loader.batches(mixture, 8, kind=Preference, seed=0)
        if state:
            batches.set_state(state)
        found = [batch.row.tolist() for batch in itertools.islice(batches, count)]
        return found, json.loads(json.dumps(batches.get_state()))

    whole, _ = rows(9)
    _, state = rows(4)
    assert rows(5, state)[0] == whole[4:]
    for processes in (2, 4):
        monkeypatch.setattr(jax, "process_count", lambda n=processes: n)
        shares = []
        for index in range(processes):
            monkeypatch.setattr(jax, "process_index", lambda k=index: k)
            shares.append(rows(5, state)[0])
        for batch, parts in zip(whole[4:], zip(*shares, strict=True), strict=True):
            assert sorted(sum(parts, [])) == sorted(batch)
    mixture.weights[0] = 2.0
    with pytest.raises(ValueError, match="cannot go on with the data"):
        rows(1, state)


def test_margins_are_not_taken_for_soft_labels(tokenizer):
    examples = lambda **more: tokenize.tokenize(
        [Preference(ASKED, "yes", "no", **more)], tokenizer, context=64
    )[0]
    for usable in ({}, {"label_prob": 0.75}, {"label_prob": 0.75, "margin": 1.0}):
        dataset_ops.check_soft_labels(examples(**usable))
    with pytest.raises(ValueError, match="'label_prob', which no row has"):
        dataset_ops.check_soft_labels(examples(margin=1.0))


def test_views_know_the_soft_labels(mixture):
    each = np.array([example.label_prob for example in mixture], np.float32)
    np.testing.assert_array_equal(tokenize.example_label_probs(mixture), each)
    assert len(np.unique(each)) > 2
    some = Subset(mixture, np.array([3, 1]))
    np.testing.assert_array_equal(tokenize.example_label_probs(some), each[[3, 1]])


def test_mixtures_that_cannot_be(mixture):
    part = mixture.parts[0]
    for parts, weights in (([], []), ([part], [1, 2])):
        with pytest.raises(ValueError, match="needs parts, each with a weight"):
            Mixture(parts, weights)
    with pytest.raises(ValueError, match="part 2 of the mixture has no training rows"):
        Mixture([part, []], [1, 1])
    with pytest.raises(ValueError, match="above 0, not 0"):
        Mixture([part, part], [1, 0])


def test_an_evaluation_of_a_mixture_sees_every_row_once(mixture):
    batches = loader.evaluation_batches(mixture, 8, kind=Preference)
    found = np.concatenate([batch.row[batch.valid] for batch in batches])
    assert found.tolist() == [mixture[i].row for i in range(205)]


def test_a_file_is_read_as_it_is_needed(tmp_path, jsonl):
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    path = jsonl(tmp_path / "rows.jsonl", row, row, "{")
    reading = readers.stream(path, Preference)
    first = list(itertools.islice(reading, 2))
    assert [p.location for p in first] == [f"{path}:1", f"{path}:2"]
    assert reading.report.total == 2
    with pytest.raises(ValueError, match="rows.jsonl:3: is not JSON"):
        list(readers.stream(path, Preference))


class Watched(Sequence):
    """A data set that knows how often it was read, and how much is held at once."""

    def __init__(self, inner):
        self.inner, self.rows, self.longest = inner, inner.rows, inner.longest
        self.held, self.most, self.read = 0, 0, 0

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, i):
        example = self.inner[i]
        self.held, self.read = self.held + 1, self.read + 1
        self.most = max(self.most, self.held)
        weakref.finalize(example, self.free)
        return example

    def free(self):
        self.held -= 1


def test_what_a_run_does_with_data_on_disk_holds_a_batch_of_them(tokenizer, tmp_path):
    asked = [[{"role": "user", "content": f"hello {i}"}] for i in range(200)]
    records = [Preference(prompt, "sure", "no") for prompt in asked]
    there = token_cache.write(tmp_path / "x", records, tokenizer, context=64)
    data = Watched(there)
    plain = dataset_ops.mask_special_tokens(data, tokenizer)
    assert tokenize.digest(plain) != tokenize.digest(data)
    assert tokenize.digest(data) == tokenize.digest(iter(there))
    assert len(next(loader.batches(plain, 4, kind=Preference, seed=0)).row) == 4
    singles = dataset_ops.unpair(data)
    assert len(next(loader.batches(singles, 4, kind=Unpaired, seed=0)).row) == 4
    packed = packing.answer_batches(data, 16, seed=0)
    found = next(packed)
    assert found.valid.sum() >= 16 and data.read > 600
    # several rows of prompts at most, never the 200
    assert data.most <= 2 * found.valid.sum() < 60


def test_what_comes_next_is_known_without_reading_it(tokenizer, tmp_path):
    data = Watched(token_cache.write(tmp_path / "x", pairs(60), tokenizer, context=64))
    for batches in (
        loader.batches(data, 4, kind=Preference, seed=1),
        packing.answer_batches(data, 8, seed=1),
    ):
        next(batches)
        before = data.read
        ahead = batches.peek_indices(3)
        assert data.read == before
        came = [(next(batches), batches.rows)[1] for _ in range(3)]
        assert ahead.tolist() == sorted({row for rows in came for row in rows})
        assert batches.peek_indices(0).size == 0


def test_batches_of_some_examples_are_theirs_among_all(tokenizer, tmp_path):
    """KTO's mismatched answers, too, which are of neighbours in the whole data set."""
    records = [
        Preference([*ASKED, assistant_message(str(i)), *ASKED], "a", "b")
        for i in range(9)
    ]
    found, _ = tokenize.tokenize(records, tokenizer, context=64)
    data = dataset_ops.unpair(found)
    (whole,) = loader.evaluation_batches(data, 18, kind=Unpaired)
    indices = np.array([3, 8, 17])
    some = list(loader.evaluation_batches(data, 2, kind=Unpaired, indices=indices))
    rows = np.concatenate([batch.row[batch.valid] for batch in some])
    assert rows.tolist() == data.rows[[3, 8, 17]].tolist() == [6, 16, 17]
    for batch, at in zip(some, ([3, 8], [17]), strict=True):
        expected = jax.tree.map(lambda x, at=at: x[at], whole)
        shown = jax.tree.map(lambda x, at=at: x[: len(at)], batch)
        assert_trees_all_equal(shown, expected)


def test_a_mixture_stays_one_when_its_rows_are_changed(mixture, tokenizer):
    for changed in (
        dataset_ops.mask_special_tokens(mixture, tokenizer),
        dataset_ops.unpair(mixture),
    ):
        assert isinstance(changed, Mixture) and changed.weights == mixture.weights
        numbers = [example.row for example in changed]
        assert len(set(numbers)) == len(changed) and numbers == changed.rows.tolist()
