"""Precomputed reference log-probs, cached on disk, indexed by row number."""

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.atomic_files import atomic_path
from jaxalign.batches import PairBatch, UnpairedBatch, deinterleave
from jaxalign.training import forward
from jaxalign.types import Array, LanguageModel, Params

Batch = PairBatch | UnpairedBatch


def fingerprint(*trees: Any) -> str:
    """A hash of the names, shapes, types and bytes of trees of arrays and strings.

    The same on any mesh, in any process and on any day.

    >>> fingerprint({"a": np.zeros(2)}) == fingerprint({"a": np.zeros(2)})
    True
    >>> fingerprint({"a": np.zeros(2)}) == fingerprint({"b": np.zeros(2)})
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for tree in trees:
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            array = sharding.to_host(leaf)
            if array.dtype == object:
                raise TypeError(
                    f"cannot fingerprint {type(leaf).__name__}, only arrays"
                )
            header = f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape};"
            digest.update(header.encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(b"|")
    return digest.hexdigest()


@dataclasses.dataclass(frozen=True)
class ReferenceLogps:
    """The reference's log-probs per row, summed over answer tokens, on the host.

    Attributes:
      row: row numbers, ascending [R].
      sums: float32, nats; of pairs [R 4]: chosen and rejected, then both over the first
        tokens, as many as the shorter answer has; of unpaired answers [R 2]: the answer
        and the mismatched answer.
    """

    row: np.ndarray
    sums: np.ndarray

    def find(self, rows: Array, valid: Array) -> np.ndarray:
        """The sums of these rows, [B 4] or [B 2]; 0 where not valid.

        Raises:
          KeyError: a valid row has no log-probs.
        """
        rows, valid = sharding.to_host(rows), sharding.to_host(valid)
        at = np.minimum(np.searchsorted(self.row, rows), max(len(self.row) - 1, 0))
        known = self.row[at] == rows if len(self.row) else np.zeros(rows.shape, bool)
        missing = rows[valid & ~known]
        if missing.size:
            raise KeyError(f"no reference log-probs for rows {missing[:8].tolist()}")
        if not len(self.row):
            return np.zeros((len(rows), self.sums.shape[1]), np.float32)
        return np.where(valid[:, None], self.sums[at], np.float32(0.0))

    def attach(self, batch: Any) -> Any:
        """The batch with the reference log-probs of its rows.

        On the host, before the batch is placed on a mesh.
        """
        return batch.with_reference(*self.find(batch.row, batch.valid).T)


def reference_logp_fn(
    model: LanguageModel, *, chunk: int | None = None
) -> Callable[[Params, Batch], Array]:
    """The compiled function (params, batch) -> `ReferenceLogps.sums` of the batch."""

    @jax.jit
    def score(params: Params, batch: Batch) -> Array:
        rows = batch.rows()
        mask = batch.per_answer(rows.loss_mask)
        logp = forward.token_logps(model, params, rows, chunk=chunk)
        logp = batch.per_answer(logp)
        sums: tuple[Array, ...] = deinterleave(forward.row_sums(logp, mask)[0])
        if not isinstance(batch, UnpairedBatch):
            sums += deinterleave(forward.shared_length_sums(logp, mask))
        return jnp.stack(sums, axis=1)

    return score


def compute_reference_logps(
    model: LanguageModel,
    params: Params,
    batches: Iterable[Batch],
    *,
    data: Any = None,
    folder: str | os.PathLike[str] | None = None,
    chunk: int | None = None,
    mesh: Mesh | None = None,
) -> ReferenceLogps:
    """Computes the reference's summed log-probs of every row, or reads a cache.

    With a folder they are cached there, under a fingerprint of the parameters and of
    `data`: log-probs of a changed reference or of changed data are computed again.

    Args:
      params: the parameters of the reference.
      batches: each row at least once, all of one shape; not read on a cache hit.
      data: a tree of arrays and strings that identifies the rows, such as the tokenized
        examples. Required with a folder.
      folder: of the cache; None caches nothing.
      mesh: on which the batches are placed; the parameters must be there already.

    Raises:
      ValueError: a folder without `data`.
      FloatingPointError: a log-prob is not finite.
    """
    if folder is not None and data is None:
        raise ValueError("a cache in `folder` needs `data`, which identifies its rows")
    path = None
    if folder is not None:
        path = Path(folder) / f"reference-{fingerprint(params, data)}.npz"
        cached = load_cached(path)
        if cached is not None:
            return cached
    scores = score_batches(reference_logp_fn(model, chunk=chunk), params, batches, mesh)
    if path is not None and jax.process_index() == 0:
        write_cached(path, scores)
    return scores


def score_batches(
    score: Callable[[Params, Batch], Array],
    params: Params,
    batches: Iterable[Batch],
    mesh: Mesh | None,
) -> ReferenceLogps:
    """Computes the log-probs batch by batch, fetching each while the next one runs.

    Raises:
      ValueError: there are no batches.
      FloatingPointError: a log-prob is not finite.
    """
    parts: list[tuple[np.ndarray, ...]] = []
    pending = None
    for batch in batches:
        placed = sharding.place_batch(batch, mesh)
        running = (placed.row, placed.valid, score(params, placed))
        if pending is not None:
            parts.append(tuple(map(sharding.to_host, pending)))
        pending = running
    if pending is None:
        raise ValueError("there are no batches to score")
    parts.append(tuple(map(sharding.to_host, pending)))
    row, valid, sums = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not np.isfinite(sums[valid]).all():
        bad = row[valid][~np.isfinite(sums[valid]).all(axis=-1)]
        raise FloatingPointError(
            f"the reference's log-probs of rows {bad[:8].tolist()} are not finite"
        )
    unique, first = np.unique(row[valid], return_index=True)
    return ReferenceLogps(unique, sums[valid][first])


def load_cached(path: Path) -> ReferenceLogps | None:
    """The cached log-probs, or None if there are none or the file is damaged."""
    try:
        # numpy would leave a damaged file open if it opened the file itself
        with path.open("rb") as file, np.load(file) as arrays:
            return ReferenceLogps(arrays["row"], arrays["sums"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write_cached(path: Path, scores: ReferenceLogps) -> None:
    """Writes the log-probs to a file, whole or not at all."""
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, **dataclasses.asdict(scores))
