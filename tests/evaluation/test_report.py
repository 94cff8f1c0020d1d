"""What people look at: nothing lost, nothing broken by what models say."""

import numpy as np
from matplotlib import image

from jaxalign.evaluation import report
from jaxalign.evaluation.intervals import Interval

ROWS = [
    {"method": "SFT", "reward": Interval(0.5, 0.25, 0.75), "win rate": None},
    {"method": "a|b", "reward": 1.0, "KL": float("nan"), "win rate": 2},
]


def test_markdown_has_every_column_of_every_row():
    assert report.markdown(ROWS).splitlines() == [
        "| method | reward | win rate | KL |",
        "| --- | --- | --- | --- |",
        "| SFT | 0.500 ± 0.250 | - | - |",
        r"| a\|b | 1.000 | 2 | - |",
    ]


def test_the_table_is_printed(capsys):
    report.show(ROWS, "a title")
    printed = capsys.readouterr().out
    for part in ("a title", "method", "KL", "0.500 ± 0.250", "a|b"):
        assert part in printed


def test_the_plot_shows_each_method(tmp_path, monkeypatch):
    kept = []

    class Kept(report.Figure):
        def savefig(self, *args, **knobs):
            kept.append(self)
            super().savefig(*args, **knobs)

    monkeypatch.setattr(report, "Figure", Kept)
    # a mean that rounds to just outside its interval is no error
    just_above = float(np.nextafter(0.5, 1.0))
    points = {f"method {i}": [(4.0 * i, Interval(i, i - 1, i + 2))] for i in range(13)}
    points["ppo"] = [(0.0, Interval(0.5, just_above, 0.7)), (-1e-9, Interval(1, 0, 2))]
    path = report.plot_reward_kl(tmp_path / "plot.png", points, reward="gold")
    assert image.imread(path).shape[0] > 300
    axes = kept[0].axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == list(points)
    assert axes.get_ylabel() == "gold, with 95 % interval"
    line, _, (bars,) = axes.containers[9].lines
    # sqrt(36) = 6, and the interval is not symmetric
    assert (line.get_xdata()[0], line.get_ydata()[0]) == (6.0, 9.0)
    assert bars.get_segments()[0].tolist() == [[6.0, 8.0], [6.0, 11.0]]
    assert axes.containers[13].lines[0].get_xdata().tolist() == [0.0, 0.0]
    # seeds are points, the course of a run is a line
    report.plot_reward_kl(path, points, joined=True)
    styles = [k.axes[0].containers[13].lines[0].get_linestyle() for k in kept]
    assert styles == ["None", "-"]


def test_samples_show_the_texts_as_they_are(tmp_path):
    prompts = ["Say é", "Show code"]
    answers = {"SFT": ["é", "```python\nx\n```"], "PPO": ["# no heading", "y"]}
    text = report.write_samples(tmp_path / "s.md", prompts, answers).read_text("utf-8")
    for part in ["## 1", "## 2", "**SFT**", "**PPO**", "```text\nSay é\n```"]:
        assert part in text
    # a fence longer than the one within
    assert "````text\n```python\nx\n```\n````" in text
    assert text.index("Say é") < text.index("# no heading") < text.index("Show code")
