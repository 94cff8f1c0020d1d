"""Inspect training data: examples with their trained tokens marked, and token counts.

Trained tokens are green (or between ⟦ and ⟧ without color), special tokens reversed,
line ends shown. Nothing is trained. With --out FOLDER, numbers.json there has the
counts, and config.yaml the flags.

The counts have lengths in tokens; those of texts in characters, the share of pairs
whose longer answer is the chosen one ("longer wins", ties half) and the number of rows
that repeat an earlier one are as `experiments.prepare` reports them, which removes
duplicates.

    python -m experiments.inspect_data --data hh-rlhf --data-path FOLDER --model FOLDER
    python -m experiments.inspect_data --data answers.jsonl --all-turns
"""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxalign.data import chat
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import Record
from jaxalign.data.tokenize import tokenize
from jaxalign.data.tokenizer import special_token_texts, token_id
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.evaluation import data_statistics
from jaxalign.pipeline import data_summary, datasets, policies, row_keys
from jaxalign.runtime import config_file, flags, folder_cleanup, run_settings
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig

TRAINED, SPECIAL = "green", "reverse"
SIDES = {"demonstrations": [""], "pairs": ["chosen", "rejected"], "unpaired": [""]}
QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Tokenized examples and token counts."""

    out: Path | None = flags.resumable(None)
    """A folder for the counts (numbers.json) and the flags; by default none."""
    examples: int = 2
    """Examples to print of each kind."""
    first: int = 0
    """Index of the first example to print."""
    all_turns: bool = False
    """Mark every answer of a conversation as trained, not the last alone."""


def main(config: Config, console: Console | None = None) -> dict[str, dict[str, float]]:
    """Prints examples and counts.

    Args:
      console: to print to; by default the terminal.

    Returns:
      The counts of each kind of record.

    Raises:
      ValueError: no kind of record has usable rows.
    """
    console = console or rich.get_console()
    source = datasets.load(config)
    tokenizer, context = policies.tokenizer_of(config, source)
    ends = tokenizer.convert_ids_to_tokens(list(chat.stop_tokens(tokenizer)))
    console.print(
        f"{source.name} for {config.model}, context {context}",
        style="bold",
        markup=False,
        highlight=False,
    )
    console.print(
        f"an answer ends with {' or '.join(ends)}", markup=False, highlight=False
    )
    marked = Text("trained", TRAINED) if console.color_system else Text("⟦trained⟧")
    console.print("legend:", marked, Text("special token", SPECIAL), "↵ end of line")
    counts = {}
    for name, read in kinds(source):
        try:
            records = read()
        except ValueError as error:
            console.print(f"\nno {name}: {error}", markup=False, highlight=False)
            continue
        tokenize_records = functools.partial(
            tokenize, records, tokenizer, all_turns=config.all_turns
        )
        examples, report = tokenize_records(context=context, overlong=config.overlong)
        uncut, _ = tokenize_records(context=sys.maxsize)
        console.print(
            f"\n{name}: {report}", style="bold", markup=False, highlight=False
        )
        for example in examples[config.first :][: config.examples]:
            location = records[example.row].location.rpartition("/")[2]
            show(console, tokenizer, example, location, SIDES.get(name))
        counts[name] = {
            "rows": report.total,
            **count_tokens(examples, uncut),
            **count_texts(records),
        }
    if not counts:
        raise ValueError(f"{source.name} has no usable rows of any kind")
    console.print(table(counts))
    if config.out is not None:
        folder_cleanup.create(config.out)
        config_file.write_config(config.out, config)
        run_settings.write_json(config.out / "numbers.json", counts)
    return counts


def kinds(
    source: datasets.Dataset,
) -> list[tuple[str, Callable[[], Sequence[Record]]]]:
    """Names of the kinds of records that a data set may have, and their readers.

    A reader returns the training records, or raises ValueError if there are none.
    """
    readers: list[tuple[str, Callable[[], Any]]] = [
        ("demonstrations", lambda: source.demonstrations()[0]),
        ("pairs", lambda: source.preferences()[0]),
    ]
    if source.has_rankings:
        readers.append(("rankings", lambda: source.rankings()[0]))
    if source.has_unpaired:
        readers.append(("unpaired", lambda: source.unpaired()[0]))
    return readers


def show(
    console: Console,
    tokenizer: PreTrainedTokenizerFast,
    example: Example,
    location: str,
    sides: Sequence[str] | None,
) -> None:
    """Print the sequences of an example with their lengths.

    Args:
      location: of the example's row, such as "rows.jsonl:1".
      sides: names of its sequences; None for ranks.
    """
    names = sides or [f"rank {k}" for k, _ in enumerate(example.sequences, 1)]
    for name, row in zip(names, example.sequences, strict=True):
        trained = int(row.mask.sum())
        title = " ".join(filter(None, (location, name)))
        summary = f"{title}: {len(row.tokens)} tokens, {trained} trained"
        console.print(summary, style="dim", markup=False, highlight=False)
        console.print(mark_tokens(tokenizer, row, color=bool(console.color_system)))


def mark_tokens(
    tokenizer: PreTrainedTokenizerFast, row: TokenRow, *, color: bool
) -> Text:
    """A sequence as text with its trained and its special tokens marked.

    Args:
      color: whether to mark by color, else by brackets.
    """
    special = {token_id(tokenizer, text) for text in special_token_texts(tokenizer)}
    shown = Text()
    runs = itertools.groupby(
        zip(row.tokens.tolist(), row.mask.tolist(), strict=True),
        key=lambda pair: (pair[1], pair[0] in special),
    )
    previous = False
    for (trained, is_special), run in runs:
        text = str(tokenizer.decode([token for token, _ in run]))
        if not color and trained != previous:
            shown.append("⟦" if trained else "⟧")
        styles = [TRAINED] * trained + [SPECIAL] * is_special
        shown.append(text.replace("\n", "↵\n"), " ".join(styles))
        previous = trained
    return shown.append("⟧" * (previous and not color))


def count_tokens(
    examples: Sequence[Example], uncut: Sequence[Example]
) -> dict[str, float]:
    """Numbers of sequences, tokens and trained tokens, and quantiles of lengths.

    Args:
      examples: as trained on.
      uncut: before any was cut or dropped for its length; quantiles are of these.
    """
    rows = [row for example in examples for row in example.sequences]
    tokens = sum(len(row.tokens) for row in rows)
    trained = sum(int(row.mask.sum()) for row in rows)
    uncut_rows = [row for example in uncut for row in example.sequences]
    return {
        "kept": len(examples),
        "sequences": len(rows),
        "tokens": tokens,
        "trained": trained,
        "share trained": trained / tokens,
        **quantiles("length", np.array([len(row.tokens) for row in uncut_rows])),
        **quantiles("answer", np.array([int(row.mask.sum()) for row in uncut_rows])),
    }


def count_texts(records: Sequence[Record]) -> dict[str, float]:
    """Duplicates, the "longer wins" share of pairs, and lengths of texts in characters.

    Args:
      records: of one kind, before any was cut or dropped.
    """
    keys = [row_keys.row_key(record) for record in records]
    counts: dict[str, float] = {"duplicates": data_statistics.duplicate_count(keys)}
    share = data_summary.longer_wins(records)
    if share is not None:
        counts["longer wins"] = share.mean
    for kind, lengths in data_summary.text_lengths(records).items():
        counts |= quantiles(f"{kind} chars", lengths)
    return counts


def quantiles(name: str, values: np.ndarray) -> dict[str, float]:
    """Quantiles of lengths, as whole numbers."""
    lengths = np.quantile(values, QUANTILES, method="inverted_cdf")
    return {f"{name} {q:.0%}": int(x) for q, x in zip(QUANTILES, lengths, strict=True)}


def table(counts: dict[str, dict[str, float]]) -> Table:
    """The counts as a table, one column for each kind of record.

    Lengths are in tokens, or in characters where that is said.
    """
    shown = Table("count")
    for name in counts:
        shown.add_column(name, justify="right")
    for key in dict.fromkeys(key for count in counts.values() for key in count):
        shown.add_row(key, *(cell(count.get(key)) for count in counts.values()))
    return shown


def cell(value: float | None) -> str:
    """A share in percent, a count with commas; a dash where there is none."""
    if value is None:
        return "-"
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}"


if __name__ == "__main__":
    launch(main, Config)
