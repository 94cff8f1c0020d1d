"""Accounts of a split, as `data.json` keeps them: counts and held-out row numbers."""

import dataclasses
import json
import re

import numpy as np
import pytest

from jaxalign.data import token_cache
from jaxalign.data.records import Preference, Prompt
from jaxalign.pipeline import datasets
from jaxalign.pipeline.datasets import record_splits
from jaxalign.runtime.config import RunConfig
from tests.support import quick
from tests.support.held_out_rows import (
    COPIES,
    PROMPTS,
    layout_row,
    load,
    messages,
    split_prompts,
    text_policy,
    write_rows,
)


@pytest.mark.parametrize("cached", quick.only([False], [False, True]))
def test_the_account_of_pairs_says_what_is_trained_on_and_held_out(
    cached, tmp_path, monkeypatch
):
    """Of --held-out-data and of mixtures, whose parts are put together as tokens."""
    monkeypatch.setattr("os.cpu_count", lambda: 0)
    data = write_rows(tmp_path / "data.jsonl", "pair")
    exam = tmp_path / "exam.jsonl"
    rows = [layout_row("pair", i, 2) for i in (3, 4, 100)]
    exam.write_text("\n".join(map(json.dumps, rows)))
    folder = tmp_path / "two"
    folder.mkdir()
    rule = split_prompts(load(data), "pair")[1]
    few = [layout_row("pair", i, 0) for i in range(PROMPTS) if i not in rule]
    for name, part in (("train", few[:40]), ("test", few[40:])):
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, part)))
    cache = {"token_cache": tmp_path / "cache"} if cached else {}
    told = RunConfig(data=str(data), held_out_data=str(exam), **cache)
    mixed = RunConfig(data=f"{data}=1,{folder}=3", **cache)
    # the folder has nothing that the rule holds out of the file; its test rows are in
    # the file's training, which loses them
    removed = {told: 2 * COPIES, mixed: (len(few) - 40) * COPIES}
    for config in (told,) if cached else (told, mixed):
        source = datasets.load(config)
        train, held_out = datasets.tokenized_pairs(config, source, text_policy(), print)
        kind, account = source.accounts()[-1]
        assert kind == "Preference"
        assert account["training_rows"] == len(train)
        assert account["held_out_rows"] == len(held_out)
        assert account["held_out_prompts_in_training"] == 0
        assert account["removed_from_training"] == removed[config]
        rows_told = {str(exam): [1, 2, 3]} if config is told else {}
        assert account["held_out_row_numbers"] == rows_told


@pytest.mark.parametrize("stated", quick.only([True], [True, False]))
def test_the_account_names_held_out_rows_by_shard(stated, tmp_path, monkeypatch):
    """Whether tokens are cached or not: the number is that of the row in its shard."""
    monkeypatch.setattr("os.cpu_count", lambda: 0)
    shards = [[layout_row("pair", i, 0) for i in part] for part in ((1, 2), (3, 4, 5))]
    for k, rows in enumerate(shards):
        for split in ("train", "test") if stated else ("train",):
            file = tmp_path / f"{split}-{k}-of-2.jsonl"
            file.write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig(data=str(tmp_path), held_out=0.5, held_out_seed=1)
    accounts = []
    for each in (config, dataclasses.replace(config, token_cache=tmp_path / "cache")):
        source = datasets.load(each)
        train, held_out = datasets.tokenized_pairs(each, source, text_policy(), print)
        accounts.append(source.accounts()[-1][1]["held_out_row_numbers"])
        assert len(train) == 5 if stated else len(train) + len(held_out) == 5
    assert accounts[0] == accounts[1]
    names = {"test-0-of-2.jsonl": [1, 2], "test-1-of-2.jsonl": [1, 2, 3]}
    if stated:
        assert accounts[0] == {f"{tmp_path}/{k}": v for k, v in names.items()}
    else:
        assert len(accounts[0]) == 2  # seed 1 holds out rows of both shards


@pytest.mark.parametrize("flags", [{}, {"held_out": 0.3, "held_out_seed": 5}])
def test_token_caches_hold_out_the_same(flags, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 0)  # no processes for few rows
    path = write_rows(tmp_path / "a.jsonl", "pair", bad=(2, 90))
    config = RunConfig(data=str(path), skip_bad_rows=True, **flags)
    cached = dataclasses.replace(config, token_cache=tmp_path / "cache")
    found = []
    for one in (config, cached):
        source = datasets.load(one)
        train, held_out = datasets.tokenized_pairs(one, source, text_policy(), print)
        found.append([[e.prompt_hash for e in side] for side in (train, held_out)])
        ((kind, account),) = source.accounts()
        assert kind == "Preference"
        found[-1].append({k: v for k, v in account.items() if k != "read"})
    assert found[0] == found[1]
    assert not set(found[0][0]) & set(found[0][1])
    # the rows that are said to be held out are the lines of those prompts
    lines = path.read_text().splitlines()
    held = split_prompts(datasets.load(config), "pair")[1]
    (numbers,) = found[0][2]["held_out_row_numbers"].values()
    said_so = [json.loads(lines[n - 1])["prompt"][0]["content"] for n in numbers]
    assert {int(re.search(r"(?i)q(\d+)", text)[1]) for text in said_so} == held
    assert len(numbers) == len(held) * COPIES == found[0][2]["held_out_rows"]


def test_stated_splits_stay_and_what_is_in_both_is_counted(tmp_path):
    for name, prompts in (("train", range(8)), ("test", range(6, 12))):
        rows = [layout_row("pair", i, 0) for i in prompts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = load(tmp_path)
    train, held_out = source.preferences()
    assert (len(train), len(held_out)) == (8, 6)
    ((kind, account),) = source.accounts()
    assert kind == "Preference" and account["held_out_prompts_in_training"] == 2
    assert "warning: 2 held-out prompts are in training too" in (
        datasets.summary(kind, account)
    )


def test_the_first_row_of_a_prepared_data_set_has_a_number():
    rows = [Prompt(messages("q"), location=f"name/train:{i}") for i in (0, 2)]
    assert record_splits.row_numbers(rows) == {"name/train": [0, 2]}


def test_a_stored_row_knows_its_prompt(tmp_path):
    pair = Preference(messages("q1 why?"), "good", "bad", location="a.jsonl:7")
    tokenizer = text_policy().tokenizer
    there = token_cache.write(tmp_path / "kept", [pair], tokenizer, context=64)
    assert there.row_numbers(np.arange(1)) == {"a.jsonl": [7]}
    assert there[0].prompt_hash == there.prompt_hashes[0] != 0
