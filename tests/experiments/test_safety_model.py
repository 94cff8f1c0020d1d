"""The safety recipe on a folder and files: its flags, and a short run."""

import pytest

from experiments import sft
from experiments.studies import safety_model
from jaxalign.data import toy_world
from jaxalign.data.records import Prompt
from jaxalign.pipeline.red_team.suites import SuitePrompt
from jaxalign.pipeline.safety_study import toy_files

LABELS = {True: "unsafe", False: "safe"}


def test_a_missing_suite_is_named_before_a_folder_exists(tmp_path):
    with pytest.raises(FileNotFoundError, match="no-suite.csv"):
        safety_model.main(
            safety_model.Config(
                out=tmp_path / "out",
                model="m",
                helpful="h",
                safety="s",
                suites="no-suite.csv",
            )  # fmt: skip
        )
    assert not (tmp_path / "out").exists()


def test_suites_give_unsafe_and_safe_prompts_evenly():
    suite = [SuitePrompt(Prompt([]), str(i), ("c",), i % 3 == 0) for i in range(9)]
    chosen = safety_model.choose(suite, 2)
    assert [one.suite for one in chosen] == ["1", "5", "0", "6"]


@pytest.mark.slow
def test_the_recipe_runs_on_a_folder_with_files(tmp_path):
    sft.main(sft.Config(out=tmp_path / "sft", steps=30, context=96, eval_rows=8))
    toy_files.write_helpful_pairs(tmp_path / "helpful", 0, 64)
    toy_files.write_safety_pairs(tmp_path / "safety", 0, 64)
    suite = tmp_path / "suite.csv"
    lines = [f'"{r.text}",{LABELS[r.refusal_due]}' for r in toy_world.requests(0, 40)]
    suite.write_text("\n".join(["prompt,label", *lines]))
    config = safety_model.Config(
        out=tmp_path / "out",
        smoke=True,
        safety_weight=1.0,
        model=str(tmp_path / "sft" / "policy"),
        helpful=str(tmp_path / "helpful"),
        safety=str(tmp_path / "safety"),
        suites=str(suite),
    )
    found = safety_model.main(config)["by_model"]
    assert list(found) == list(safety_model.ARMS)
    assert all(set(values) == set(safety_model.METRICS) for values in found.values())
    again = safety_model.main(safety_model.Config(**vars(config) | {"resume": True}))
    assert str(again["by_model"]) == str(found)
