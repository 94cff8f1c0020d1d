"""Samples of a run while it trains: samples.jsonl, the console, and loggers.

Reading samples is how reward hacking is seen: a reward rises, and the answers show why.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import rich
from rich.control import strip_control_codes
from rich.table import Table
from rich.text import Text

from jaxalign.runtime import distributed
from jaxalign.runtime.loggers import Loggers
from jaxalign.training import metrics

SAMPLES = "samples.jsonl"
SHOW_EVERY = 10  # steps between tables where --show-samples-every is not given
PROMPT_CHARS, ANSWER_CHARS = 160, 320  # of a text at the console
SMALLEST = 5e-4  # a number that the console shows; KLs of a policy that has not moved
# are below

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

    def open(self, folder: Path, *, step: int) -> None:
        """Opens samples.jsonl, and drops its lines from `step` on."""
        self.writer = metrics.Writer(folder, resume_step=step - 1, name=SAMPLES)

    def write(self, step: int, rows: Sequence[dict[str, Any]]) -> None:
        """Writes the samples of a step."""
        if self.writer is None or not rows:
            return
        for row in rows:
            self.writer.write({"step": step} | row)
        if self.show_every and step % self.show_every == 0:
            table = table_rows(rows)
            if self.at_console or rich.get_console().is_terminal:
                show(step, table)
            self.loggers.text(step, table)

    def close(self) -> None:
        """Closes samples.jsonl."""
        if self.writer is not None:
            self.writer.close()


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


def prompt_text(messages: Sequence[Mapping[str, Any]]) -> str:
    """The messages of a prompt as text; the roles are shown where there are several."""
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{m['role']}: {m.get('content') or ''}" for m in messages)


def show(step: int, rows: Sequence[Row]) -> None:
    """Prints samples as a table; of many processes the first prints.

    A prompt is shown once, at the first of its answers; long texts are cut in the
    middle.
    """
    if not distributed.is_first():
        return
    names = list(rows[0])
    table = Table(title=f"samples of step {step}", title_justify="left", expand=False)
    for name in names:
        is_text = isinstance(rows[0][name], str)
        heading = name.replace("_", " ")
        table.add_column(
            heading,
            justify="left" if is_text else "right",
            ratio={"prompt": 2, "answer": 3}.get(name),
            no_wrap=not is_text,
            overflow="fold",
        )
    last = None
    for row in rows:
        again = row["prompt"] == last
        if not again and last is not None:
            table.add_section()
        last = row["prompt"]
        cells = {name: cell(row[name]) for name in names}
        cells["prompt"] = "" if again else shorten(str(row["prompt"]), PROMPT_CHARS)
        cells["answer"] = shorten(str(row["answer"]), ANSWER_CHARS)
        table.add_row(*map(Text, cells.values()))
    console = rich.get_console()
    with console.capture() as capture:
        console.print(table)
    distributed.print_line(capture.get().rstrip("\n"))


def cell(value: Any) -> str:
    """A value as it is shown: numbers with 3 digits, unknown ones as a dash.

    >>> cell(0.12345), cell(-1e-6), cell(True), cell(None), cell(17)
    ('0.123', '0', 'yes', '-', '17')
    """
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) >= SMALLEST else "0"
    return str(value)


def shorten(text: str, chars: int) -> str:
    """A text without control codes, of at most so many characters.

    >>> shorten("abcdefghij", 7)
    'ab ... j'
    >>> shorten("abc", 7)
    'abc'
    """
    text = strip_control_codes(text).replace("\x1b", "")
    if len(text) <= chars:
        return text
    end = (chars - 5) // 3 + 1
    return f"{text[: chars - 4 - end]} ... {text[-end:]}"
