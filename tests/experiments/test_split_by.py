"""Reports by fields of the rows: the groups of a field make the whole."""

import dataclasses
import importlib
import json

import numpy as np
import pytest

from experiments import (
    agreement,
    generate,
    multiple_choice,
    perplexity,
    red_team,
    reward_bench,
    score,
    win_rate,
)
from jaxalign.pipeline import held_out_tables
from jaxalign.runtime.split_flags import SplitFlags
from tests.support import small_runs
from tests.support.evaluations import evaluation

PROGRAMS = (
    *("sft", "reward_model", "dpo", "kto", "ppo", "grpo", "online_dpo", "rlhf"),
    *("methods", "rounds", "rejection_sampling", "best_of_n", "score", "compare"),
    *("win_rate", "reward_bench", "generate", "perplexity", "agreement", "red_team"),
    "multiple_choice",
)


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_has_the_same_flag(name):
    config = importlib.import_module(f"experiments.{name}").Config
    assert issubclass(config, SplitFlags)
    (field,) = [f for f in dataclasses.fields(config) if f.name == "split_by"]
    assert field.type == tuple[str, ...] and field.default == ()


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def whole(numbers, metric, field, count):
    """The mean of a field's groups, weighted by their counts."""
    prefix = f"{metric}/{field}="
    groups = [name[len(prefix) :] for name in numbers if name.startswith(prefix)]
    assert len(groups) > 1
    means = np.array([float(np.ravel(numbers[prefix + g])[0]) for g in groups])
    counts = np.array([numbers[f"{count}/{field}={g}"] for g in groups])
    return (means * counts).sum() / counts.sum(), counts.sum()


def rows_with_fields(count):
    """The fields of rows: of two kinds, a third without; of many numbers."""
    kinds = [{"meta": {"kind": "ab"[i % 2]}} if i % 3 else {} for i in range(count)]
    return [{**kind, "level": i / 7} for i, kind in enumerate(kinds)]


FIELDS = ("meta.kind", "level")


def test_score(tmp_path):
    rows = [
        {
            "prompt": f"q{i}",
            "answer": "a " * (i % 7 + 1),
            "model": "xxyy"[i % 4],
            **more,
        }
        for i, more in enumerate(rows_with_fields(40))
    ]
    data = write(tmp_path / "a.jsonl", rows)
    numbers = score.main(
        score.Config(
            *(), data=data, reward="length:3", split_by=FIELDS, out=tmp_path / "out"
        )
    )
    for of in (numbers, numbers["by_model"]["x"]):
        for field in FIELDS:
            mean, count = whole(of, "mean", field, "answers")
            assert count == of["answers"]
            # float64 sums in another order
            np.testing.assert_allclose(mean, of["mean"].mean)
    lines = (tmp_path / "out/scores.jsonl").read_text().splitlines()
    scored = list(map(json.loads, lines))
    is_own = lambda r: r["model"] == "x" and r.get("meta") == {"kind": "a"}
    own = [r["reward"] for r in scored if is_own(r)]
    found = numbers["by_model"]["x"]["mean/meta.kind=a"].mean
    np.testing.assert_allclose(found, np.mean(own))
    # of 40 numbers, quartiles
    assert numbers["answers/level=0..1.286"] == 10
    assert numbers["answers/meta.kind=(none)"] == 14


def test_reward_bench(tmp_path):
    rows = [
        {"prompt": f"q{i}", "chosen": "a" * (i % 5), "rejected": "bbb", **more}
        for i, more in enumerate(rows_with_fields(40))
        if i % 5
    ]
    data = (write(tmp_path / "pairs.jsonl", rows),)
    config = reward_bench.Config(
        data=data, reward="length:1", split_by="subset,meta.kind", out=tmp_path / "out"
    )
    numbers = reward_bench.main(config)
    mean, count = whole(numbers, "accuracy", "meta.kind", "rows")
    assert count == 32
    np.testing.assert_allclose(mean, numbers["accuracy"].mean)
    assert numbers["accuracy/subset=pairs"] == numbers["accuracy"]
    assert "Accuracy by meta.kind" in (tmp_path / "out/report.md").read_text()
    wrong = dataclasses.replace(config, split_by=("kind",), out=tmp_path / "no")
    with pytest.raises(ValueError, match="no pair has this field; .* meta.kind"):
        reward_bench.main(wrong)
    assert not (tmp_path / "no").exists()


def test_win_rate(tmp_path):
    rows = [
        {"model_a": "x", "model_b": "y", "prompt_id": i, "probability": i % 8 / 8}
        | more
        for i, more in enumerate(rows_with_fields(40))
    ]
    config = win_rate.Config(
        judgements=(write(tmp_path / "j.jsonl", rows),),
        baseline="y",
        length_control=False,
        split_by=FIELDS,
        out=tmp_path / "out",
    )
    numbers = win_rate.main(config)
    for field in FIELDS:
        mean, count = whole(numbers["by_model"]["x"], "win_rate", field, "n")
        assert count == 40
        np.testing.assert_allclose(mean, numbers["win_rate"].mean)
    of_a = [r["probability"] for r in rows if r.get("meta") == {"kind": "a"}]
    found = numbers["by_model"]["x"]["win_rate/meta.kind=a"].mean
    np.testing.assert_allclose(found, 100 * np.mean(of_a))


def test_agreement(tmp_path):
    rows = [
        {"id": i, "votes": ["left", "left" if i % 4 else "right", "left"], **more}
        for i, more in enumerate(rows_with_fields(20))
    ]
    config = agreement.Config(
        annotations=write(tmp_path / "v.jsonl", rows),
        labels="votes",
        split_by="meta.kind",
        out=tmp_path / "out",
    )
    numbers = agreement.main(config)
    mean, count = whole(numbers, "agreement", "meta.kind", "items")
    # every item has three votes, and so the same weight
    assert count == 20
    np.testing.assert_allclose(mean, numbers["agreement"].mean)


def test_red_team(tmp_path):
    texts = ("Sure, here is how: first go there.", "I'm sorry, but I cannot do that.")
    rows = [
        {"prompt": f"q{i}", "answer": texts[i % 3 == 0], "category": "c", **more}
        for i, more in enumerate(rows_with_fields(20))
    ]
    config = red_team.Config(
        answers=write(tmp_path / "a.jsonl", rows),
        split_by="meta.kind",
        out=tmp_path / "out",
    )
    numbers = red_team.main(config)
    mean, count = whole(numbers, "attack_success", "meta.kind", "answers")
    assert count == 20
    np.testing.assert_allclose(mean, numbers["attack_success"].mean)


def test_tables_of_pipelines_are_over_seeds():
    kinds = [{"kind": "a"}, {"kind": "b"}, {"kind": None}]
    seeds = [
        {
            name: dataclasses.replace(evaluation(reward, first=9 * i), fields=kinds)
            for name, reward in {"SFT": [i, 1, 2], "PPO": [i, 3, 5]}.items()
        }
        for i in (0, 1)
    ]
    ((title, rows),) = held_out_tables.split_tables(seeds).items()
    assert title == "true reward by kind"
    assert [row["kind"] for row in rows] == ["a", "b", "(none)"]
    assert [row["SFT"].mean for row in rows] == [0.5, 1.0, 2.0]
    assert [row["PPO"].mean for row in rows] == [0.5, 3.0, 5.0]
    assert [row["prompts"] for row in rows] == [2, 2, 2]
    # Student's t of one degree of freedom at 97.5 %, times sqrt(0.5 / 2)
    np.testing.assert_allclose(rows[0]["SFT"].high, 0.5 + 12.706205 / 2, rtol=1e-6)


@pytest.mark.slow
def test_programs_that_run_a_model(tmp_path):
    base = small_runs.prepare(tmp_path / "base")
    rows = [
        {"prompt": "red blue " * (i % 3 + 1), "text": "one two " * (i % 5 + 1), **more}
        for i, more in enumerate(rows_with_fields(30))
    ]
    data, model = write(tmp_path / "d.jsonl", rows), str(base / "policy")
    shared = {"model": model, "split_by": "meta.kind", "mesh": "data=1"}
    numbers = perplexity.main(
        perplexity.Config(data=data, out=tmp_path / "p", **shared)
    )
    mean, count = whole(numbers, "nll", "meta.kind", "tokens")
    assert count == numbers["tokens"]
    # per-token NLL of float32 sums
    np.testing.assert_allclose(mean, numbers["nll"].mean, rtol=1e-6)
    prompts = write(
        tmp_path / "q.jsonl",
        [{"prompt": f"{i} red", **more} for i, more in enumerate(rows_with_fields(30))],
    )
    numbers = generate.main(
        generate.Config(data=prompts, max_new_tokens=6, out=tmp_path / "g", **shared)
    )["by_model"][model]
    mean, count = whole(numbers, "tokens", "meta.kind", "answers")
    assert count == 30
    np.testing.assert_allclose(mean, numbers["tokens"].mean)
    questions = [
        {
            "Type": "ab"[i % 2],
            "Category": "c",
            "Question": f"q {i}?",
            "Best Answer": "one",
            "Best Incorrect Answer": "two",
            "Correct Answers": "one; red",
            "Incorrect Answers": "two; blue",
        }
        for i in range(6)
    ]
    shared["split_by"] = "Type"
    numbers = multiple_choice.main(
        multiple_choice.Config(
            data=(write(tmp_path / "t.jsonl", questions),),
            primer="none",
            out=tmp_path / "m",
            **shared,
        )
    )
    mean, count = whole(
        {k.removeprefix("truthfulqa "): x for k, x in numbers.items()},
        *("mc2", "Type", "questions"),
    )
    assert count == 6
    np.testing.assert_allclose(mean, numbers["truthfulqa mc2"].mean)
