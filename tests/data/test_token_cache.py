"""Tokenized examples on disk: the same rows as in memory, read one by one."""

import datetime
import itertools
import os
import threading

import numpy as np
import pytest
from chex import assert_trees_all_equal

from jaxalign.data import (
    cached_examples,
    dataset_ops,
    examples,
    loader,
    packing,
    readers,
    token_cache,
    tokenize,
)
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Ranking,
    Unpaired,
    assistant_message,
)
from tests.support.token_examples import (
    PROMPT,
    CountedReads,
    assert_same_examples,
    numbered_pairs,
)


def demonstrations(count):
    """Conversations of several turns and lengths; each third is too long."""
    return [
        Demonstration(
            [
                *PROMPT,
                assistant_message("yes"),
                *PROMPT,
                assistant_message("sure " * (i % 7) + str(i)),
            ]
            if i % 3
            else [*PROMPT, assistant_message("sure " * 99)]
        )
        for i in range(count)
    ]


WEATHER = {"type": "function", "function": {"name": "weather"}}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {}}}


RECORDS = {
    "tools and plain texts": [
        Demonstration(
            [
                *PROMPT,
                assistant_message("bad") | {"train": False},
                *PROMPT,
                assistant_message("good"),
            ]
        ),
        Demonstration(PROMPT, plain=True),
        Demonstration(
            [*PROMPT, assistant_message("") | {"tool_calls": [CALL]}], tools=(WEATHER,)
        ),
        Demonstration([*PROMPT, assistant_message("a") | {"reasoning_content": "b"}]),
    ],
    "demonstrations": demonstrations(20),
    "pairs": [Preference(PROMPT, "same", "same"), *numbered_pairs(20)],
    "rankings": [Ranking(PROMPT, tuple(map(str, range(2 + i % 3)))) for i in range(9)],
}


@pytest.mark.parametrize("name", RECORDS)
def test_cached_examples_equal_tokenized_ones(name, tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "CHUNK_RECORDS", 4)
    settings = {"context": 64, "all_turns": name == "demonstrations"}
    expected, report = tokenize.tokenize(RECORDS[name], tokenizer, **settings)
    found = token_cache.write(
        tmp_path / "x", iter(RECORDS[name]), tokenizer, **settings
    )
    assert_same_examples(found, expected)
    assert found.report == report and len(found) == report.usable < 21
    assert found.longest == examples.longest_sequence(expected)
    assert_same_examples([found[-1], *found[2:4]], [expected[-1], *expected[2:4]])
    with pytest.raises(IndexError):
        found[len(found)]


def test_a_token_that_counts_is_its_complement():
    row = cached_examples.decode_row(np.array([0, 5, ~0, ~5], np.int32))
    assert row.tokens.tolist() == [0, 5, 0, 5]
    assert row.mask.tolist() == [False, False, True, True]


def test_workers_change_nothing(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(token_cache, "CHUNK_RECORDS", 3)
    alone = token_cache.write(
        tmp_path / "alone", numbered_pairs(20), tokenizer, context=64
    )
    two = token_cache.write(
        tmp_path / "two", numbered_pairs(20), tokenizer, context=64, workers=2
    )
    assert_same_examples(two, alone)
    for name in os.listdir(tmp_path / "alone"):
        one, other = (tmp_path / side / name for side in ("alone", "two"))
        assert one.read_bytes() == other.read_bytes()


def test_nothing_half_written_is_left_in_place(tokenizer, tmp_path):
    def broken():
        yield from numbered_pairs(3)
        raise ValueError("rows.jsonl:4: is not JSON")

    folder = tmp_path / "x"
    with pytest.raises(ValueError, match="rows.jsonl:4"):
        token_cache.write(folder, broken(), tokenizer, context=64)
    assert not folder.exists()
    with pytest.raises(ValueError, match="--context 4: 0 of 3 rows"):
        token_cache.write(folder, numbered_pairs(3), tokenizer, context=4)
    assert len(token_cache.write(folder, numbered_pairs(3), tokenizer, context=64)) == 3


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
        token_cache.write(folder, numbered_pairs(3), tokenizer, context=64)
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
    here, _ = tokenize.tokenize(numbered_pairs(20), tokenizer, context=64)
    there = token_cache.write(tmp_path / "x", numbered_pairs(20), tokenizer, context=64)
    both = [
        loader.batches(x, 4, kind=Preference, seed=1, epochs=2) for x in (here, there)
    ]
    for one, other in zip(*both, strict=True):
        assert_trees_all_equal(one, other)


def test_a_file_is_read_as_it_is_needed(tmp_path, jsonl):
    row = {"prompt": "q", "chosen": "a", "rejected": "b"}
    path = jsonl(tmp_path / "rows.jsonl", row, row, "{")
    reading = readers.stream(path, Preference)
    first = list(itertools.islice(reading, 2))
    assert [p.location for p in first] == [f"{path}:1", f"{path}:2"]
    assert reading.report.total == 2
    with pytest.raises(ValueError, match="rows.jsonl:3: is not JSON"):
        list(readers.stream(path, Preference))


def test_what_a_run_does_with_data_on_disk_holds_a_batch_of_them(tokenizer, tmp_path):
    asked = [[{"role": "user", "content": f"hello {i}"}] for i in range(200)]
    records = [Preference(prompt, "sure", "no") for prompt in asked]
    there = token_cache.write(tmp_path / "x", records, tokenizer, context=64)
    data = CountedReads(there)
    plain = dataset_ops.mask_special_tokens(data, tokenizer)
    assert examples.digest(plain) != examples.digest(data)
    assert examples.digest(data) == examples.digest(iter(there))
    assert len(next(loader.batches(plain, 4, kind=Preference, seed=0)).row) == 4
    singles = dataset_ops.unpair(data)
    assert len(next(loader.batches(singles, 4, kind=Unpaired, seed=0)).row) == 4
    packed = packing.answer_batches(data, 16, seed=0)
    found = next(packed)
    assert found.valid.sum() >= 16 and data.read > 600
    # several rows of prompts at most, never the 200
    assert data.most <= 2 * found.valid.sum() < 60


def test_what_comes_next_is_known_without_reading_it(tokenizer, tmp_path):
    data = CountedReads(
        token_cache.write(tmp_path / "x", numbered_pairs(60), tokenizer, context=64)
    )
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
