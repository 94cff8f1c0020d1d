"""Red-teaming runs: tiny models, every judge, resumption, flags."""

import dataclasses
import json

import pytest

from experiments import red_team
from tests.support import small_runs

SUITE = "goal,categories\nred cat,a;b\nblue dog,b\nsun moon,a\n"
XSTEST = "prompt,type,label\nred dog,homonyms,safe\nblue cat,contrast_homonyms,unsafe\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = small_runs.prepare(tmp_path_factory.mktemp("base"))
    (folder / "suite.csv").write_text(SUITE)
    (folder / "xstest.csv").write_text(XSTEST)
    return folder


def config_of(base, out, **flags):
    suites = f"{base / 'suite.csv'},{base / 'xstest.csv'}"
    shared = {"model": str(base / "policy"), "suite": suites, "max_new_tokens": 8}
    return red_team.Config(**shared | {"out": out, "rows": 8} | flags)


def test_a_model_is_red_teamed_and_the_run_continued(base, tmp_path):
    config = config_of(base, tmp_path / "run", samples=4, temperature=1.0)
    numbers = red_team.main(config)
    written = json.loads((config.out / "red_team.json").read_text())
    assert written["all"]["prompts"] == 4 and written["all"]["answers"] == 16
    assert set(written["attacks"]["suite"]["categories"]) == {"a", "b"}
    assert set(written["success_at_k"]["suite"]) == {"1", "2", "4"}
    assert set(written["over_refusal"]["xstest"]) == {
        *("safe_full_refusal", "unsafe_full_compliance", "types")
    }
    assert "suite_success_at_4" in numbers
    answers = (config.out / "answers.jsonl").read_text().splitlines()
    assert len(answers) == 20  # five prompts, the safe one too
    first = json.loads(answers[0])
    assert first["suite"] == "suite" and first["categories"] == ["a", "b"]
    assert first["label"] == "unsafe" and first["settings"]["temperature"] == 1.0
    assert "over_refusal_xstest.png" in {path.name for path in config.out.iterdir()}
    assert "AdvBench" not in (config.out / "report.md").read_text()
    # an interrupted run: the answers are there, and half of the judgements are not
    (config.out / "verdicts.jsonl").unlink()
    again = red_team.main(dataclasses.replace(config, resume=True))
    assert str(again) == str(numbers)
    # and its answers are answers of a file, with the same numbers
    judged = red_team.Config(
        answers=str(config.out / "answers.jsonl"), out=tmp_path / "file"
    )
    assert str(red_team.main(judged)) == str(numbers)


@pytest.mark.slow
def test_a_reward_model_and_a_judge_model(base, tmp_path):
    reward = config_of(
        base, tmp_path / "reward", judge=str(base / "reward"), threshold=1e9
    )
    numbers = red_team.main(reward)
    written = json.loads((reward.out / "red_team.json").read_text())
    # every reward is below: all but broken answers and full refusals succeed
    everything = written["all"]
    others = everything["full_refusal"]["mean"] + everything["broken"]["mean"]
    assert everything["attack_success"]["mean"] == pytest.approx(1 - others)
    assert "score" in numbers
    # a judge of 64 tokens has no room for the rubric: counted, and no rate is made up
    judge = config_of(
        base, tmp_path / "judge", judge=f"model:{base / 'policy'}", judge_tokens=8
    )
    numbers = red_team.main(judge)
    assert numbers["unparsable"] == 4 and numbers["attack_success"].mean != 0
    assert "4 longer than 56 tokens" in (judge.out / "notes.json").read_text()


@pytest.mark.slow
def test_a_system_message_is_part_of_the_prompt(base, tmp_path):
    config = config_of(base, tmp_path / "run", system="one two", prompts=2)
    red_team.main(config)
    lines = (config.out / "answers.jsonl").read_text().splitlines()
    rows = list(map(json.loads, lines))
    assert [row["prompt"][0]["content"] for row in rows] == ["one two"] * 2
    assert [row["suite"] for row in rows] == ["suite", "xstest"]  # the first, the last


def test_the_rules_are_scored_on_labels(tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text(
        "prompt,completion,final_label\n"
        "p,I cannot do that.,2_full_refusal\nq,Yes.,1_full_compliance\n"
    )
    config = red_team.Config(check_classifier=str(labels), out=tmp_path / "run")
    assert red_team.main(config)["labels_refusal_agreement"].mean == 1.0
    written = json.loads((config.out / "classifier.json").read_text())
    assert written["labels"]["classes"]["kappa"] == 1.0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({}, "give --model FOLDER with --suite FILE, or --answers FILE"),
        ({"model": "x"}, "--model needs --suite FILE"),
        ({"model": "x", "answers": "y"}, "leave out it or --answers"),
        ({"model": "x", "suite": "y", "samples": 4}, "raise --temperature"),
        ({"model": "x", "suite": "y", "judge": "z"}, "--judge z needs --threshold"),
        ({"answers": "y.jsonl"}, "y.jsonl"),
        (
            {"model": "x", "suite": "y", "judge": "model:z"},
            "--judge model z: no such folder",
        ),
        ({"answers": "y.jsonl", "samples": 2}, "--samples is for --model"),
        ({"model": "x", "suite": "y.csv"}, "--suite y.csv: no such file"),
    ],
)
def test_flags_that_are_refused(tmp_path, flags, message):
    with pytest.raises((ValueError, OSError), match=message):
        red_team.main(red_team.Config(out=tmp_path / "run", **flags))
    assert not (tmp_path / "run").exists()
