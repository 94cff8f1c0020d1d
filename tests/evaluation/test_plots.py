"""The plot of reward against KL: every number where it belongs."""

import matplotlib.figure
import numpy as np
import pytest
from matplotlib import image

from jaxalign.evaluation import plots, sweep_plots
from jaxalign.evaluation.intervals import Interval


@pytest.fixture
def kept(monkeypatch):
    """The figures that were saved, as objects."""
    figures = []

    class Kept(matplotlib.figure.Figure):
        def savefig(self, *args, **knobs):
            figures.append(self)
            super().savefig(*args, **knobs)

    monkeypatch.setattr(matplotlib.figure, "Figure", Kept)
    return figures


def test_it_shows_each_method(tmp_path, kept):
    points = {f"method {i}": [(4.0 * i, Interval(i, i - 1, i + 2))] for i in range(13)}
    points["ppo"] = [(0.0, Interval(0.5, 0.2, 0.7)), (-1e-9, Interval(1, 0, 2))]
    path = plots.plot_reward_kl(tmp_path / "plot.png", points, reward="gold")
    assert image.imread(path).shape[0] > 300
    axes = kept[0].axes[0]
    (legend,) = kept[0].legends
    assert [text.get_text() for text in legend.get_texts()] == list(points)
    assert axes.get_ylabel() == "gold, with 95 % interval"
    bars, markers = axes.collections[18:20]  # two collections a method
    assert markers.get_offsets().tolist() == [[36.0, 9.0]]
    # the interval is not symmetric
    assert bars.get_segments()[0].tolist() == [[36.0, 8.0], [36.0, 11.0]]
    # a KL that rounds to below 0 is drawn at 0
    assert axes.collections[27].get_offsets()[:, 0].tolist() == [0.0, 0.0]
    # the scale is a square root: 12 is halfway to 48
    at = lambda kl: axes.transData.transform((kl, 0.0))[0]
    np.testing.assert_allclose(at(12.0) - at(0.0), 0.5 * (at(48.0) - at(0.0)))


def test_seeds_are_points_and_a_knobs_values_a_line_that_grows(tmp_path, kept):
    points = {"dpo": [(1.0, Interval(1, 0, 2)), (4.0, Interval(2, 1, 3))]}
    plots.plot_reward_kl(tmp_path / "plot.png", points)
    plots.plot_reward_kl(tmp_path / "plot.png", points, joined_by="smaller beta")
    lines = [[x for x in k.axes[0].lines if len(x.get_xdata())] for k in kept]
    assert not lines[0] and lines[1][0].get_xdata().tolist() == [1.0, 4.0]
    sizes = [k.axes[0].collections[1].get_sizes() for k in kept]
    assert len(sizes[0]) == 1 and sizes[1][0] < sizes[1][1]
    assert "smaller beta" in kept[1].legends[0].get_title().get_text()


def test_the_optimum_is_dashed_and_need_not_be_known(tmp_path, kept):
    points = {"dpo": [(1.0, Interval(1, 0, 2))]}
    best = (np.array([0.0, 2.0]), np.array([0.5, 3.0]))
    plots.plot_reward_kl(tmp_path / "plot.png", points, optimum=best)
    (line, _) = kept[0].axes[0].lines
    assert line.get_linestyle() == "--" and line.get_ydata().tolist() == [0.5, 3.0]
    assert kept[0].legends[0].get_texts()[0].get_text() == "optimum"


def test_single_seeds_are_pale_points_and_cut_wide_intervals(tmp_path, kept):
    seeds = {"beta=0": [(1.0, 2.0), (4.0, 3.0)], "beta=1": [(0.5, 1.0), (0.25, 1.0)]}
    path = tmp_path / "plot.png"
    sweep_plots.plot_frontier(path, seeds, reward="gold", title="grpo")
    axes = kept[0].axes[0]
    drawn = [x for x in axes.lines if len(x.get_xdata())]
    places = [(*line.get_xdata(), *line.get_ydata()) for line in drawn]
    assert places == [*seeds["beta=0"], *seeds["beta=1"]]
    assert all(line.get_alpha() < 0.5 for line in drawn)
    # the interval of (2, 3) is 2.5 ± 6.353; the seeds span 1 to 3, and half of that
    # is left free on either side
    np.testing.assert_allclose(axes.get_ylim(), (0.0, 4.0))
    assert axes.get_xlim()[1] == pytest.approx(1.08 * 4.0)
    means = [x.get_offsets().tolist() for x in axes.collections[1::2]]
    assert means == [[[2.5, 2.5]], [[0.375, 1.0]]]
    assert axes.get_title("left") == "grpo: means over 2 seeds (pale: single seeds)"


def test_a_single_seed_has_no_interval_and_says_so(tmp_path, kept):
    seeds = {"beta=0": [(1.0, 2.0)], "beta=1": [(0.5, 1.0)]}
    path = tmp_path / "plot.png"
    sweep_plots.plot_frontier(path, seeds, reward="gold", title="grpo")
    axes = kept[0].axes[0]
    assert axes.get_ylabel() == "gold"
    assert axes.get_title("left") == "grpo: a single seed"
    assert not [x for x in axes.lines if len(x.get_xdata())]


def test_no_kl_at_all_still_draws(tmp_path):
    point = {"SFT": [(0.0, Interval(1, 1, 1))]}
    path = plots.plot_reward_kl(tmp_path / "plot.png", point)
    assert image.imread(path).shape[0] > 300
