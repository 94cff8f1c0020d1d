"""The study of brevity: flags, and a short run in the toy world."""

import json

import pytest

from experiments.studies import brevity


@pytest.mark.parametrize("flags", [{"model": "folder"}, {"data": "pairs.jsonl"}])
def test_flags_that_do_not_fit_are_refused_before_a_folder_exists(flags, tmp_path):
    with pytest.raises(ValueError, match="--model FOLDER and --data PREFERENCES go"):
        brevity.main(brevity.Config(out=tmp_path / "out", **flags))
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_short_run_measures_all_arms_and_resumes_on_a_folder_too(tmp_path):
    config = brevity.Config(out=tmp_path / "toy", smoke=True)
    found = brevity.main(config)["by_model"]
    assert list(found) == list(brevity.ARMS)
    assert all(set(values) == set(brevity.METRICS) for values in found.values())
    again = brevity.main(brevity.Config(**vars(config) | {"resume": True}))
    assert str(again["by_model"]) == str(found)
    rows = [
        {"prompt": f"Say {i}.", "chosen": f"It is {i}. So I said.", "rejected": "No."}
        for i in range(100)
    ]
    data = tmp_path / "pairs.jsonl"
    data.write_text("\n".join(map(json.dumps, rows)))
    folder = str(tmp_path / "toy" / "seed-0" / "base" / "policy")
    values = brevity.main(
        brevity.Config(out=tmp_path / "own", smoke=True, model=folder, data=str(data))
    )["by_model"]
    assert set(values["SFT"]) == {"words", "whole"}
