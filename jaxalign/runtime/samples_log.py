"""Samples of a run while it trains: samples.jsonl and .md, the console, and loggers.

Reading samples is how reward hacking is seen: a reward rises, and the answers show why.
"""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich
from rich.table import Table
from rich.text import Text

from jaxalign.runtime import distributed
from jaxalign.runtime.loggers import Loggers
from jaxalign.runtime.sample_texts import cell, prompt_text, shorten
from jaxalign.runtime.samples_page import SamplesPage
from jaxalign.training import metrics

SAMPLES = "samples.jsonl"
SHOW_EVERY = 10  # steps between tables where --show-samples-every is not given
PROMPT_CHARS, ANSWER_CHARS = 160, 320  # of a text at the console
TEXTS = {"prompt": 2, "answer": 3}  # columns of texts, with their shares of the width
TEXT_WIDTH = 50  # characters beside the numbers without which a table is not readable

Row = Mapping[str, Any]


class DeferredRows(NamedTuple):
    """Rows whose numbers are on the device, made once these have been fetched.

    Attributes:
      arrays: a tree of arrays that every process holds in full.
      make: from the step's number and the arrays on the host to the rows, JSON values.
    """

    arrays: Any
    make: Callable[[int, Any], list[dict[str, Any]]]


class SamplesLog:
    """Writes the samples of steps, and shows some at the console and to loggers."""

    def __init__(self, show_every: int | None, loggers: Loggers) -> None:
        """Args:

        show_every: steps between those that the console and the loggers have; 0 for
          never. None for every 10, and at the console only if it is a terminal.
        """
        self.show_every = SHOW_EVERY if show_every is None else show_every
        self.at_console = show_every is not None
        self.loggers = loggers
        self.writer: metrics.Writer | None = None
        self.page: SamplesPage | None = None

    def open(self, folder: Path, *, step: int) -> None:
        """Opens samples.jsonl, and drops its lines from `step` on."""
        self.writer = metrics.Writer(folder, resume_step=step - 1, name=SAMPLES)
        with (folder / SAMPLES).open(encoding="utf-8") as lines:
            self.page = SamplesPage(folder, lines)

    def write(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Writes the samples of a step."""
        if self.writer is None or self.page is None or not rows:
            return
        for row in rows:
            self.writer.write({"step": step} | row)
        self.page.add(step, rows)
        if self.show_every and step % self.show_every == 0:
            table = table_rows(rows)
            if self.at_console or rich.get_console().is_terminal:
                show(step, table)
            self.loggers.text(step, table)
            self.page.write()

    def close(self) -> None:
        """Closes samples.jsonl, and writes samples.md."""
        if self.writer is not None and self.page is not None:
            self.writer.close()
            self.page.write()


def table_rows(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Samples as rows of one set of columns: text and numbers alone.

    >>> messages = [{"role": "user", "content": "2 + 2?"}]
    >>> table_rows([{"prompt": messages, "answer": "4", "rewards": {"exact": 1.0}}])
    [{'prompt': '2 + 2?', 'answer': '4', 'exact': 1.0}]
    """
    flat = []
    for row in rows:
        values = {"prompt": prompt_text(row["prompt"]), "answer": row["answer"]}
        values |= row["rewards"]
        values |= {name: x for name, x in row.items() if name not in values}
        flat.append({k: v for k, v in values.items() if k != "rewards"})
    names = dict.fromkeys(name for row in flat for name in row)
    return [{name: row.get(name) for name in names} for row in flat]


def show(step: int, rows: Sequence[Row]) -> None:
    """Prints samples as a table, or as paragraphs where that is too narrow for texts.

    Of many processes the first prints. A prompt is shown once, at the first of its
    answers; long texts are cut in the middle.
    """
    if not distributed.is_first():
        return
    shown, last = [], None
    for row in rows:
        cells = {name: cell(value) for name, value in row.items()}
        again = row["prompt"] == last
        cells["prompt"] = "" if again else shorten(str(row["prompt"]), PROMPT_CHARS)
        cells["answer"] = shorten(str(row["answer"]), ANSWER_CHARS)
        shown.append({name.replace("_", " "): text for name, text in cells.items()})
        last = row["prompt"]
    title = f"samples of step {step}"
    numbers = [name for name in shown[0] if name not in TEXTS]
    widths = [max(len(name), *(len(row[name]) for row in shown)) for name in numbers]
    room = rich.get_console().width - sum(widths) - 3 * (len(numbers) + len(TEXTS)) - 1
    lines = table if room >= TEXT_WIDTH else paragraphs
    distributed.print_line(lines(title, shown))


def table(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    """Samples as a table; a line separates prompts."""
    grid = Table(title=title, title_justify="left", expand=False)
    for name in rows[0]:
        is_text = name in TEXTS
        grid.add_column(
            name,
            justify="left" if is_text else "right",
            ratio=TEXTS.get(name),
            no_wrap=not is_text,
            overflow="fold",
        )
    for i, row in enumerate(rows):
        if i and row["prompt"]:
            grid.add_section()
        grid.add_row(*map(Text, row.values()))
    console = rich.get_console()
    with console.capture() as capture:
        console.print(grid)
    return capture.get().rstrip("\n")


def paragraphs(title: str, rows: Sequence[Mapping[str, str]]) -> str:
    """Samples one below the other: a prompt, and indented its answers with numbers.

    >>> print(paragraphs("step 2", [{"prompt": "2 + 2?", "answer": "4", "exact": "1"}]))
    step 2
    <BLANKLINE>
    2 + 2?
      4
        [exact 1]
    """
    lines = [title]
    for row in rows:
        if row["prompt"]:
            lines += ["", row["prompt"]]
        numbers = [f"{name} {text}" for name, text in row.items() if name not in TEXTS]
        lines.append(textwrap.indent(row["answer"] or "(empty)", "  "))
        lines.append(f"    [{'  '.join(numbers)}]")
    return "\n".join(lines)
