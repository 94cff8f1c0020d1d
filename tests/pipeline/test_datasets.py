"""What `--data` may name, and what comes of it."""

import dataclasses
import json
import types

import numpy as np
import pytest

from jaxalign.data import token_cache
from jaxalign.data import tokenizer as tokenizers
from jaxalign.pipeline import datasets
from jaxalign.pipeline.datasets.registry import AT_DATA_PATH
from jaxalign.runtime import distributed
from jaxalign.runtime.config import RunConfig
from tests.data.test_tfds import ToyBuilder


@pytest.fixture
def shp(tmp_path):
    """A file of twenty comparisons."""
    row = {"human_ref_A": "best", "human_ref_B": "poor", "labels": 1}
    rows = [row | {"history": f"q{i}"} for i in range(20)]
    path = tmp_path / "shp.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_published_set_by_its_name_and_by_its_file(shp):
    named = datasets.load(RunConfig(data="shp", data_path=str(shp)))
    assert named.name == "shp"
    train, held_out = named.preferences()
    assert held_out and len(train) + len(held_out) == 20
    assert not {p.location for p in train} & {p.location for p in held_out}
    assert named.preferences() == datasets.load(RunConfig(data=str(shp))).preferences()


@pytest.mark.parametrize("name", AT_DATA_PATH)
def test_named_sets_need_a_path_that_exists(name, tmp_path):
    with pytest.raises(ValueError, match=f"--data {name} needs --data-path"):
        datasets.load(RunConfig(data=name))
    with pytest.raises(FileNotFoundError, match="--data-path .*nowhere does not exist"):
        datasets.load(RunConfig(data=name, data_path=str(tmp_path / "nowhere")))


def test_a_folder_has_its_own_splits(shp, tmp_path):
    folder = tmp_path / "both"
    folder.mkdir()
    shp.rename(folder / "train.jsonl")
    by_rule = datasets.load(RunConfig(data=str(folder))).preferences()
    assert by_rule[1] and sum(map(len, by_rule)) == 20
    (folder / "test.jsonl").write_text((folder / "train.jsonl").read_text())
    train, held_out = datasets.load(RunConfig(data=str(folder))).preferences()
    assert len(train) == len(held_out) == 20


def test_gsm8k_rewards_the_right_number(public_data):
    path = public_data / "gsm8k" / "test.jsonl"
    source = datasets.load(RunConfig(data="gsm8k", data_path=str(path)))
    prompts, _ = source.prompts()
    # the first problem's published answer is 18
    texts = ["9 * 2 = 18\n#### 18", "#### $18", "18", "#### 19", "#### 1\n#### 18"]
    judged = source.require_reward()([prompts[0]] * 5, texts, np.ones(5, bool))
    assert judged["reward"].tolist() == [1, 0, 0, 0, 1]
    answers = [d.messages[-1]["content"] for d in source.demonstrations()[0]]
    judged = source.require_reward()(prompts, answers, np.ones(len(answers), bool))
    assert judged["reward"].all() and len(answers) == len(prompts)


def test_a_prepared_data_set_of_tfds(tmp_path):
    config = RunConfig(data="tfds:toy_builder", data_path=str(tmp_path), held_out=0.0)
    with pytest.raises(ValueError, match="(?s)tfds:toy_builder cannot .*prepare it"):
        datasets.load(config)
    ToyBuilder(data_dir=tmp_path, file_format="array_record").download_and_prepare()
    train, held_out = datasets.load(config).preferences()
    assert {p.chosen for p in train} == {"yes", "4"} and held_out == []
    with pytest.raises(ValueError, match="tfds:nothing cannot be read"):
        datasets.load(RunConfig(data="tfds:nothing"))


@pytest.fixture(scope="module")
def policy():
    """All of a policy that tokenising needs."""
    tokenizer = tokenizers.train(["best poor"], vocab_size=270)
    return types.SimpleNamespace(tokenizer=tokenizer, context=64)


def test_pairs_kept_on_disk_are_those_in_memory(shp, policy, tmp_path, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 0)  # no processes for twenty rows
    here = RunConfig(data=str(shp))
    there = dataclasses.replace(here, token_cache=tmp_path / "cache")
    in_memory = datasets.tokenized_pairs(here, datasets.load(here), policy, print)
    for written in (True, False):
        notes = []
        if not written:
            monkeypatch.setattr(token_cache, "write", None)  # is not made again
        on_disk = datasets.tokenized_pairs(
            there, datasets.load(there), policy, notes.append
        )
        for found, expected in zip(on_disk, in_memory, strict=True):
            for one, other in zip(found, expected, strict=True):
                texts = [e.sequences[0].tokens.tolist() for e in (one, other)]
                assert texts[0] == texts[1]
        # the same notes whether it was written now or before
        assert [note.endswith("20 of 20 rows") for note in notes] == [True, True]


def test_kept_pairs_must_be_seen_by_all_processes(shp, policy, tmp_path, monkeypatch):
    monkeypatch.setattr(distributed, "is_first", lambda: False)
    config = RunConfig(data=str(shp), token_cache=tmp_path / "cache")
    with pytest.raises(FileNotFoundError, match="--token-cache: .* a folder that all"):
        datasets.tokenized_pairs(config, datasets.load(config), policy, print)
    assert not (tmp_path / "cache").exists()


def test_a_mixture_by_weights(shp, policy, tmp_path):
    row = {"chosen": "a", "rejected": "b"}
    other = tmp_path / "other.jsonl"
    rows = [json.dumps(row | {"prompt": f"other {i}"}) for i in range(100)]
    other.write_text("\n".join(rows))
    config = RunConfig(data=f"{shp}=3,{other}=1")
    source = datasets.load(config)
    train, held_out = datasets.tokenized_pairs(config, source, policy, print)
    alone = [
        len(datasets.load(RunConfig(data=str(p))).preferences()[0])
        for p in (shp, other)
    ]
    assert train.weights == [3, 1] and [len(p) for p in train.parts] == alone
    sides = source.demonstrations()
    assert [len(train), len(held_out)] == list(map(len, sides)) and held_out
    for bad in (f"{shp}=x,{other}=1", f"{shp}=0,{other}=1", f"{shp}=1,{other}"):
        with pytest.raises(ValueError, match="--data takes PATH=WEIGHT"):
            datasets.load(RunConfig(data=bad))
