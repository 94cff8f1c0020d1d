"""`compare` as a user runs it: models and files, judges and rewards, resuming."""

import dataclasses
import json

import pytest

from experiments import compare
from jaxalign.pipeline import model_folders
from jaxalign.pipeline.comparisons import judged_pairs
from tests.support import tiny_judge, untrained

FEW = {"mesh": "data=1", "prompts": 6, "max_new_tokens": 4, "rows": 4}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A policy, a judge and a reward model, all small and untrained."""
    base = tmp_path_factory.mktemp("models")
    untrained.save(base / "policy")
    untrained.save_reward(base / "reward")
    model_folders.save(base / "judge", tiny_judge.make_judge())
    return base


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def answers(path, *texts, **fields):
    rows = [{"prompt": f"q{i}", "answer": t, **fields} for i, t in enumerate(texts)]
    return write(path, *rows)


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_a_policy_against_itself_wins_exactly_half(folders, tmp_path):
    policy = folders / "policy"
    config = compare.Config(
        policies=(f"a={policy}", f"b={policy}"),
        data="toy",
        judge=str(folders / "judge"),
        out=tmp_path / "out",
        **FEW,
    )
    numbers = compare.main(config)
    assert (
        numbers["by_model"]["b"]["win_rate"] == (0.5, 0.5, 0.5)
        and numbers["pairs"] == 6
    )
    assert "consistency" not in numbers  # nothing was asked
    rows = read(tmp_path / "out/judgements.jsonl")
    assert {row["winner"] for row in rows} == {"tie"}
    assert len(read(tmp_path / "out/answers.jsonl")) == 12
    for name in ("comparison.json", "win_rates.png", "report.html", "report.md"):
        assert (tmp_path / "out" / name).exists()


def test_a_policy_a_file_and_a_judge_resumed(folders, tmp_path, monkeypatch):
    """Interrupted while judging, the rest is judged, and the numbers are the same."""
    data = answers(tmp_path / "given.jsonl", *"abcdefgh")
    config = compare.Config(
        policies=(data, f"b={folders / 'policy'}"),
        data=data,
        judge=str(folders / "judge"),
        out=tmp_path / "whole",
        **FEW | {"rows": 1, "prompts": 8},
    )
    numbers = compare.main(config)
    assert numbers["pairs"] == 8 and 0 <= numbers["consistency"].mean <= 1
    rows = read(tmp_path / "whole/judgements.jsonl")
    assert {(row["model_a"], row["model_b"]) for row in rows} == {("given", "b")}
    assert [row["answer_a"] for row in rows] == list("abcdefgh")

    judge, calls = judged_pairs.judge_preferences, []

    def stop_at_the_second(*args, **settings):
        calls.append(len(args[1]))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return judge(*args, **settings)

    part = dataclasses.replace(config, out=tmp_path / "part")
    monkeypatch.setattr(judged_pairs, "judge_preferences", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        compare.main(part)
    assert calls == [4, 4]  # chunks of 4 pairs
    assert compare.main(dataclasses.replace(part, resume=True)) == numbers
    assert calls == [4, 4, 4]
    assert read(tmp_path / "part/judgements.jsonl") == rows
    with pytest.raises(ValueError, match="already holds a report: add --resume"):
        compare.main(part)


def test_files_by_a_reward_and_by_field(tmp_path):
    """The reward of 2 words: x is right on q0 and q1, y on q2; both on q3."""
    x = answers(tmp_path / "x.jsonl", "one two", "one two", "one", "one two", kind="k")
    y = answers(tmp_path / "y.jsonl", "one", "one two three four", "so so", "no no")
    config = compare.Config(
        policies=(y, x),
        reward="length:2",
        split_by=("kind",),
        out=tmp_path / "out",
        mesh="data=1",
    )
    with pytest.raises(ValueError, match="--split-by kind: no prompt has this field"):
        compare.main(
            dataclasses.replace(config, policies=(y, f"again={y}"), out=tmp_path / "no")
        )
    numbers = compare.main(dataclasses.replace(config, policies=(x, y)))
    # y wins 1 of 4, and ties on one: (1 + 1/2) / 4
    assert numbers["by_model"]["y"]["win_rate"].mean == 0.375
    report = json.loads((tmp_path / "out/comparison.json").read_text())
    assert report["matrix"] == [[None, 0.625], [0.375, None]]
    (row,) = report["groups"]["kind"]
    assert row["kind"] == "k" and row["y"]["mean"] == 0.375
    assert numbers["by_model"]["y"]["win_rate/kind=k"].mean == 0.375
    assert numbers["by_model"]["y"]["pairs/kind=k"] == 4
    (first, *_) = read(tmp_path / "out/judgements.jsonl")
    assert first["winner"] == "model_a" and first["category"] == "k"
    assert first["probability"] == 1.0 and first["judge"] == "length:2"
    assert "q0" in (tmp_path / "out/report.md").read_text()


def test_conversations_too_long_for_the_judge_are_counted(folders, tmp_path):
    long = "z" * 600  # the judge's context is 512 tokens, about one a character here
    x = answers(tmp_path / "x.jsonl", "a", long, "c")
    y = answers(tmp_path / "y.jsonl", "b", "b", "b")
    config = compare.Config(
        policies=(x, y),
        judge=str(folders / "judge"),
        out=tmp_path / "out",
        mesh="data=1",
    )
    numbers = compare.main(config)
    assert (numbers["pairs"], numbers["too_long"]) == (2, 1)
    (named,) = json.loads((tmp_path / "out/too_long.json").read_text())
    assert "x.jsonl:2 (" in named and named.endswith("): x and y")
    (note,) = json.loads((tmp_path / "out/notes.json").read_text())
    assert note.startswith("1 of 3 pairs do not fit the context of")


@pytest.mark.parametrize(
    "flags, error",
    [
        ({}, "needs --judge or --reward, one of them; neither is there"),
        ({"judge": "{judge}", "reward": "length:3"}, "one of them; both are there"),
        ({"reward": "length:3", "thoughts": 4}, "--thoughts are of a --judge"),
        ({"judge": "{reward}"}, "--judge .*reward is a reward model"),
        ({"judge": "{judge}", "data": ""}, "is a model, which needs prompts: add"),
        ({"judge": "{judge}", "data": "{empty}"}, "holds no usable Prompt rows"),
        ({"judge": "{judge}", "policies": ("{policy}",)}, "names one model"),
        ({"judge": "{judge}", "policies": ("{policy}",) * 2}, "2 models are called"),
        ({"judge": "{judge}", "principles": "{empty}"}, "holds no principles"),
        (
            {"judge": "{judge}", "split_by": ("topic",)},
            "--split-by topic: no prompt has this",
        ),
    ],
)
def test_unusable_flags_end_before_a_model_answers(
    flags, error, folders, tmp_path, monkeypatch
):
    monkeypatch.setattr(compare, "load_policy", None)
    names = {n: str(folders / n) for n in ("policy", "judge", "reward")}
    names["empty"] = write(tmp_path / "empty.jsonl")
    two = ("a={policy}", "b={policy}")
    settings = {"policies": two, "data": "toy", "out": tmp_path / "out", **FEW} | flags
    for name, value in settings.items():
        if isinstance(value, str):
            settings[name] = value.format(**names)
        if isinstance(value, tuple):
            settings[name] = tuple(word.format(**names) for word in value)
    with pytest.raises(ValueError, match=error):
        compare.main(compare.Config(**settings))
    assert not (tmp_path / "out").exists()  # nothing is left behind
