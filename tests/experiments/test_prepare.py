"""Prepared data: what each step removes, what is written, what bad input says."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest

from experiments import prepare
from jaxalign.data import readers
from jaxalign.data.records import Demonstration, Preference
from jaxalign.pipeline import datasets, near_duplicates
from jaxalign.runtime.config import RunConfig

needs_datasketch = pytest.mark.skipif(
    importlib.util.find_spec("datasketch") is None,
    reason="datasketch (the extra prepare) is not installed",
)


def pair(prompt, chosen, rejected, **fields):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **fields}


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Prepares rows, without the bootstrap's time; returns numbers and prepare.json."""
    monkeypatch.setattr("jaxalign.evaluation.intervals.RESAMPLES", 20)

    def prepare_rows(rows, **settings):
        data = rows if isinstance(rows, str) else write(tmp_path / "in.jsonl", rows)
        out = settings.pop("out", tmp_path / "out")
        numbers = prepare.main(prepare.Config(data=data, out=out, **settings))
        return numbers, json.loads((out / "prepare.json").read_text())

    return prepare_rows


PAIRS = [
    pair("q 0?", "long answer", "short", category="a", score=3),  # kept
    pair("Q  0?", "LONG answer", "short", category="a", score=4),  # repeats it
    pair("q 1?", "Same ", "same", category="a", score=5),  # identical but for case
    pair("q 2?", "yes", "no way", category="b", score=5),  # another category
    pair("q 3?", "x" * 50, "no", category="a", score=5),  # too long
    pair("q 4?", "ab", "cd", category="a", score=1),  # too low a score
    pair("q 5?", "ab", "cd", category="a", score=2, id="seven"),  # kept
    pair("Bench?", "ab", "cd", category="a", score=2),  # of the benchmark
]
STEPS = {
    "--filter category=a": 1,
    "--filter chars(answer)<=20": 1,
    "--filter score>=2": 1,
    "chosen and rejected are the same": 1,
    "exact duplicate": 1,
    "prompt of --against": 1,
}


def test_each_step_removes_its_rows(run, tmp_path, capsys):
    against = write(tmp_path / "bench.jsonl", [{"prompt": " bench? "}])
    numbers, found = run(
        PAIRS,
        filter=("category=a", "chars(answer)<=20", "score>=2"),
        drop_identical=True,
        dedup=True,
        against=against,
        held_out=0.0,
    )
    assert found["steps"] == STEPS
    assert numbers["rows_read"] == 8 and numbers["rows_removed"] == 6
    out = tmp_path / "out"
    first, last = rows_of(out / "train.jsonl")
    assert first["prompt"] == [{"role": "user", "content": "q 0?"}]
    # other fields of the row are kept as they were
    assert last["id"] == "seven" and last["score"] == 2 and last["category"] == "a"
    assert not (out / "test.jsonl").exists()
    removed = {
        row["row"]["prompt"][0]["content"]: row
        for row in rows_of(out / "removed.jsonl")
    }
    assert removed["Q  0?"]["detail"].endswith("in.jsonl:1")
    assert removed["Q  0?"]["location"].endswith("in.jsonl:2")
    # of eight pairs: chosen longer in 0, 1, 4; rejected in 3; ties of 5, 6 and the
    # benchmark, and "Same " (5 characters, its space too) is longer than "same"
    assert found["read"]["longer_wins"]["mean"] == (4 + 3 * 0.5) / 8
    page = (out / "report.html").read_text()
    assert "Removed: exact duplicate (1 rows)" in page and "data:image/png" in page
    assert "exact duplicate" in capsys.readouterr().out


def test_the_split_is_that_of_training_and_is_read_back(run, tmp_path):
    rows = [pair(f"question {i}?", "yes", "no") for i in range(40)]
    numbers, _ = run(rows, held_out=0.25, held_out_seed=3)
    config = RunConfig(data=str(tmp_path / "in.jsonl"), held_out=0.25, held_out_seed=3)
    expected = datasets.load(config).preferences()
    written = datasets.load(RunConfig(data=str(tmp_path / "out"))).preferences()
    for before, after in zip(expected, written, strict=True):
        assert [r.prompt for r in before] == [r.prompt for r in after]
    assert numbers["train"] + numbers["test"] == 40 and numbers["test"] > 0
    assert numbers["prompts_in_both"] == 0


def test_a_stated_split_stays_and_its_prompts_leave_training(run, tmp_path):
    folder = tmp_path / "stated"
    folder.mkdir()
    write(folder / "train.jsonl", [pair(f"q {i}?", "a", "b") for i in range(5)])
    write(folder / "test.jsonl", [pair("Q 3?", "c", "d"), pair("other?", "c", "d")])
    numbers, found = run(str(folder))
    # the test row with the prompt of training row 3 stays, and that row goes
    assert (numbers["train"], numbers["test"]) == (4, 2)
    assert found["steps"] == {"prompt is held out": 1}
    assert found["rule"] == "as the data sets state it"


def test_parquet_holds_the_same_rows(run, tmp_path):
    call = {
        "id": "c",
        "type": "function",
        "function": {"name": "f", "arguments": {"x": 1}},
    }
    message = {"role": "assistant", "content": "", "tool_calls": [call]}
    rows = [
        {
            "messages": [{"role": "user", "content": "hi"}, message],
            "tools": [
                {"type": "function", "function": {"name": "f", "parameters": {}}}
            ],
            "id": 1,
        },
        {
            "messages": [
                {"role": "user", "content": "hü"},
                {"role": "assistant", "content": "ho"},
            ]
        },
    ]
    records = {}
    for kind in ("jsonl", "parquet"):
        run(rows, held_out=0.0, format=kind, out=tmp_path / kind)
        records[kind], _ = readers.read(
            tmp_path / kind / f"train.{kind}", Demonstration
        )
    without = lambda records: [dataclasses.replace(r, location="") for r in records]
    assert without(records["jsonl"]) == without(records["parquet"])
    assert records["parquet"][0].messages[1]["tool_calls"] == [call]
    assert records["parquet"][0].fields == {"id": 1}


def test_a_column_without_a_type_is_refused(run, tmp_path):
    rows = [pair("a?", "b", "c", info=1), pair("b?", "b", "c", info="one")]
    with pytest.raises(ValueError, match="field 'info' is a number or text.*jsonl"):
        run(rows, held_out=0.0, format="parquet")


def test_files_of_one_kind_are_joined(run, tmp_path):
    one = write(tmp_path / "one.jsonl", [pair("a?", "b", "c")])
    two = write(tmp_path / "two.jsonl", [pair("b?", "b", "c"), pair("A?", "B", "C")])
    _, found = run(f"{one},{two}", dedup=True, held_out=0.0, origin="from")
    assert found["reports"] == {"one.jsonl": "1 of 1 rows", "two.jsonl": "2 of 2 rows"}
    rows = rows_of(tmp_path / "out" / "train.jsonl")
    assert [row["from"] for row in rows] == ["one.jsonl", "two.jsonl"]
    sft = write(tmp_path / "sft.jsonl", [{"prompt": "a", "completion": "b"}])
    with pytest.raises(
        ValueError, match="one.jsonl has pairs, sft.jsonl has sft: name"
    ):
        run(f"{one},{sft}", held_out=0.0, out=tmp_path / "other")


def test_every_kind_is_recognized(run, tmp_path):
    kinds = {
        "rankings": {"prompt": "a?", "answers": ["best", "good", "bad"], "id": 1},
        "unpaired": {"prompt": "a?", "completion": "b", "label": False, "id": 1},
        "prompts": {"prompt": "a?", "reference": "b", "id": 1},
        "sft": {"text": "plain text", "id": 1},
    }
    for kind, row in kinds.items():
        _, found = run([row], held_out=0.0, out=tmp_path / kind)
        assert found["kind"] == kind
        (written,) = rows_of(tmp_path / kind / "train.jsonl")
        assert written["id"] == 1


def test_max_rows_is_a_sample_in_order(run, tmp_path):
    rows = [pair(f"q {i}?", "yes", "no", id=i) for i in range(30)]
    run(rows, max_rows=10, held_out=0.0, seed=1)
    ids = [row["id"] for row in rows_of(tmp_path / "out" / "train.jsonl")]
    assert len(ids) == 10 and ids == sorted(ids) and ids != list(range(10))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"filter": ("categry=a",)}, "no row has 'categry'; did you mean category?"),
        ({"filter": ("chars(chosn)<9",)}, "no row has 'chosn'; did you mean chosen"),
        ({"filter": ("category",)}, "'category' is no condition: expected such as"),
        ({"filter": ("size(x)<9",)}, "'size\\(x\\)' is no length; expected chars"),
        ({"filter": ("score<high",)}, "'high' is no number"),
        ({"filter": ("category~[",)}, "'\\[' is no regular expression"),
        ({"filter": ("category>3",)}, "in.jsonl:1: .* compares numbers, and field"),
        ({"filter": ("tokens(chosen)<3",)}, "name its folder with --model"),
        ({"filter": ("category=c",)}, "nothing is left of the 8 rows: removed were 8"),
        ({"origin": "category"}, "--origin category: .*in.jsonl:1 has that field"),
        ({"kind": "sft", "drop_identical": True}, "--drop-identical is for pairs"),
        ({"max_rows": 1}, "--held-out 0.1 leaves no .* row of 1 rows"),
        ({"against": "nowhere.jsonl"}, "nowhere.jsonl: neither"),
    ],
)
def test_bad_input_is_one_sentence(run, tmp_path, settings, message):
    with pytest.raises((ValueError, OSError), match=message):
        run(PAIRS, **settings)
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_the_missing_library_is_named(run, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "datasketch", None)
    with pytest.raises(ImportError, match="--near-dedup needs datasketch") as raised:
        run(PAIRS, near_dedup=0.8)
    assert raised.value.name == "datasketch"  # which the command says to install


TEXT = "the quick brown fox jumps over the lazy dog and runs away from the old farm"


@needs_datasketch
def test_near_duplicates_are_similar_in_each_answer(run, tmp_path):
    rows = [
        pair(TEXT, f"{TEXT} now", "no never"),
        # the whole rows: 14 shingles of the text, twice, 2 where it begins again and 3
        # at the end make 19; "then" replaces the 2 by 3 others: 17 of 22 are common
        pair(f"{TEXT} then", f"{TEXT} now", "no never"),
        pair(TEXT, "no never", f"{TEXT} now"),  # swapped: no duplicate
        pair(TEXT, f"{TEXT} now", "another answer"),  # another answer to the prompt
    ]
    _, found = run(rows, near_dedup=0.75, held_out=0.0)
    assert found["steps"]["near duplicate"] == 1
    (removed,) = rows_of(tmp_path / "out" / "removed.jsonl")
    assert removed["location"].endswith(":2") and removed["detail"].endswith(
        f":1 (similarity {17 / 22:.2f})"
    )
    assert found["read"]["contradictions"] == 1


@needs_datasketch
def test_near_matches_by_hand():
    # shingles of 3 words: abc bcd cde; of the other abc bcd: 2 of 3
    one, other = "a b c d e", "a b c d"
    assert near_duplicates.near_matches([one], [other], threshold=0.6) == [
        (0, pytest.approx(2 / 3))
    ]
    assert near_duplicates.near_matches([one], [other], threshold=0.7) == [None]


# "longer wins" of the whole files by their last turns, ties half; see the data's README
HH = {
    "harmless-base": 0.4449,
    "helpful-base": 0.5992,
    "helpful-online": 0.4288,
    "helpful-rejection-sampled": 0.5675,
}


@pytest.mark.parametrize("name", HH)
def test_longer_wins_on_hh(public_data, name, monkeypatch):
    from jaxalign.evaluation import data_statistics
    from jaxalign.pipeline import data_summary

    monkeypatch.setattr("jaxalign.evaluation.intervals.RESAMPLES", 200)
    path = public_data / "hh-rlhf" / name / "test.jsonl.gz"
    rows = [row for _, row in readers.files.read_rows(path)]
    last = lambda text: len(text.rpartition("\n\nAssistant:")[2].strip())
    lengths = np.array([[last(r["chosen"]), last(r["rejected"])] for r in rows])
    share = data_statistics.longer_wins_share(*lengths.T, units="each")
    assert round(share.mean, 4) == HH[name]
    # without the rows that no run trains on, and with joined turns: 4 to 40 of 1,130
    # to 2,750 rows, half of which can change the share by 0.0035
    records, _ = readers.read(path, Preference)
    usable = data_summary.longer_wins(records)
    assert abs(usable.mean - HH[name]) < 0.0035
    assert usable.low < HH[name] < usable.high


def test_training_rows_that_are_all_held_out_prompts_are_refused(run, tmp_path):
    """Not an empty training file: the data set's own test file has every prompt."""
    for name in ("train", "test"):
        write(tmp_path / f"{name}.jsonl", [pair("q?", f"of {name}", "no")] * 3)
    with pytest.raises(ValueError, match="no training row is left: all 3 have the pro"):
        run(str(tmp_path))
