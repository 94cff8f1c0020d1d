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
FEWEST_TEXT_CHARS = 50  # of a line, for prompt and answer
NUMBERS_CHARS = 26  # of a line, where a narrow console has all numbers in one column
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
    middle. In a narrow console the numbers of an answer stand below each other.
    """
    if not distributed.is_first():
        return
    console = rich.get_console()
    table = sample_table(f"samples of step {step}", rows, console.width)
    with console.capture() as capture:
        console.print(table)
    distributed.print_line(capture.get().rstrip("\n"))


def sample_table(title: str, rows: Sequence[Row], width: int) -> Table:
    """The table of samples: a column for each number, or one column for all of them.

    Args:
      width: of the console, in characters; where columns of their own would leave too
        little of it for the texts, numbers stand below each other.
    """
    texts = [name for name, value in rows[0].items() if isinstance(value, str)]
    cells, is_stacked = number_cells(rows, texts, width)
    table = Table(title=title, title_justify="left", expand=False)
    for name in texts:
        ratio = {"prompt": 2, "answer": 3}.get(name)
        table.add_column(name, ratio=ratio, overflow="fold")
    for name in cells[0]:
        table.add_column(name, justify="left" if is_stacked else "right", no_wrap=True)
    last = None
    for row, numbers in zip(rows, cells, strict=True):
        again = row["prompt"] == last
        if last is not None and (is_stacked or not again):
            table.add_section()
        last = row["prompt"]
        shown = {name: str(row[name]) for name in texts}
        shown["prompt"] = "" if again else shorten(shown["prompt"], PROMPT_CHARS)
        shown["answer"] = shorten(shown["answer"], ANSWER_CHARS)
        table.add_row(*map(Text, [*shown.values(), *numbers.values()]))
    return table


def number_cells(
    rows: Sequence[Row], texts: Sequence[str], width: int
) -> tuple[list[dict[str, str]], bool]:
    """The cells of the numbers of each row by heading, and whether they are stacked.

    Args:
      texts: names of the columns of text.
      width: of the console, in characters.
    """
    names = {name: name.replace("_", " ") for name in rows[0] if name not in texts}
    cells = [{head: cell(row[name]) for name, head in names.items()} for row in rows]
    widest = [max(len(h), *(len(one[h]) for one in cells)) for h in names.values()]
    borders = 3 * (len(names) + len(texts)) + 1
    if sum(widest) + borders + FEWEST_TEXT_CHARS <= width:
        return cells, False
    named = [[f"{head} {value}" for head, value in one.items()] for one in cells]
    return [{"numbers": join_lines(one, NUMBERS_CHARS)} for one in named], True


def join_lines(words: Sequence[str], width: int) -> str:
    """Words with commas between them, in lines of at most so many characters.

    >>> join_lines(["kl 0.1", "ended no", "tokens 48"], 17)
    'kl 0.1, ended no,\\ntokens 48'
    """
    lines: list[str] = []
    for i, word in enumerate(words):
        word += "," if i < len(words) - 1 else ""
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


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
