"""Tokenized examples on disk: written once, chunk by chunk, and read row by row.

A folder holds `tokens` (int32; a trained token t is stored as its complement, ~t), and
arrays that say where each sequence ends and which example it belongs to: for a million
pairs some 50 MB, all that is kept in memory. Rows are read when they are used, so that
any order costs the same, and memory does not grow.
"""

import collections
import concurrent.futures
import contextlib
import fcntl
import gc
import hashlib
import itertools
import json
import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxalign.atomic_files import atomic_path
from jaxalign.data.cached_examples import CachedExamples
from jaxalign.data.examples import example_prompt_hashes
from jaxalign.data.formats import files
from jaxalign.data.formats.files import Paths
from jaxalign.data.records import Record, RowReport, row_number
from jaxalign.data.tokenize import tokenize_usable
from jaxalign.data.tokenizer import fingerprint
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast

CHUNK_RECORDS = 512  # records that are tokenized at once
FORMAT_VERSION = 5  # of a folder's files; folders of another number are rewritten


@contextlib.contextmanager
def write_lock(folder: Path) -> Iterator[bool]:
    """Waits while another run writes the folder; yields whether the folder exists.

    The lock is a file beside the folder; it is released when its process ends.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder.exists()


class Chunk(NamedTuple):
    """Some examples as arrays.

    Attributes:
      tokens: of all sequences, one after the other, in their stored form, int32.
      lengths: tokens of each sequence.
      counts: sequences of each example.
      rows: `Example.row` of each example.
      values: `Example.value` of each example.
      prompts: `Example.prompt_hash` of each example.
      places: the row number of each example in its file, from 1; 0 where unknown.
      files: the name of that file, text.
      report: what became of the records.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    counts: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    label_probs: np.ndarray
    prompts: np.ndarray
    places: np.ndarray
    files: np.ndarray
    report: RowReport


def write(
    folder: Path,
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerFast,
    *,
    workers: int = 0,
    **settings: Any,
) -> CachedExamples:
    """Tokenizes records into a folder, in memory that does not grow with them.

    The folder appears complete or not at all. Where several may write it, see
    `write_lock`.

    Args:
      workers: processes that tokenize; 0 for this process. The result is the same.
      settings: context, overlong and all_turns of `tokenize.tokenize`.

    Raises:
      ValueError: as `tokenize.tokenize`.
    """
    with atomic_path(folder, exclusive=True) as unfinished:
        unfinished.mkdir()
        report = RowReport(0, 0)
        fields = set(Chunk._fields) - {"tokens", "files", "report"}
        arrays: dict[str, list[np.ndarray]] = {name: [] for name in (*fields, "shards")}
        file_ids: dict[str, int] = {}
        with open(unfinished / "tokens", "wb") as file:
            for chunk in tokenize_chunks(records, tokenizer, workers, settings):
                file.write(chunk.tokens.data)
                report += chunk.report
                names, inverse = np.unique(chunk.files, return_inverse=True)
                ids = [file_ids.setdefault(str(name), len(file_ids)) for name in names]
                arrays["shards"].append(np.array(ids, np.int32)[inverse])
                for name in fields:
                    arrays[name].append(getattr(chunk, name))
        if not report.usable:
            context = settings["context"]
            raise ValueError(f"no row can be used, with --context {context}: {report}")
        joined = {name: np.concatenate(parts) for name, parts in arrays.items()}
        np.save(unfinished / "sequence_ends.npy", np.cumsum(joined["lengths"]))
        np.save(unfinished / "example_ends.npy", np.cumsum(joined["counts"]))
        for name in ("rows", "values", "label_probs", "prompts", "places", "shards"):
            np.save(unfinished / f"{name}.npy", joined[name])
        (unfinished / "files.json").write_text(json.dumps(list(file_ids)))
        counts = {
            "read": report.total,
            "kept": report.usable,
            "reasons": report.reasons,
        }
        counts["rows"] = str(getattr(records, "report", ""))
        (unfinished / "report.json").write_text(json.dumps(counts))
    return CachedExamples(folder)


def tokenize_chunks(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerFast,
    workers: int,
    settings: dict[str, Any],
) -> Iterator[Chunk]:
    """Tokenizes records chunk by chunk, in their order, by worker processes or here."""
    numbered = zip(
        itertools.count(0, CHUNK_RECORDS), record_chunks(records), strict=False
    )
    if not workers:
        for first, chunk in numbered:
            yield tokenize_chunk(chunk, tokenizer, first=first, **settings)
        return
    with concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=init_worker,
        initargs=(tokenizer,),
    ) as pool:
        pending: collections.deque[concurrent.futures.Future[Chunk]]
        pending = collections.deque()
        for first, chunk in numbered:
            pending.append(pool.submit(tokenize_in_worker, chunk, first, settings))
            if len(pending) > 2 * workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


def tokenize_chunk(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerFast,
    *,
    context: int,
    overlong: str = "drop",
    all_turns: bool = False,
    first: int = 0,
) -> Chunk:
    """Tokenizes records to arrays; `first` is the number of the first record."""
    examples, report = tokenize_usable(
        records,
        tokenizer,
        context=context,
        overlong=overlong,
        all_turns=all_turns,
        first=first,
    )
    rows = [row for example in examples for row in example.sequences]
    tokens = np.concatenate([np.zeros(0, np.int32), *(row.tokens for row in rows)])
    mask = np.concatenate([np.zeros(0, bool), *(row.mask for row in rows)])
    usable = [records[e.row - first] for e in examples]
    return Chunk(
        np.where(mask, ~tokens, tokens),
        np.array([len(row.tokens) for row in rows], np.int64),
        np.array([len(e.sequences) for e in examples], np.int64),
        np.array([e.row for e in examples], np.int64),
        np.array([e.value for e in examples], np.float32),
        np.array([e.label_prob for e in examples], np.float32),
        example_prompt_hashes(examples),
        np.array([row_number(record) for record in usable], np.int64),
        np.array([record.location.rpartition(":")[0] for record in usable]),
        report,
    )


# the tokenizer of a worker process
WORKER: dict[str, PreTrainedTokenizerFast] = {}


def init_worker(tokenizer: PreTrainedTokenizerFast) -> None:
    """Prepares a worker process; processes replace the tokenizer's own threads."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    gc.freeze()  # else imported objects are scanned again and again: a sixth slower
    WORKER["tokenizer"] = tokenizer


def tokenize_in_worker(
    records: Sequence[Record], first: int, settings: dict[str, Any]
) -> Chunk:
    """`tokenize_chunk` in a worker process, with its tokenizer."""
    return tokenize_chunk(records, WORKER["tokenizer"], first=first, **settings)


def record_chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Splits records into chunks of `CHUNK_RECORDS`."""
    rest = iter(records)
    while chunk := list(itertools.islice(rest, CHUNK_RECORDS)):
        yield chunk


def cache_key(
    path: Paths,
    kind: type[Record],
    tokenizer: PreTrainedTokenizerFast,
    **settings: Any,
) -> str:
    """A name for the result of `write` for these files, tokenizer and settings.

    Files are identified by their names, sizes and times of change.

    Args:
      kind: of the records.
      settings: all that else decides what is written, such as `context`.
    """
    stamps = []
    for name in files.list_all_files(path):
        system, at = files.file_system(name)
        info = system.info(at)
        changed = [info.get(f) for f in ("mtime", "LastModified", "updated", "etag")]
        stamps.append((name, info["size"], *map(str, changed)))
    parts = (
        FORMAT_VERSION,
        stamps,
        kind.__name__,
        fingerprint(tokenizer),
        sorted(settings.items()),
    )
    return hashlib.blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
