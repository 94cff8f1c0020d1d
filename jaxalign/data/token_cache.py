"""Tokenised data on disk: written once, piece by piece, and read row by row.

A folder holds `tokens` (int32; a token that counts is stored as its complement, ~t),
and arrays that say where each sequence ends and which example it belongs to: for a
million pairs some 50 MB, all that is kept in memory. Rows are read when asked for, so
that any order costs the same, and memory does not grow.
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
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign.data.formats import files
from jaxalign.data.formats.files import Paths
from jaxalign.data.records import Record, RowReport, row_number
from jaxalign.data.tokenize import (
    Example,
    TokenRow,
    example_prompt_hashes,
    tokenize_usable,
)
from jaxalign.data.tokenizer import fingerprint

CHUNK_RECORDS = 512  # records that are tokenised at once
FORMAT_VERSION = 5  # of a folder's files; another number makes folders anew


class CachedExamples(Sequence[Example]):
    """Examples of a folder that `write` made.

    Attributes:
      rows: the row of each example in the data set.
      prompts: `splits.prompt_hash` of each example, uint64.
      longest: tokens of the longest sequence.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ends = np.load(folder / "sequence_ends.npy")
        self.last = np.load(folder / "example_ends.npy")
        self.rows = np.load(folder / "rows.npy")
        self.values = np.load(folder / "values.npy")
        self.label_probs = np.load(folder / "label_probs.npy")
        self.prompts = np.load(folder / "prompts.npy")
        self.longest = int(np.diff(self.ends, prepend=0).max())
        self.file = os.open(folder / "tokens", os.O_RDONLY)

    def __del__(self) -> None:
        if hasattr(self, "file"):
            os.close(self.file)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i):  # type: ignore[no-untyped-def]
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[i]
        first, last = self.last[i - 1] if i else 0, self.last[i]
        cuts = [int(self.ends[first - 1]) if first else 0, *self.ends[first:last]]
        begin, end = int(cuts[0]), int(cuts[-1])
        data = os.pread(self.file, 4 * (end - begin), 4 * begin)
        found = np.frombuffer(data, np.int32)
        sequences = tuple(
            decode_row(found[a - begin : b - begin])
            for a, b in itertools.pairwise(cuts)
        )
        return Example(
            sequences,
            int(self.rows[i]),
            float(self.values[i]),
            int(self.prompts[i]),
            label_prob=float(self.label_probs[i]),
        )

    @property
    def sizes(self) -> np.ndarray:
        """Tokens of each example, over its sequences [R]."""
        return np.diff(self.ends[self.last - 1], prepend=0)

    def row_numbers(self, indices: np.ndarray) -> dict[str, list[int]]:
        """The row numbers of examples, by file; from 1, where they are known."""
        places = np.load(self.folder / "places.npy")[indices]
        shards = np.load(self.folder / "shards.npy")[indices]
        names = json.loads((self.folder / "files.json").read_text())
        of = {names[i]: places[shards == i] for i in np.unique(shards)}
        return {name: np.unique(each).tolist() for name, each in of.items()}

    @property
    def rows_report(self) -> str:
        """What became of the rows of the files, where `write` was told."""
        told = json.loads((self.folder / "report.json").read_text())
        return str(told["rows"])

    @property
    def report(self) -> RowReport:
        """What became of the records."""
        told = json.loads((self.folder / "report.json").read_text())
        return RowReport(
            told["read"], told["kept"], collections.Counter(told["reasons"])
        )


def decode_row(stored: np.ndarray) -> TokenRow:
    """A sequence, from its stored form."""
    mask = stored < 0
    return TokenRow(np.where(mask, ~stored, stored), mask)


@contextlib.contextmanager
def write_lock(folder: Path) -> Iterator[bool]:
    """Waits while another run writes the folder; then, whether it is there already.

    The lock is a file beside the folder; it is free again when its process ends.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder.exists()


class Chunk(NamedTuple):
    """Some examples as arrays.

    Attributes:
      tokens: of all sequences, one after the other, in their stored form.
      lengths: of the sequences.
      counts: sequences of each example.
      prompts: `splits.prompt_hash` of each example.
      places: the row number in its file of each example, from 1; 0 where unknown.
      files: the name of that file, text.
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
    """Tokenises records into a folder, in memory that does not grow with them.

    The folder is there whole or not at all. Where several may write it, see `write_lock`.

    Args:
      workers: processes that tokenise; with 0 this one does. The result is the same.
      settings: context, overlong and all_turns of `examples.tokenise`.

    Raises:
      ValueError: as `examples.tokenise`.
    """
    unfinished = folder.with_name(folder.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    report = RowReport(0, 0)
    fields = set(Chunk._fields) - {"tokens", "files", "report"}
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*fields, "shards")}
    index: dict[str, int] = {}  # of files
    with open(unfinished / "tokens", "wb") as file:
        for piece in tokenize_chunks(records, tokenizer, workers, settings):
            file.write(piece.tokens.data)
            report += piece.report
            names, inverse = np.unique(piece.files, return_inverse=True)
            ids = [index.setdefault(str(name), len(index)) for name in names]
            found["shards"].append(np.array(ids, np.int32)[inverse])
            for name in fields:
                found[name].append(getattr(piece, name))
    if not report.usable:
        context = settings["context"]
        raise ValueError(f"no row can be used, with --context {context}: {report}")
    whole = {name: np.concatenate(arrays) for name, arrays in found.items()}
    np.save(unfinished / "sequence_ends.npy", np.cumsum(whole["lengths"]))
    np.save(unfinished / "example_ends.npy", np.cumsum(whole["counts"]))
    for name in ("rows", "values", "label_probs", "prompts", "places", "shards"):
        np.save(unfinished / f"{name}.npy", whole[name])
    (unfinished / "files.json").write_text(json.dumps(list(index)))
    told = {"read": report.total, "kept": report.usable, "reasons": report.reasons}
    told["rows"] = str(getattr(records, "report", ""))
    (unfinished / "report.json").write_text(json.dumps(told))
    unfinished.rename(folder)
    return CachedExamples(folder)


def tokenize_chunks(
    records: Iterable[Record],
    tokenizer: PreTrainedTokenizerFast,
    workers: int,
    settings: dict[str, Any],
) -> Iterator[Chunk]:
    """The records as arrays, in their order, a piece at a time."""
    numbered = zip(
        itertools.count(0, CHUNK_RECORDS), record_chunks(records), strict=False
    )
    if not workers:
        for first, piece in numbered:
            yield tokenize_chunk(piece, tokenizer, first=first, **settings)
        return
    with concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=init_worker,
        initargs=(tokenizer,),
    ) as pool:
        waiting: collections.deque[concurrent.futures.Future[Chunk]]
        waiting = collections.deque()
        for first, piece in numbered:
            waiting.append(pool.submit(tokenize_in_worker, piece, first, settings))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def tokenize_chunk(
    records: Sequence[Record],
    tokenizer: PreTrainedTokenizerFast,
    *,
    context: int,
    overlong: str = "drop",
    all_turns: bool = False,
    first: int = 0,
) -> Chunk:
    """Records, tokenised, as arrays."""
    examples, report = tokenize_usable(
        records,
        tokenizer,
        context=context,
        overlong=overlong,
        all_turns=all_turns,
        first=first,
    )
    found = [row for example in examples for row in example.sequences]
    tokens = np.concatenate([np.zeros(0, np.int32), *(row.tokens for row in found)])
    mask = np.concatenate([np.zeros(0, bool), *(row.mask for row in found)])
    kept = [records[e.row - first] for e in examples]
    return Chunk(
        np.where(mask, ~tokens, tokens),
        np.array([len(row.tokens) for row in found], np.int64),
        np.array([len(e.sequences) for e in examples], np.int64),
        np.array([e.row for e in examples], np.int64),
        np.array([e.value for e in examples], np.float32),
        np.array([e.label_prob for e in examples], np.float32),
        example_prompt_hashes(examples),
        np.array([row_number(record) for record in kept], np.int64),
        np.array([record.location.rpartition(":")[0] for record in kept]),
        report,
    )


# what a worker tokenises with; each is a process of its own
WORKER: dict[str, PreTrainedTokenizerFast] = {}


def init_worker(tokenizer: PreTrainedTokenizerFast) -> None:
    """Makes this process a worker; the processes are the threads here."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    gc.freeze()  # or what was imported is searched anew all the time: a sixth slower
    WORKER["tokenizer"] = tokenizer


def tokenize_in_worker(
    records: Sequence[Record], first: int, settings: dict[str, Any]
) -> Chunk:
    """What a worker does."""
    return tokenize_chunk(records, WORKER["tokenizer"], first=first, **settings)


def record_chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records, so many at a time."""
    rest = iter(records)
    while piece := list(itertools.islice(rest, CHUNK_RECORDS)):
        yield piece


def cache_key(
    path: Paths,
    kind: type[Record],
    tokenizer: PreTrainedTokenizerFast,
    **settings: Any,
) -> str:
    """A name for what `write` makes of files with a tokenizer and these settings.

    Files are told apart by their names, sizes and times of change.
    """
    stamps = []
    for name in files.list_all_files(path):
        system, at = files.file_system(name)
        told = system.info(at)
        changed = [told.get(f) for f in ("mtime", "LastModified", "updated", "etag")]
        stamps.append((name, told["size"], *map(str, changed)))
    decides = (
        FORMAT_VERSION,
        stamps,
        kind.__name__,
        fingerprint(tokenizer),
        sorted(settings.items()),
    )
    return hashlib.blake2b(json.dumps(decides).encode(), digest_size=16).hexdigest()
