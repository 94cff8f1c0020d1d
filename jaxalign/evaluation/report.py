"""Tables of results, and samples before and after, as Markdown, CSV and text."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from jaxalign.evaluation.intervals import Interval

Row = Mapping[str, Any]


def format_cell(value: Any) -> str:
    """A table cell; unknown values are a dash, and only 0 is shown as 0.

    >>> format_cell(0.12345), format_cell(5e-7), format_cell(None), format_cell("dpo")
    ('0.123', '5.0e-07', '-', 'dpo')
    """
    number = value.mean if isinstance(value, Interval) else value
    if number is None or (isinstance(number, float) and np.isnan(number)):
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.1e}" if 0 < abs(value) < 5e-4 else f"{value:.3f}"


def column_names(rows: Sequence[Row]) -> list[str]:
    """All column names, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def markdown_table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table.

    >>> print(markdown_table([{"method": "SFT"}, {"method": "DPO", "KL": 1.5}]), end="")
    | method | KL |
    | --- | --- |
    | SFT | - |
    | DPO | 1.500 |
    """
    names = column_names(rows)
    lines = [names, ["---"] * len(names)]
    lines += [[format_cell(row.get(name)) for name in names] for row in rows]
    escaped = ([text.replace("|", r"\|") for text in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in escaped)


def csv_table(rows: Sequence[Row]) -> str:
    """The rows as CSV; an interval takes three columns, unknown values are empty.

    >>> rows = [{"method": "SFT"}, {"method": "DPO", "gain": Interval(0.5, 0.4, 0.6)}]
    >>> print(csv_table(rows), end="")
    method,gain,gain low,gain high
    SFT,,,
    DPO,0.5,0.4,0.6
    """
    wide = {k for row in rows for k, v in row.items() if isinstance(v, Interval)}
    three = lambda name: [name, f"{name} low", f"{name} high"]
    names = [three(name) if name in wide else [name] for name in column_names(rows)]
    file = io.StringIO()
    writer = csv.DictWriter(file, sum(names, []), lineterminator="\n")
    writer.writeheader()
    for row in rows:
        flat = {k: v for k, v in row.items() if not isinstance(v, Interval)}
        for name, value in row.items():
            if isinstance(value, Interval):
                flat |= zip(three(name), value, strict=True)
        writer.writerow(flat)
    return file.getvalue()


def print_table(rows: Sequence[Row], title: str) -> None:
    """Prints the rows as a table, transposed where few rows are too wide."""
    names = column_names(rows)
    head = [name.replace("_", " ") for name in names]
    lines = [head, *([format_cell(row.get(name)) for name in names] for row in rows)]
    widest = [max(map(len, column)) for column in zip(*lines, strict=True)]
    too_wide = sum(widest) + 3 * len(names) + 1 > rich.get_console().width
    if too_wide and len(lines) < len(names):
        lines = [list(line) for line in zip(*lines, strict=True)]
    table = Table(*map(escape, lines[0]), title=Text(title, "table.title"))
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    rich.print(table)


def write_samples(
    path: Path, prompts: Sequence[str], answers: Mapping[str, Sequence[str]]
) -> Path:
    """Writes prompts with each model's answer, as Markdown."""
    lines = ["# Answers, before and after"]
    for i, prompt in enumerate(prompts):
        lines += [f"## {i + 1}", fence(prompt)]
        for name, texts in answers.items():
            lines += [f"**{name}**", fence(texts[i])]
    path.write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return path


def fence(text: str) -> str:
    """A text in a code fence longer than any fence in it."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
