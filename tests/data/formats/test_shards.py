"""What is in a folder is split, ordered and refused by the names of its files."""

import json
import os

import pyarrow as pa
import pytest

from jaxalign.data.formats import shards
from jaxalign.pipeline import datasets
from jaxalign.runtime.config import RunConfig
from tests.data.row_files import write


def rows(*numbers):
    return [{"prompt": f"q{i}", "chosen": "a", "rejected": "b"} for i in numbers]


def fill(folder, *names):
    """Files of a row each, numbered in the order of the names."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        write(folder / name, rows(i))
    for beside in ("README.md", ".gitattributes", "dataset_infos.json"):
        (folder / beside).write_text("{}")


def split_names(folder):
    """The names of the files of each split, below the folder."""
    splits = shards.find_splits(str(folder))
    inside = lambda files: [os.path.relpath(file, folder) for file in files]
    return inside(splits.train), inside(splits.held_out), list(splits.unused)


LAYOUTS = [
    # files, those of train, those held out, what is left unused
    (["train.jsonl", "test.jsonl"], [0], [1], []),
    (["TRAIN.JSONL"], [0], [], []),
    (["train-00001-of-00002.parquet", "train-00000-of-00002.parquet"], [1, 0], [], []),
    (["train.10.jsonl", *(f"train.{i}.jsonl" for i in range(10))], [*range(1, 11), 0])
    + ([], []),
    (["train_1.jsonl", "train_2.jsonl", "dev.csv"], [0, 1], [2], []),
    (
        [
            "train-00000-of-00001-0123456789abcdef.parquet",
            "valid-00000-of-00001.parquet",
        ],
        [0],
        [1],
        [],
    ),
    (
        [
            "train-00001-of-00002-77ad.parquet",
            "train-00000-of-00002-0a1b2c3d.parquet",
            "test-00000-of-00001-aa.parquet",
        ],
        [1, 0],
        [2],
        [],
    ),
    (["train.jsonl", "test.jsonl", "validation.jsonl"], [0], [1], ["validation.jsonl"]),
    (["train.jsonl", "val.jsonl", "notes.csv"], [0], [1], ["notes.csv"]),
    (["data/train_sft.json", "data/test_sft.json"], [0], [1], []),
    (["train_sft.json", "test_gen.json"], [0], [], ["test_gen.json"]),
    (["alpaca-train.arrow", "alpaca-eval.arrow"], [0], [1], []),
    (["default/train/0000.parquet", "default/test/0000.parquet"], [0], [1], []),
    (["part-00000.jsonl.gz", "part-00001.jsonl.gz"], [0, 1], [], []),
    (["train.jsonl-00000-of-00002", "train.jsonl-00001-of-00002"], [0, 1], [], []),
    (["train.parquet/part-00000.parquet", "test.parquet/part-0.parquet"], [0], [1], []),
    (["pairs.jsonl"], [0], [], []),
]


@pytest.mark.parametrize(("names", "train", "held_out", "unused"), LAYOUTS)
def test_splits_by_names(names, train, held_out, unused, tmp_path):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "README.md").touch()
    splits = split_names(tmp_path)
    assert splits == ([names[i] for i in train], [names[i] for i in held_out], unused)


REFUSED = [
    (["train-00000-of-00003.parquet", "train-00002-of-00003.parquet"], "number 1 is"),
    (["train-00000-of-00002.parquet"], "number 1 is missing"),
    (["train.00.jsonl", "train.02.jsonl"], "number 1 is missing"),
    (["train-00002-of-00002.jsonl", "train-00000-of-00002.jsonl"], "of-00002.jsonl"),
    (["train.jsonl", "train.parquet"], "train.jsonl, train.parquet may all be"),
    (["train.jsonl", "train.jsonl.gz"], "train.jsonl, train.jsonl.gz may all be"),
    (["train.jsonl", "train/a.jsonl"], "a.jsonl, train.jsonl may all be"),
    (["train.jsonl", "train.00.jsonl"], "train.00.jsonl, train.jsonl may all be"),
    (["train-0-of-1.jsonl", "train-1-of-2.jsonl"], "may all be the same split"),
    (
        ["train.00.jsonl", "train.01.parquet"],
        "train.00.jsonl, train.01.parquet may all be",
    ),
    (["train.jsonl", "valid.jsonl", "dev.jsonl"], "dev.jsonl, valid.jsonl may all be"),
    (["a.jsonl", "b.jsonl"], "a.jsonl, b.jsonl may all be the same split"),
    (
        ["data/train_sft.json", "data/train_prefs.json", "data/test_prefs.json"],
        r"2 kinds of training data, train_prefs.json, train_sft.json: .*/data/\*",
    ),
    (["main/train.jsonl", "socratic/train.jsonl"], "several data sets, in main, socr"),
]


@pytest.mark.parametrize(("names", "sentence"), REFUSED)
def test_ambiguous_or_missing_files_are_named(names, sentence, tmp_path):
    fill(tmp_path, *names)
    with pytest.raises(ValueError, match=sentence) as error:
        shards.find_splits(str(tmp_path))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_a_folder_without_a_training_split_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no .jsonl"):
        shards.find_splits(str(tmp_path))
    fill(tmp_path, "test.jsonl", "validation.jsonl")
    with pytest.raises(FileNotFoundError, match="only test.jsonl, validation.jsonl"):
        shards.find_splits(str(tmp_path))


def test_links_of_the_hub_cache_are_files(tmp_path):
    (tmp_path / "blobs/data").mkdir(parents=True)
    (tmp_path / "snapshot").mkdir()
    write(tmp_path / "blobs/data/train.jsonl", rows(1))
    (tmp_path / "snapshot/data").symlink_to(tmp_path / "blobs/data")
    (tmp_path / "snapshot/test.jsonl").symlink_to(tmp_path / "blobs/data/train.jsonl")
    assert split_names(tmp_path / "snapshot") == (
        ["data/train.jsonl"],
        ["test.jsonl"],
        [],
    )


def test_a_pattern_selects_one_kind(tmp_path):
    names = [
        f"data/{split}_{kind}.json" for split in ("train", "test") for kind in "ab"
    ]
    fill(tmp_path, *names)
    splits = shards.find_splits(f"{tmp_path}/data/*_b*")
    assert splits.train == (f"{tmp_path}/data/train_b.json",)
    assert splits.held_out == (f"{tmp_path}/data/test_b.json",)
    source = datasets.load(RunConfig(data=f"{tmp_path}/data/*_b*"))
    train, held_out = source.preferences()
    assert [p.prompt[0]["content"] for p in train + held_out] == ["q1", "q3"]


def test_shards_are_one_split_of_a_source(tmp_path):
    names = [f"data/train_prefs-{i:05}-of-00011.parquet" for i in range(11)]
    fill(tmp_path, *names, "data/test_prefs-00000-of-00001.parquet")
    source = datasets.load(RunConfig(data=str(tmp_path)))
    train, held_out = source.preferences()
    assert [p.prompt[0]["content"] for p in train] == [f"q{i}" for i in range(11)]
    assert [p.prompt[0]["content"] for p in held_out] == ["q11"]
    assert train[10].location.endswith("train_prefs-00010-of-00011.parquet:1")
    assert len(source.texts()) == 2 * 11


def test_unused_files_are_reported(tmp_path):
    fill(tmp_path, "train.jsonl", "test.jsonl", "validation.jsonl")
    source = datasets.load(RunConfig(data=str(tmp_path)))
    source.preferences()
    ((kind, account),) = source.accounts()
    assert account["left_aside"] == ["validation.jsonl"]
    assert "; left aside: validation.jsonl" in datasets.summary(kind, account)


def save_to_disk(folder, *parts):
    """A data set as `datasets` writes it: streams of Arrow, and their order."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{len(parts):05}.arrow" for i in range(len(parts))]
    for name, numbers in zip(names, parts, strict=True):
        write(folder / name, rows(*numbers))
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    (folder / "state.json").write_text(json.dumps(state))
    (folder / "dataset_info.json").write_text("{}")


def test_save_to_disk_folders_are_read(tmp_path):
    save_to_disk(tmp_path / "one", [0, 1], [2])
    (train, _) = datasets.load(
        RunConfig(data=f"{tmp_path}/one", held_out=0.0)
    ).preferences()
    assert [p.prompt[0]["content"] for p in train] == ["q0", "q1", "q2"]
    for split, numbers in (("train", [3]), ("test", [4, 5])):
        save_to_disk(tmp_path / "dict" / split, numbers)
    (tmp_path / "dict/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    train, held_out = datasets.load(RunConfig(data=f"{tmp_path}/dict")).preferences()
    assert [p.prompt[0]["content"] for p in train + held_out] == ["q3", "q4", "q5"]


@pytest.mark.parametrize(
    "state",
    ['{"_data_files": [{"filename": "../x.arrow"}]}', "{}", "[", "[" * 99_999]
    + ['{"_data_files": [{"filename": "data-00001-of-00002.arrow"}]}'],
)
def test_a_state_that_names_other_files_is_refused(state, tmp_path):
    save_to_disk(tmp_path / "one", [0])
    (tmp_path / "one/state.json").write_text(state)
    with pytest.raises(ValueError, match=r"one/state.json (does not name|names)"):
        shards.find_splits(f"{tmp_path}/one")


@pytest.mark.parametrize("name", ["hub_layout", "hub_layout_plain"])
def test_downloads_from_the_hub(name, cases):
    train, held_out = datasets.load(
        RunConfig(data=f"{cases}/data/{name}")
    ).preferences()
    count = lambda which: sum(
        pa.parquet.read_metadata(path).num_rows
        for path in (cases / "data" / name / "data").glob(f"{which}*")
    )
    assert (len(train), len(held_out)) == (count("train"), count("test"))


def test_a_saved_data_set_of_the_cases(cases):
    source = datasets.load(RunConfig(data=f"{cases}/data/save_to_disk", held_out=0.0))
    assert source.demonstrations()[0] or source.prompts()[0]
