"""Learning curves: their values, and the panels that a run's grid has."""

import numpy as np
import pytest

from jaxalign.evaluation import curve_values, curves, sweep_plots, sweep_tables

ROWS = [
    {"step": 0, "eval/loss": 3.0, "eval/accuracy": 0.5},
    *(
        {"step": i, "loss": 2.0 - 0.1 * i, "accuracy": 0.5, "kl": None}
        for i in range(9)
    ),
    {"step": 9, "eval/loss": 1.0, "eval/accuracy": 0.75},
]


def test_smoothing_is_debiased():
    # a constant stays itself from the first step on; (0.25 * 1 + 0.5 * 3) / 0.75
    np.testing.assert_allclose(curve_values.smooth(np.full(5, 2.0), 0.9), 2.0)
    np.testing.assert_allclose(curve_values.smooth(np.array([1.0, 3.0]), 0.5)[1], 7 / 3)


def test_values_that_are_not_finite_are_left_out():
    rows = [{"step": 0, "x": float("nan")}, {"step": 1, "x": 2}, {"step": 2}]
    places, values = curve_values.curve(rows, "x")
    assert places.tolist() == [1.0] and values.tolist() == [2.0]


def test_a_grid_has_the_metrics_that_the_run_has():
    titles = [panel.title for panel in curves.select_panels(ROWS)]
    assert titles == ["loss", "accuracy"]  # kl has no number


def test_runs_of_other_steps_meet_where_both_are():
    first = (np.array([0.0, 1.0, 2.0]), np.array([0.0, 1.0, 2.0]))
    second = (np.array([1.0, 3.0]), np.array([10.0, 30.0]))
    places, values = curve_values.common_places([first, second])
    # at 2, halfway between 10 at 1 and 30 at 3
    assert places.tolist() == [1.0, 2.0] and values.tolist() == [[1, 2], [10, 20]]


def test_plots_are_written(tmp_path):
    curves.plot_run(tmp_path / "run.png", ROWS, title="dpo")
    runs = {"a": [ROWS], "b": [ROWS, ROWS]}
    curves.plot_runs(tmp_path / "runs.png", runs, ["loss", "accuracy"])
    with pytest.raises(ValueError, match="no metric"):
        curves.plot_run(tmp_path / "none.png", [{"step": 0, "mine": 1.0}])
    for name in ("run.png", "runs.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_a_sweeps_table_has_students_interval(tmp_path):
    seeds = [{"eval/reward": 0.0}, {"eval/reward": 1.0}]
    variants = [({"beta": "0.1"}, seeds), ({"beta": "1"}, seeds[:1])]
    first, second = sweep_tables.rows(variants, ["eval/reward"])
    # t of one degree of freedom, 12.706, times 0.7071 / sqrt(2)
    np.testing.assert_allclose(first["eval/reward"], (0.5, -5.853, 6.853), atol=1e-3)
    assert np.isnan(second["eval/reward"].low) and second["seeds"] == 1
    path = sweep_plots.plot_sweep(tmp_path / "x.png", variants, ["eval/reward"])
    assert path.read_bytes().startswith(b"\x89PNG")
