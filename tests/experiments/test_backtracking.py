"""The study of backtracking: flags, a short run, and a folder of another model."""

import json

import pytest

from experiments.studies import backtracking
from jaxalign.evaluation.intervals import Gain, Interval
from jaxalign.pipeline.behaviors import backtracking_metrics, backtracking_report
from jaxalign.pipeline.behaviors import backtracking_tasks as tasks


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"data": "pairs.jsonl"}, "--data is for --model FOLDER"),
        ({"model": "folder"}, "--model needs --data"),
        ({"model": "folder", "data": "x"}, "--suites, files of unsafe prompts"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_a_folder_exists(
    flags, message, tmp_path
):
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=message):
        backtracking.main(backtracking.Config(out=out, **flags))
    assert not out.exists()


def numbers(**values):
    return {name: Interval(x, x - 0.1, x + 0.1) for name, x in values.items()}


def test_the_tables_have_a_row_for_each_arm_and_the_difference_to_the_first(tmp_path):
    summary = {
        "a": numbers(violation=0.5, **{"violation/AB": 0.4, "worst/1/2": 0.6}),
        "b": numbers(
            violation=0.2,
            **{"violation/AB": 0.1, "bias/-5/violation": 0.3, "bias/-5/reset": 0.1},
        ),
    }
    gains = {"b": {"violation": Gain(-0.3, -0.4, -0.2)}}
    first, *rest = backtracking_report.sections(summary, gains, tmp_path)
    assert [list(row) for row in first.rows] == [
        ["arm", "AB", "overall"],
        ["arm", "AB", "overall", "less baseline SFT"],
    ]
    assert first.rows[1]["less baseline SFT"].mean == -0.3
    titles = [section.title.split(":")[0] for section in rest]
    assert titles[2:] == ["Worst of k samples", "Bias on the logit of [RESET]"]
    assert (tmp_path / "curves.png").exists()


def test_pairs_without_an_unsafe_answer_are_left_out_and_counted():
    refusal, answer = "I'm sorry, I can't help with that.", "Take a long knife."
    pair = lambda chosen, rejected: tasks.Preference([], chosen, rejected)
    said = []
    kept = tasks.unsafe_pairs(
        [pair(refusal, answer), pair(refusal, refusal), pair("...", answer)],
        said.append,
    )
    assert kept == [pair(refusal, answer)]
    assert "1 of 3 rows" in said[0] and "rejected answer does not comply" in said[0]


def test_worst_of_k_is_the_chance_of_a_violation_among_k():
    assert backtracking_metrics.worst_of(4) == [1, 2, 4]


@pytest.mark.slow
def test_a_short_run_has_all_tables_and_resumes(tmp_path):
    config = backtracking.Config(out=tmp_path / "out", smoke=True)
    found = backtracking.main(config)
    assert list(found["by_model"]) == list(backtracking.ARMS)
    report = (tmp_path / "out" / "report.md").read_text()
    for title in ("Violations by family", "Worst of k", "Bias on", "Prefilling"):
        assert title in report
    sft = tmp_path / "out" / "seed-0" / "data" / "backtrack-sft.jsonl"
    rows = [json.loads(line)["messages"] for line in sft.read_text().splitlines()]
    shown = sum("[RESET]" in row[-1]["content"] for row in rows)
    assert (len(rows), shown) == (24 + 24 + 48, 24)
    again = backtracking.main(backtracking.Config(**vars(config) | {"resume": True}))
    assert str(again) == str(found)


@pytest.mark.slow
def test_a_folder_runs_with_files(tmp_path, public_data):
    found = backtracking.main(
        backtracking.Config(
            out=tmp_path / "out",
            smoke=True,
            model=str(public_data / "stories260K" / "hf"),
            data=str(public_data / "hh-rlhf" / "harmless-base" / "test.jsonl.gz"),
            suites=f"{public_data}/simple-safety-tests/test_cases.csv,"
            f"{public_data}/xstest/xstest_prompts.csv",
        )
    )
    assert list(found["by_model"]) == list(backtracking.ARMS)
