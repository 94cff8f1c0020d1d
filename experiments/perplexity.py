"""How well a language model predicts texts: NLL a token, perplexity, bits per byte.

    python -m experiments.perplexity --model FOLDER --data book.txt,articles.jsonl
    python -m experiments.perplexity --model STORIES260K --data tinystories_1mb.txt \\
        --documents stories --long-texts cut    # 1.57567 nats

A text file is one document, or many, as --documents says; of a file of rows (JSON
lines, CSV, Parquet ...) each row's --field is a document. Documents do not see each
other. Each begins with the model's beginning-of-sequence token (end of sequence where
it has none), so that every token is predicted exactly once, also the first. A document
longer than the context is read in windows: each after the first predicts --stride
tokens with all of the context that is left before them (a smaller stride is slower, and
the perplexity a little lower).

Only bits per byte compare models with different tokenizers. Intervals are over
documents; of fewer than 20, over windows as if they were independent, which is
too narrow where neighboring windows are alike.

Writes OUT/windows-K.jsonl for model K (tokens, bytes and NLL of each window),
documents.json (of the first model), numbers.json, and a page (report.md, report.html).
--resume goes on after the windows that were saved.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxalign.data import text_documents
from jaxalign.data.text_documents import Document, Layout
from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import Groups, TableRow
from jaxalign.evaluation.page import Page, Section
from jaxalign.evaluation.perplexity import LongTexts, text_statistics
from jaxalign.evaluation.report import Row
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation import row_fields, text_nll
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.pipeline.evaluation.text_nll import TokenizedTexts
from jaxalign.pipeline.policies import Policy
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows
from jaxalign.runtime.split_flags import SplitFlags

FEW_DOCUMENTS = 20  # with fewer, windows are the units of intervals
SHOWN = 5  # documents that are predicted worst and best
SHOWN_CHARACTERS = 100  # of each of them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, EvaluationConfig):
    """NLL, perplexity and bits per byte of texts."""

    model: str
    """A Hugging Face folder (every run writes one) or ORG/NAME of a hub; several with
    commas between them."""
    data: str
    """Text files (.txt, .md) and files of rows (.jsonl, .csv, .parquet ...), with
    commas between them."""
    field: str = "text"
    """The field of rows that holds the text."""
    documents: Layout = "file"
    """What a document of a text file is: the file, each of its lines, what stands
    between empty lines, or stories in TinyStories' layout, which single line breaks
    separate."""
    long_texts: LongTexts = "windows"
    """Read documents longer than the context in windows, or cut them to it."""
    stride: int | None = None
    """Tokens that a window after a document's first predicts; by default half of the
    context."""
    score_end: bool = False
    """Predict the end-of-sequence token after each document, too."""


def main(config: Config) -> dict[str, Any]:
    """Measures the models on the texts; returns the numbers of each."""
    names = [name.strip() for name in config.model.split(",")]
    with ReportRun(config, "perplexity") as run:
        files = [path.strip() for path in config.data.split(",")]
        documents = text_documents.read_documents(
            files, config.documents, field=config.field
        )
        fields = [document.fields for document in documents]
        groups = by_field.group_rows(fields, config.split_by, "document")
        mesh = evaluation_models.evaluation_mesh(config)
        for name in names:  # refused before the first is measured
            evaluation_models.open_model(config, name)
        tables: dict[str, list[Row]] = {}
        split: dict[str, dict[str, list[TableRow]]] = {}
        by_document: list[Row] = []
        for k, name in enumerate(names, 1):
            with jax.set_mesh(mesh):
                policy = evaluation_models.load_policy(config, name, mesh)
                texts = tokenize(config, policy, documents)
                describe(run, name, policy, texts, len(documents))
                rows = measure(config, run, k, policy, documents, texts)
            tables[name] = summaries(rows, documents)
            split[name] = split_tables(rows, groups)
            by_document = by_document or document_rows(rows, documents)
        table = [
            {"model": name, **row} if len(names) > 1 else row
            for name, by_file in tables.items()
            for row in by_file
        ]
        run.write_json("documents.json", by_document)
        run.publish(page(config, documents, table, by_document, split))
        numbers = {name: by_file[-1] for name, by_file in tables.items()}
        first = numbers[names[0]] if len(names) == 1 else {}
        columns = ("nll", "bits_per_byte", "tokens", "documents")
        named = {n: by_field.named_numbers(own, columns) for n, own in split.items()}
        first = {**first, **named[names[0]]} if len(names) == 1 else first
        of_models = {"by_model": named} if config.split_by and len(names) > 1 else {}
        return run.finish({**first, "files": tables, **of_models})


def tokenize(
    config: Config, policy: Policy, documents: Sequence[Document]
) -> TokenizedTexts:
    """The documents as windows of the policy's context."""
    return text_nll.tokenize_texts(
        policy,
        documents,
        stride=config.stride or policy.context // 2,
        long_texts=config.long_texts,
        score_end=config.score_end,
    )


def describe(
    run: ReportRun, name: str, policy: Policy, texts: TokenizedTexts, documents: int
) -> None:
    """Says how the texts were read, and what a reader of the numbers should know."""
    counts = texts.counts
    begin = policy.tokenizer.convert_ids_to_tokens(text_nll.begin_token(policy))
    run.say(
        f"perplexity: {name}: {documents} documents, {counts['tokens']:,} tokens, each "
        f"document after {begin!r}, in windows of {policy.context} tokens"
    )
    if counts["cut"]:
        run.note(
            f"{name}: {counts['long']} documents are cut to {policy.context} tokens, "
            f"{counts['cut']:,} tokens are left out"
        )
    elif counts["long"]:
        run.note(f"{name}: {counts['long']} documents are read in several windows")
    if counts["unknown"]:
        run.note(
            f"{name}: {counts['unknown']:,} tokens are the unknown token, which hides "
            "text: bits per byte are too low"
        )
    if counts["special"]:
        run.note(
            f"{name}: {counts['special']} documents hold texts of special tokens, "
            "which are read as these tokens"
        )


def measure(
    config: Config,
    run: ReportRun,
    k: int,
    policy: Policy,
    documents: Sequence[Document],
    texts: TokenizedTexts,
) -> list[dict[str, Any]]:
    """A row for each window, with the NLL of its tokens in nats."""

    def make(items: range) -> list[dict[str, Any]]:
        windows = texts.windows[items.start : items.stop]
        sums = text_nll.window_nll(policy, windows, config.rows)
        return [
            {
                "document": one.document,
                "location": documents[one.document].location,
                "first": one.window.first_scored - 1,
                "tokens": one.window.stop - one.window.first_scored,
                "bytes": one.byte_count,
                "nll": float(nll),
            }
            for one, nll in zip(windows, sums, strict=True)
        ]

    return resumable_rows(
        run.folder / f"windows-{k}.jsonl",
        len(texts.windows),
        make,
        chunk=text_nll.WINDOWS_PER_CHUNK,
        resume=config.resume,
        progress=lambda left: run.progress(left, "batches of windows"),
    )


def summaries(
    rows: Sequence[dict[str, Any]], documents: Sequence[Document]
) -> list[Row]:
    """The numbers of each file, and of all together in the last row."""
    files = list(dict.fromkeys(document.file for document in documents))
    file_of = [documents[row["document"]].file for row in rows]
    parts = {
        file: [row for row, name in zip(rows, file_of, strict=True) if name == file]
        for file in files
    }
    parts = {name: part for name, part in parts.items() if part}
    table = [summary(name, part) for name, part in parts.items()]
    return table if len(parts) == 1 else [*table, summary("all", rows)]


def summary(name: str, rows: Sequence[dict[str, Any]]) -> Row:
    """The numbers of some windows."""
    column = lambda field: np.array([row[field] for row in rows])
    count = len(set(column("document").tolist()))
    units = column("document") if count >= FEW_DOCUMENTS else np.arange(len(rows))
    found = text_statistics(column("nll"), column("tokens"), column("bytes"), units)
    return {
        "text": name,
        "documents": count,
        "tokens": int(column("tokens").sum()),
        "bytes": round(column("bytes").sum()),
        **found._asdict(),
        "unit": "document" if count >= FEW_DOCUMENTS else "window",
    }


def split_tables(
    rows: Sequence[dict[str, Any]], groups: Groups
) -> dict[str, list[TableRow]]:
    """The numbers of the windows of each group of documents, a table a field."""
    place = np.array([row["document"] for row in rows])
    tables: dict[str, list[TableRow]] = {}
    for field, of_windows in by_field.select(groups, place).items():
        tables[field] = []
        for group in by_field.group_order(of_windows):
            part = [rows[i] for i in np.flatnonzero(of_windows == group).tolist()]
            numbers = {k: x for k, x in summary(group, part).items() if k != "text"}
            tables[field].append({"group": group} | numbers)
    return tables


def document_rows(
    rows: Sequence[dict[str, Any]], documents: Sequence[Document]
) -> list[Row]:
    """The numbers of each document, those that are predicted worst first."""
    sums = np.zeros((len(documents), 3))
    for row in rows:
        sums[row["document"]] += row["nll"], row["tokens"], row["bytes"]
    read = np.flatnonzero(sums[:, 1])
    bits = sums[read, 0] / np.log(2) / sums[read, 2]
    return [
        {
            "document": documents[i].location,
            "tokens": int(sums[i, 1]),
            "nll": sums[i, 0] / sums[i, 1],
            "bits_per_byte": sums[i, 0] / np.log(2) / sums[i, 2],
            "text": " ".join(documents[i].text[: 2 * SHOWN_CHARACTERS].split())[
                :SHOWN_CHARACTERS
            ],
        }
        for i in read[np.argsort(-bits, kind="stable")]
    ]


def page(
    config: Config,
    documents: Sequence[Document],
    table: Sequence[Row],
    by_document: Sequence[Row],
    split: dict[str, dict[str, list[TableRow]]],
) -> Page:
    """The report: a table of models and files, and the extreme documents."""
    text = (
        f"{config.data}, {len(documents)} documents. NLL in nats a token; perplexity "
        "is exp(NLL); bits per byte of the UTF-8 text compare models with different "
        "tokenizers, the others do not. Intervals are over the unit in the last "
        "column."
    )
    sections = [Section("Prediction of the texts", text, table)]
    for model, own in split.items():
        title = f", {model}" if len(split) > 1 else ""
        sections += [
            dataclasses.replace(section, title=f"{section.title}{title}")
            for section in row_fields.split_sections(own)
        ]
    if len(by_document) > 2 * SHOWN:
        extremes = [*by_document[:SHOWN], *by_document[-SHOWN:]]
        how = f"Of {next(iter(split))}, by bits per byte; documents.json has all."
        sections.append(Section("Predicted worst, and best", how, extremes))
    return Page(
        "Perplexity", sections, config_command(config, "experiments.perplexity")
    )


if __name__ == "__main__":
    launch(main, Config)
