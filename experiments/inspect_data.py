"""What a model will be trained on: examples with the trained tokens marked, and counts.

Trained tokens are green (or between ⟦ and ⟧ where there is no colour), special tokens
reversed, line ends shown. Nothing is trained and nothing is written.

    python -m experiments.inspect_data --data hh-rlhf --data-path FOLDER --model FOLDER
    python -m experiments.inspect_data --data answers.jsonl --all-turns
"""

import dataclasses
import functools
import itertools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import rich
from rich.console import Console
from rich.table import Table
from rich.text import Text
from transformers import PreTrainedTokenizerFast

from jaxalign.data import chat
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import Record
from jaxalign.data.tokenize import tokenize
from jaxalign.data.tokenizer import special_token_texts, token_id
from jaxalign.pipeline import datasets, policies
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import RunConfig

TRAINED, SPECIAL = "green", "reverse"
SIDES = {"demonstrations": [""], "pairs": ["chosen", "rejected"], "unpaired": [""]}
QUANTILES = (0.0, 0.5, 0.9, 0.99, 1.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RunConfig):
    """Examples as a model is trained on them, and counts."""

    examples: int = 2
    """Examples to print of each kind."""
    first: int = 0
    """Which example to begin with."""
    all_turns: bool = False
    """Train on every answer in a demonstration, not the last alone."""


def main(config: Config, console: Console | None = None) -> dict[str, dict[str, float]]:
    """Prints examples and counts; returns the counts of each kind of record."""
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
    for name, records in kinds(source):
        try:
            found = records()
        except ValueError as error:
            console.print(f"\nno {name}: {error}", markup=False, highlight=False)
            continue
        with_context = functools.partial(
            tokenize, found, tokenizer, all_turns=config.all_turns
        )
        examples, report = with_context(context=context, overlong=config.overlong)
        whole, _ = with_context(context=sys.maxsize)
        console.print(
            f"\n{name}: {report}", style="bold", markup=False, highlight=False
        )
        for example in examples[config.first :][: config.examples]:
            where = found[example.row].location.rpartition("/")[2]
            show(console, tokenizer, example, where, SIDES.get(name))
        counts[name] = {"rows": report.total} | count_tokens(examples, whole)
    console.print(table(counts))
    return counts


def kinds(
    source: datasets.Dataset,
) -> list[tuple[str, Callable[[], Sequence[Record]]]]:
    """The training records of each kind that a source may have."""
    found: list[tuple[str, Callable[[], Any]]] = [
        ("demonstrations", lambda: source.demonstrations()[0]),
        ("pairs", lambda: source.preferences()[0]),
    ]
    if source.has_rankings:
        found.append(("rankings", lambda: source.rankings()[0]))
    if source.has_unpaired:
        found.append(("unpaired", lambda: source.unpaired()[0]))
    return found


def show(
    console: Console,
    tokenizer: PreTrainedTokenizerFast,
    example: Example,
    where: str,
    sides: Sequence[str] | None,
) -> None:
    """Prints the sequences of an example."""
    names = sides or [f"rank {k}" for k, _ in enumerate(example.sequences, 1)]
    for name, row in zip(names, example.sequences, strict=True):
        trained = int(row.mask.sum())
        title = " ".join(filter(None, (where, name)))
        told = f"{title}: {len(row.tokens)} tokens, {trained} trained"
        console.print(told, style="dim", markup=False, highlight=False)
        console.print(mark_tokens(tokenizer, row, color=bool(console.color_system)))


def mark_tokens(
    tokenizer: PreTrainedTokenizerFast, row: TokenRow, *, color: bool
) -> Text:
    """A sequence as text, trained tokens and special ones told apart."""
    special = {token_id(tokenizer, text) for text in special_token_texts(tokenizer)}
    shown = Text()
    runs = itertools.groupby(
        zip(row.tokens.tolist(), row.mask.tolist(), strict=True),
        key=lambda pair: (pair[1], pair[0] in special),
    )
    before = False
    for (trained, is_special), run in runs:
        text = str(tokenizer.decode([token for token, _ in run]))
        if not color and trained != before:
            shown.append("⟦" if trained else "⟧")
        styles = [TRAINED] * trained + [SPECIAL] * is_special
        shown.append(text.replace("\n", "↵\n"), " ".join(styles))
        before = trained
    return shown.append("⟧" * (before and not color))


def count_tokens(kept: Sequence[Example], whole: Sequence[Example]) -> dict[str, float]:
    """How many tokens there are, how many are trained on, and how long rows are.

    Lengths are those of whole rows, before any is cut or dropped for its length.
    """
    rows = [row for example in kept for row in example.sequences]
    tokens = sum(len(row.tokens) for row in rows)
    trained = sum(int(row.mask.sum()) for row in rows)
    before = [row for example in whole for row in example.sequences]
    return {
        "kept": len(kept),
        "sequences": len(rows),
        "tokens": tokens,
        "trained": trained,
        "share trained": trained / tokens,
        **quantiles("length", np.array([len(row.tokens) for row in before])),
        **quantiles("answer", np.array([int(row.mask.sum()) for row in before])),
    }


def quantiles(name: str, values: np.ndarray) -> dict[str, float]:
    """Quantiles of lengths in tokens, as whole numbers."""
    at = np.quantile(values, QUANTILES, method="inverted_cdf")
    return {f"{name} {q:.0%}": int(x) for q, x in zip(QUANTILES, at, strict=True)}


def table(counts: dict[str, dict[str, float]]) -> Table:
    """The counts, one column a kind of record; lengths are of whole rows, in tokens."""
    shown = Table("count")
    for name in counts:
        shown.add_column(name, justify="right")
    for key in next(iter(counts.values()), {}):
        values = [count[key] for count in counts.values()]
        as_text = [f"{v:.1%}" if isinstance(v, float) else f"{v:,}" for v in values]
        shown.add_row(key, *as_text)
    return shown


if __name__ == "__main__":
    launch(main, Config)
