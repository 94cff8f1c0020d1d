"""The safety recipe on a folder and files: its flags, and a short run."""

import pytest

from experiments.studies import safety_model
from jaxalign.data.records import Prompt
from jaxalign.pipeline.red_team.suites import SuitePrompt


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
def test_the_recipe_runs_on_a_folder_with_files(tmp_path, public_data):
    hh = public_data / "hh-rlhf"
    found = safety_model.main(
        safety_model.Config(
            out=tmp_path / "out",
            smoke=True,
            model=str(public_data / "stories260K" / "hf"),
            helpful=str(hh / "helpful-base" / "test.jsonl.gz"),
            safety=str(hh / "harmless-base" / "test.jsonl.gz"),
            suites=f"{public_data}/simple-safety-tests/test_cases.csv,"
            f"{public_data}/xstest/xstest_prompts.csv",
        )
    )
    assert list(found["by_model"]) == list(safety_model.ARMS)
