"""Cells of a study: measured once, resumed, and summed up over seeds."""

import numpy as np
import pytest

from jaxalign.runtime import study_cells

SETTINGS = {"steps": 3, "beta": float("nan")}


def run(folder, calls, *, arms=("a", "b"), seeds=range(2), resume=True, **settings):
    def measure(arm, seed, cell):
        calls.append((arm, seed, cell.relative_to(folder).as_posix()))
        start = {"a": 0.0, "b": 10.0}[arm]
        return {"hit": [start, start + 2.0 * seed, float("nan")], "kl": 0.5 * seed}

    return study_cells.measure_cells(
        folder, arms, seeds, measure, settings=SETTINGS | settings, resume=resume
    )


def test_cells_are_measured_once(tmp_path):
    calls = []
    first = run(tmp_path, calls)
    assert calls == [
        ("a", 0, "seed-0/a"),
        ("b", 0, "seed-0/b"),
        ("a", 1, "seed-1/a"),
        ("b", 1, "seed-1/b"),
    ]
    again = run(tmp_path, calls, seeds=range(3))
    assert [call[:2] for call in calls[4:]] == [("a", 2), ("b", 2)]
    for arm in "ab":
        for before, after in zip(first[arm], again[arm], strict=False):
            for name in ("hit", "kl"):
                np.testing.assert_array_equal(before[name], after[name], strict=True)
    with pytest.raises(ValueError, match=r"seed-0/a/measured.json .* steps 3, now 4"):
        run(tmp_path, calls, steps=4)
    run(tmp_path, calls, resume=False)
    assert len(calls) == 10


def test_summary_and_difference_by_hand(tmp_path):
    cells = run(tmp_path, [])
    summary = study_cells.summarize_cells(cells)
    # seeds' means of a: 0 and 1 (NaN left out)
    assert summary["a"]["hit"].mean == pytest.approx(0.5)
    assert summary["b"]["hit"].mean == pytest.approx(10.5)
    # kl: 0 and 0.5; t of one degree 12.706, standard error 0.25
    assert summary["a"]["kl"].high == pytest.approx(0.25 + 12.7062 * 0.25, rel=1e-5)
    gain = study_cells.compare_cells(cells, "b", "a")["hit"]
    assert gain == pytest.approx((10.0, 10.0, 10.0))
    rows = study_cells.cell_rows(summary, {"kl": "KL", "none": "None"})
    assert rows == [{"arm": arm, "KL": summary[arm]["kl"]} for arm in "ab"]


def test_shares_have_wilson_of_one_seed_and_are_clipped_of_several():
    cells = {
        "a": [
            {"hit": np.zeros(10), "rate": np.full(10, 0.5), "none": np.full(2, np.nan)}
        ]
    }
    summary = study_cells.summarize_cells(cells, {"hit", "rate", "none"})
    # Wilson at 0 of n: high = z^2 / (n + z^2) = 3.8415 / 13.8415
    assert summary["a"]["hit"] == pytest.approx((0.0, 0.0, 0.27753), abs=1e-5)
    assert summary["a"]["rate"] == (0.5, 0.5, 0.5)  # no proportion of 0 and 1
    assert np.isnan(summary["a"]["none"]).all()
    seeds = [{"hit": np.zeros(4)}, {"hit": np.ones(4)}]
    found = study_cells.summarize_cells({"a": seeds}, {"hit"})["a"]["hit"]
    assert found == (0.5, 0.0, 1.0)  # the t interval is wider


def test_a_metric_that_no_seed_defines_is_nan_and_one_seed_may_lack_it():
    nothing = np.full(3, np.nan)
    assert np.isnan(study_cells.over_seeds([nothing, nothing]).mean)
    # the other seed's mean of 1 and 3
    found = study_cells.over_seeds([nothing, np.array([1.0, np.nan, 3.0])])
    assert found.mean == 2.0
