"""Prepare training data: filters, duplicates, leaks, a held-out split, and a report.

    python -m experiments.prepare --data a.jsonl,b.parquet --dedup --held-out 0.05 \\
        --filter "chars(answer)<=4000" category=helpful --out data/clean
    python -m experiments.dpo --data data/clean --model FOLDER

`--data` takes all that training takes, several with commas between them, of one kind:
pairs, rankings, unpaired answers, SFT data or prompts. In this order rows are removed
by --filter (see `jaxalign.pipeline.row_filters` for all conditions), --drop-identical,
--dedup (equal to an earlier row: Unicode NFKC, case and white space folded),
--near-dedup (MinHash of runs of three words; the prompt with the answers, and each
answer, are at least so similar), --against (a benchmark's prompts) and --max-rows. The
rest is split by a hash of the first user message, as training splits data, so that a
prompt is on one side; a data set with a test split keeps it, and then its prompts are
removed from training.

Writes into OUT:

    train, test           .jsonl or .parquet, as `jaxalign.data.record_rows`
                          with all other fields of the rows; `--data OUT` reads both
    removed.jsonl         every removed row, with the reason
    prepare.json          all numbers
    report.md, .html      what was removed, with examples; lengths with lengths.png,
                          "the longer answer wins", scripts, artifacts, warnings
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from jaxalign.data import record_rows, tokenizer
from jaxalign.data.formats import row_writer
from jaxalign.data.records import Prompt, Record
from jaxalign.data.splits import HeldOutSplit, prompt_hashes, select
from jaxalign.evaluation import length_plot
from jaxalign.evaluation.page import Page
from jaxalign.pipeline import (
    data_preparation_report,
    data_selection,
    data_sources,
    data_summary,
    near_duplicates,
    row_filters,
)
from jaxalign.pipeline.data_selection import Selection
from jaxalign.pipeline.data_sources import Item, Source
from jaxalign.runtime import flags, hub
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """Training data: filtered, without duplicates and leaks, split."""

    RANGES: ClassVar = {
        "near_dedup": flags.Range(0, 1, above=True),
        "max_rows": flags.COUNT,
    }
    data: str
    """Files, folders, patterns, published sets, tfds:NAME or ORG/NAME of a hub, with
    commas between them."""
    data_path: str | None = None
    """Path of the named data set: local, or in a bucket (gs://, hf://datasets/...)."""
    kind: Literal["auto", "pairs", "rankings", "unpaired", "sft", "prompts"] = "auto"
    """What to read rows as; auto: as what they are. Pairs can be read as SFT data (the
    chosen answers) or as prompts."""
    filter: tuple[str, ...] = ()
    """Conditions on the rows that are kept, such as category=helpful, margin>=0.5,
    "source~^reddit" or "tokens(chosen)<=512"."""
    drop_identical: bool = False
    """Remove pairs whose chosen and rejected answers are the same."""
    dedup: bool = False
    """Remove rows that repeat an earlier one, but for case and white space."""
    near_dedup: float | None = None
    """Remove rows that are so similar to an earlier one, such as 0.8 (Jaccard); needs
    datasketch. Held-out and --against prompts are then matched nearly, too."""
    against: str | None = None
    """Data, such as a benchmark, whose prompts are removed; several with commas."""
    max_rows: int | None = None
    """At most so many rows, chosen at random by --seed, before the split."""
    held_out: float = 0.1
    """The share of the prompts that is held out, by a hash of a conversation's first
    user message; data sets with a split of their own keep it."""
    held_out_seed: int = 0
    """Another seed holds out other prompts; --seed does not."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    """The format of the written rows."""
    origin: str = ""
    """A field to add to each row, with the name of its data set."""
    model: str | None = None
    """A Hugging Face folder, or ORG/NAME of a hub, whose tokenizer counts tokens."""
    skip_bad_rows: bool = False
    """Skip and count malformed rows, rather than stop at the first."""
    max_row_chars: int = 1_000_000
    """Length limit of a row in characters; longer ones are malformed."""
    examples: int = 3
    """Removed rows that the report shows of each reason."""


def main(config: Config) -> dict[str, Any]:
    """Reads, selects and splits the rows, writes them and the report.

    Returns:
      The numbers of rows: read, removed, and of each split.

    Raises:
      OSError, ValueError: no such data, a malformed row, an invalid filter, or nothing
        is left.
      ImportError: near duplicates without datasketch.
    """
    filters = [row_filters.parse_filter(text) for text in config.filter]
    if config.near_dedup is not None:
        near_duplicates.load_datasketch()
    count_tokens = token_counter(config.model)
    reading = run_config(config)
    sources = data_sources.load_datasets(reading, config.data)
    with ReportRun(config, "prepare") as run:
        kind, read = data_sources.read_sources(sources, config.kind)
        for source in read:
            run.say(f"prepare: {source.name}: {kind}, {source.report}")
        selection = Selection(with_origins(read, config.origin))
        before = selection.records
        data_selection.apply_filters(selection, filters, count_tokens)
        remove_rows(config, reading, selection)
        rule = HeldOutSplit(config.held_out, config.held_out_seed)
        held_out = data_selection.held_out_mask(selection, rule)
        held_out = data_selection.remove_leaks(selection, held_out, config.near_dedup)
        splits = {
            "train": select(selection.records, ~held_out),
            "test": select(selection.records, held_out),
        }
        numbers = describe(config, kind, read, before, selection, splits)
        write_rows(config, run.folder, splits, selection)
        run.write_json("prepare.json", numbers)
        for warning in numbers["warnings"]:
            run.note(warning)
        plot = length_plot.plot_lengths(
            run.folder / "lengths.png",
            data_summary.text_lengths(selection.records),
        )
        parts = data_preparation_report.sections(
            numbers, selection.removed, plot, examples=config.examples
        )
        command = config_command(config, "experiments.prepare")
        run.publish(Page("Prepared data", parts, command), tables=4)
        run.say(f"prepare: train on these rows with --data {run.folder}")
        names = ("rows_read", "rows_removed", "train", "test", "prompts_in_both")
        return run.finish({name: numbers[name] for name in names})


def run_config(config: Config) -> RunConfig:
    """The flags by which data sets are read."""
    return RunConfig(
        seed=config.seed,
        data_path=config.data_path,
        skip_bad_rows=config.skip_bad_rows,
        max_row_chars=config.max_row_chars,
    )


def token_counter(model: str | None) -> Callable[[str], int] | None:
    """The number of tokens of a text for the tokenizer of a model; None without one."""
    if model is None:
        return None
    loaded = tokenizer.load(hub.model_folder(model))
    encode = loaded.backend_tokenizer.encode
    return lambda text: len(encode(text, add_special_tokens=False).ids)


def with_origins(read: list[Source], origin: str) -> list[Item]:
    """The rows of all data sets, with the name of the data set as another field.

    Raises:
      ValueError: rows have that field already.
    """
    items = [item for source in read for item in source.items]
    if not origin:
        return items
    for item in items:
        if origin in record_rows.to_row(item.record):
            raise ValueError(
                f"--origin {origin}: {item.record.location} has that field already; "
                "choose another name"
            )
    return [
        item._replace(record=record_rows.with_field(item.record, origin, item.origin))
        for item in items
    ]


def remove_rows(config: Config, reading: RunConfig, selection: Selection) -> None:
    """The steps after the filters and before the split."""
    data_selection.check_layout(selection, skip=config.skip_bad_rows)
    if config.drop_identical:
        data_selection.remove_identical(selection)
    if config.dedup:
        data_selection.remove_duplicates(selection)
    if config.near_dedup is not None:
        data_selection.remove_near_duplicates(selection, config.near_dedup)
    if config.against is not None:
        with flags.prefix_errors("--against"):
            sources = data_sources.load_datasets(reading, config.against)
            _, read = data_sources.read_sources(sources, "prompts")
        prompts: list[Prompt] = [x.record for source in read for x in source.items]
        data_selection.remove_contaminated(selection, prompts, config.near_dedup)
    if config.max_rows is not None:
        data_selection.keep_at_most(selection, config.max_rows, config.seed)


def describe(
    config: Config,
    kind: str,
    read: list[Source],
    before: list[Record],
    selection: Selection,
    splits: dict[str, list[Record]],
) -> dict[str, Any]:
    """What prepare.json holds: the steps, and statistics before and after."""
    summary = data_summary.summarize(before, seed=config.seed)
    train, test = (prompt_hashes(records) for records in splits.values())
    states = any(item.held_out is not None for item in selection.items)
    rule = HeldOutSplit(config.held_out, config.held_out_seed)
    return {
        "kind": kind,
        "data": [source.name for source in read],
        "reports": {source.name: source.report for source in read},
        "rows_read": len(before),
        "rows_removed": len(selection.removed),
        "steps": selection.steps,
        **{name: len(records) for name, records in splits.items()},
        "rule": "as the data sets state it" if states else str(rule),
        "prompts_in_both": len(np.intersect1d(train, test)),
        "warnings": data_preparation_report.warnings(summary),
        "longer_wins_by_data": {
            source.name: data_summary.longer_wins(
                [item.record for item in source.items], seed=config.seed
            )
            for source in read
        },
        "read": summary,
        **{
            f"{name}_summary": data_summary.summarize(records, seed=config.seed)
            if records
            else None
            for name, records in splits.items()
        },
    }


def write_rows(
    config: Config,
    folder: Path,
    splits: dict[str, list[Record]],
    selection: Selection,
) -> None:
    """Writes the splits that have rows, and the removed rows."""
    write = row_writer.WRITERS[config.format]
    for name, records in splits.items():
        if records:
            path = folder / f"{name}.{config.format}"
            write(path, [record_rows.to_row(record) for record in records])
    removed = [
        {
            "location": row.record.location,
            "reason": row.reason,
            "detail": row.detail,
            "row": record_rows.to_row(row.record),
        }
        for row in selection.removed
    ]
    row_writer.write_json_lines(folder / "removed.jsonl", removed)


if __name__ == "__main__":
    launch(main, Config)
