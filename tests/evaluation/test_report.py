"""What people look at: nothing lost, nothing broken by what models say."""

import rich

from jaxalign.evaluation import report
from jaxalign.evaluation.intervals import Interval

ROWS = [
    {"method": "SFT", "reward": Interval(0.5, 0.25, 0.75), "win rate": None},
    {"method": "a|b", "reward": 1.0, "KL": float("nan"), "win rate": 2},
]


def test_markdown_has_every_column_of_every_row():
    assert report.markdown_table(ROWS).splitlines() == [
        "| method | reward | win rate | KL |",
        "| --- | --- | --- | --- |",
        "| SFT | 0.500 ± 0.250 | - | - |",
        r"| a\|b | 1.000 | 2 | - |",
    ]


def test_the_table_is_printed(capsys):
    report.print_table(ROWS, "a title")
    printed = capsys.readouterr().out
    for part in ("a title", "method", "KL", "0.500 ± 0.250", "a|b"):
        assert part in printed


def test_a_row_that_is_too_wide_becomes_a_column(capsys, monkeypatch):
    monkeypatch.setattr(rich.get_console(), "width", 80)
    numbers = {f"a number of some length {i}": i + 0.5 for i in range(9)}
    report.print_table(
        [{"method": name} | numbers for name in ("SFT", "DPO")], "a title"
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert any("method" in line and "SFT" in line and "DPO" in line for line in lines)
    row = next(line for line in lines if "a number of some length 8" in line)
    assert row.count("8.500") == 2


def test_samples_show_the_texts_as_they_are(tmp_path):
    prompts = ["Say é", "Show code"]
    answers = {"SFT": ["é", "```python\nx\n```"], "PPO": ["# no heading", "y"]}
    text = report.write_samples(tmp_path / "s.md", prompts, answers).read_text("utf-8")
    for part in ["## 1", "## 2", "**SFT**", "**PPO**", "```text\nSay é\n```"]:
        assert part in text
    # a fence longer than the one within
    assert "````text\n```python\nx\n```\n````" in text
    assert text.index("Say é") < text.index("# no heading") < text.index("Show code")
