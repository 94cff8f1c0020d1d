"""Plots of lines: every number where it belongs, one color for a name."""

import matplotlib.figure
import numpy as np
import pytest

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.line_plots import Panel, plot_lines


@pytest.fixture
def kept(monkeypatch):
    """The figures that were saved, as objects."""
    figures = []
    save = matplotlib.figure.Figure.savefig

    def keep(figure, *args, **knobs):
        figures.append(figure)
        save(figure, *args, **knobs)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", keep)
    return figures


def test_numbers_intervals_and_colors_are_where_they_belong(tmp_path, kept):
    x = [(0.0, Interval(0.5, 0.4, 0.7)), (50.0, Interval(np.nan, 0.0, 1.0))]
    panels = [
        Panel("one", "share", "rate", {"x": x, "y": [(0.0, 1.0), (50.0, 2.0)]}),
        Panel("two", "share", "rate", {"y": [(1.0, 3.0)]}, dashed={"law": [(0, 1)]}),
    ]
    path = plot_lines(tmp_path / "a.png", panels)
    assert path.read_bytes().startswith(b"\x89PNG")
    one, two = kept[0].axes
    drawn = {c.lines[0].get_color(): c.lines[0] for c in one.containers}
    # NaN is not drawn
    assert [line.get_xdata().tolist() for line in drawn.values()] == [[0], [0, 50]]
    (bars,) = one.containers[0].lines[2]
    np.testing.assert_allclose(bars.get_segments()[0], [[0, 0.4], [0, 0.7]])
    # y has the color of the first panel in the second, where it is alone
    assert two.containers[0].lines[0].get_color() == list(drawn)[1]
    (legend,) = kept[0].legends
    assert [text.get_text() for text in legend.get_texts()] == ["x", "y", "law"]


@pytest.mark.parametrize("scale", ["log", "log2", "symlog"])
def test_a_log_scale_has_a_tick_at_each_place(tmp_path, kept, scale):
    points = [(x, 1.0) for x in (1.0, 2.0, 16.0)]
    plot_lines(tmp_path / "a.png", [Panel("", "n", "", {"a": points}, scale)])
    axes = kept[0].axes[0]
    assert axes.get_xscale() == scale.removesuffix("2")
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1", "2", "16"]
    assert not kept[0].legends  # of one line


def test_seven_panels_are_in_rows_of_three_and_hidden_names_not_in_the_legend(
    tmp_path, kept
):
    lines = {"_only": [(0.0, 1.0)], "a": [(0.0, 1.0)], "b": [(0.0, np.nan)]}
    plot_lines(tmp_path / "a.png", [Panel("", "", "", lines)] * 7)
    columns = {round(axes.get_position().x0, 3) for axes in kept[0].axes}
    assert (len(kept[0].axes), len(columns)) == (7, 3)
    assert not kept[0].legends  # of the lines drawn, one has a name
