"""Readers: files and TFDS sources as records, with their locations and reports."""

import gzip
import json

import numpy as np
import pytest

from jaxalign.data import readers
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    RowReport,
    Unpaired,
)


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


PROMPT = [user("q")]


def test_a_file_without_rows_is_refused(tmp_path, jsonl):
    with pytest.raises(ValueError, match="holds no usable Prompt rows: 0 of 0 rows"):
        readers.read(jsonl(tmp_path / "rows.jsonl"), Prompt)
    path = jsonl(tmp_path / "bad.jsonl", "{", "]")
    first = r"0 of 2 rows \(2 malformed\); .*bad.jsonl:1: is not JSON"
    with pytest.raises(ValueError, match=first):
        readers.read(path, Prompt, skip_bad_rows=True)


def test_missing_and_unsupported_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file: .*nowhere.jsonl"):
        readers.read(tmp_path / "nowhere.jsonl", Prompt)
    with pytest.raises(FileNotFoundError, match="holds no .jsonl"):
        readers.read(tmp_path, Prompt)
    (tmp_path / "rows.txt").write_text("prompt\n")
    with pytest.raises(
        ValueError, match="rows.txt has the ending '.txt'; expected .jsonl"
    ):
        readers.read(tmp_path / "rows.txt", Prompt)


def test_text_that_is_not_utf8_is_a_malformed_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"prompt": "q"}\r\n{"prompt": "\xff"}\n')
    with pytest.raises(ValueError, match="rows.jsonl:2: is not JSON .*UTF-8"):
        readers.read(path, Prompt)
    records, _ = readers.read(path, Prompt, skip_bad_rows=True)
    assert [r.messages for r in records] == [PROMPT]


def test_a_folder_is_read_in_order_of_names(tmp_path, jsonl):
    jsonl(tmp_path / "b.jsonl", {"prompt": "2"})
    with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
        file.write('{"prompt": "1"}\n')
    (tmp_path / "c.json").write_text('[{"prompt": "3"}]')
    (tmp_path / "notes.txt").write_text("not read")
    records, report = readers.read(tmp_path, Prompt)
    assert [r.messages[0]["content"] for r in records] == ["1", "2", "3"]
    assert report == RowReport(3, 3)


def test_a_truncated_gzip_file_is_named(tmp_path):
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(b'{"prompt": "q"}\n' * 99)[:-12])
    with pytest.raises(
        ValueError, match=r"rows.jsonl.gz:\d+: is not a complete gzip file"
    ):
        readers.read(path, Prompt)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_json_array_has_lines_too(tmp_path, indent):
    rows = [{"prompt": "a\nb, ] [", "k": [1, {}]}, {"prompt": "2"}, {"prompt": 3}]
    path = tmp_path / "rows.json"
    path.write_text("\n" + json.dumps(rows, indent=indent) + "\n")
    lines = path.read_text().split("\n")
    first = [i for i, line in enumerate(lines, 1) if line.startswith("  {")]
    lines_wanted = first if indent else [2, 2, 2]
    records, report = readers.read(path, Prompt, skip_bad_rows=True)
    assert [r.location for r in records] == [f"{path}:{n}" for n in lines_wanted[:2]]
    assert report.total == 3
    with pytest.raises(
        ValueError, match=f"rows.json:{lines_wanted[2]}: field 'prompt'"
    ):
        readers.read(path, Prompt)


@pytest.mark.parametrize("text", ["[", "[{}", '[{"prompt": "q"} 1]', "[1,]", "[1] 2"])
def test_a_broken_json_array_is_named(text, tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"rows.json:1: is not JSON \("):
        readers.read(path, Prompt, skip_bad_rows=True)


def test_rows_of_tensorflow_datasets():
    rows = [
        {
            "prompt": b"q",
            "chosen": b"a",
            "rejected": np.bytes_(b"b"),
            "margin": np.float32(1),
        },
        {
            "prompt": b"\xc3\xa9",
            "chosen": b"a",
            "rejected": b"b",
            "margin": np.float32(0),
        },
    ]
    records, _ = readers.from_tfds(rows, Preference, name="toy/train")
    assert records[0] == Preference(PROMPT, "a", "b", 1.0, "toy/train:0")
    assert records[1].prompt == [user("é")]
    columns = {
        "role": np.array([b"user", b"assistant"], object),
        "content": np.array([b"q", b"a"], object),
    }
    records, _ = readers.from_tfds([{"messages": columns}], Demonstration)
    assert records[0].messages == [user("q"), assistant("a")]
    with pytest.raises(ValueError, match="toy:0: field 'chosen'"):
        readers.from_tfds([{"prompt": b"q"}], Preference, name="toy")


def test_reports_add_up(tmp_path, jsonl):
    path = jsonl(tmp_path / "rows.jsonl", {"prompt": "q"}, "{")
    _, report = readers.read(path, Prompt, skip_bad_rows=True)
    assert str(report + report) == "2 of 4 rows (2 malformed)"


PUBLIC = [
    # the counts are those of the files' own NOTICE and README
    ("rasbt-instructions/instruction-data.json", Demonstration, 1100),
    ("rasbt-instructions/instruction-data-with-preference.json", Preference, 1100),
    ("dolly/dolly_train.json", Demonstration, 2000),
    ("gsm8k/test.jsonl", Demonstration, 1319),
    ("llama-factory-demo/alpaca_en_demo.json", Demonstration, 999),
    ("llama-factory-demo/identity.json", Demonstration, 91),
    ("llama-factory-demo/v1_sft_demo.jsonl", Demonstration, 500),
    ("llama-factory-demo/dpo_en_demo.json", Preference, 300),
    ("llama-factory-demo/v1_dpo_demo.jsonl", Preference, 10),
    ("llama-factory-demo/kto_en_demo.json", Unpaired, 300),
]


@pytest.mark.parametrize(("name", "kind", "count"), PUBLIC)
def test_public_files(public_data, name, kind, count):
    records, report = readers.read(public_data / name, kind)
    assert len(records) == report.total == report.usable == count
    path, _, line = records[-1].location.rpartition(":")
    with open(path, encoding="utf-8") as file:
        lines = file.read().split("\n")
    assert lines[int(line) - 1].lstrip().startswith("{")
    if kind is Unpaired:
        assert sum(r.desirable for r in records) == 150


def test_public_rankings(public_data):
    path = public_data / "oasst-trees" / "en_100_tree.jsonl"
    rankings, report = readers.read(path, Ranking)
    assert report == RowReport(100, 100)

    def ranked_sets(node):
        replies = node["replies"]
        ranks = [r["rank"] for r in replies if r.get("rank") is not None]
        own = node["role"] == "prompter" and len(ranks) > 1
        return own + sum(map(ranked_sets, replies))

    lines = path.read_text("utf-8").splitlines()
    trees = [json.loads(line)["prompt"] for line in lines]
    assert len(rankings) == sum(map(ranked_sets, trees))
    # the best reply to the first question has rank 0
    best = [r["text"] for r in trees[0]["replies"] if r["rank"] == 0]
    assert list(rankings[0].answers[:1]) == best
    assert any(len(r.prompt) == 3 for r in rankings)
    assert all(r.prompt[-1]["role"] == "user" for r in rankings)


def test_trees_without_a_ranking_are_counted(tmp_path, jsonl):
    def tree(*ranks):
        replies = [{"text": f"a{r}", "role": "assistant", "rank": r} for r in ranks]
        return {"prompt": {"text": "q", "role": "prompter", "replies": replies}}

    path = jsonl(tmp_path / "trees.jsonl", tree(1, 0), tree(0), tree())
    rankings, report = readers.read(path, Ranking)
    assert rankings == [Ranking(PROMPT, ("a0", "a1"), f"{path}:1")]
    assert str(report) == "1 of 3 rows (2 without a ranking)"


def test_tool_calls_are_not_text(public_data):
    path = public_data / "llama-factory-demo" / "glaive_toolcall_en_demo.json"
    records, report = readers.read(path, Demonstration)
    assert report == RowReport(300, 300)
    rows = json.loads(path.read_text("utf-8"))
    for record, row in zip(records, rows, strict=True):
        assert [tool["function"] for tool in record.tools] == json.loads(row["tools"])
        for message, turn in zip(record.messages, row["conversations"], strict=True):
            if turn["from"] == "function_call":
                (call,) = message["tool_calls"]
                assert call == {
                    "type": "function",
                    "function": json.loads(turn["value"]),
                }
                assert message["role"] == "assistant" and message["content"] == ""
            else:
                roles = {"human": "user", "gpt": "assistant", "observation": "tool"}
                assert message == {
                    "role": roles[turn["from"]],
                    "content": turn["value"],
                }
