"""What the frozen reference says of each row: computed once, kept, found by row."""

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
    """The reference's log-probs of rows, sums over answer tokens, on the host.

    Attributes:
      row: row ids, rising.
      sums: of pairs [rows, 4]: chosen and rejected, then both over their shared length;
        of unpaired answers [rows, 2]: the answer and the mismatched one.
    """

    row: np.ndarray
    sums: np.ndarray

    def find(self, rows: Array, valid: Array) -> np.ndarray:
        """The sums of these rows, [B, 4] or [B, 2]; 0 where not valid.

        Raises:
          KeyError: a row that was not scored.
        """
        rows, valid = sharding.to_host(rows), sharding.to_host(valid)
        at = np.minimum(np.searchsorted(self.row, rows), max(len(self.row) - 1, 0))
        found = self.row[at] == rows if len(self.row) else np.zeros(rows.shape, bool)
        missing = rows[valid & ~found]
        if missing.size:
            raise KeyError(f"no reference log-probs for rows {missing[:8].tolist()}")
        if not len(self.row):
            return np.zeros((len(rows), self.sums.shape[1]), np.float32)
        return np.where(valid[:, None], self.sums[at], np.float32(0.0))

    def attach(self, batch: Any) -> Any:
        """The batch with the reference's log-probs of its rows.

        To be called on the host, before the batch is placed on a mesh.
        """
        return batch.with_reference(*self.find(batch.row, batch.valid).T)


def reference_logp_fn(
    model: LanguageModel, *, chunk: int | None = None
) -> Callable[[Params, Batch], Array]:
    """The compiled (params, batch) -> sums, as `ReferenceLogps` has them."""

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
    """The reference's summed log-probs of every row of the batches.

    Computed once: with a folder they are kept there, under a fingerprint of the
    parameters and of `data`; a changed reference or changed data is scored anew.

    Args:
      params: the reference's, which never train.
      batches: each row at least once, all of one shape; not read if the folder has
        them.
      data: what identifies the rows: a tree of arrays and strings (the tokenised
        examples, say). Needed with a folder.
      mesh: where the batches go; the parameters must lie there already.

    Raises:
      ValueError: a folder without `data`.
      FloatingPointError: a log-prob is not finite.
    """
    if folder is not None and data is None:
        raise ValueError("keeping log-probs in a folder needs `data`, to know them by")
    path = None
    if folder is not None:
        path = Path(folder) / f"reference-{fingerprint(params, data)}.npz"
        kept = load_cached(path)
        if kept is not None:
            return kept
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
    """Scores batch after batch, each fetched while the next one runs."""
    parts: list[tuple[np.ndarray, ...]] = []
    pending = None
    for batch in batches:
        placed = sharding.place_batch(batch, mesh)
        ahead = (placed.row, placed.valid, score(params, placed))
        if pending is not None:
            parts.append(tuple(map(sharding.to_host, pending)))
        pending = ahead
    if pending is None:
        raise ValueError("no batches to score")
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
    """What was kept, or None if there is nothing or it is damaged."""
    try:
        # numpy leaves a damaged file open where it opened it itself.
        with path.open("rb") as file, np.load(file) as kept:
            return ReferenceLogps(kept["row"], kept["sums"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write_cached(path: Path, scores: ReferenceLogps) -> None:
    """Writes the log-probs to a file, whole or not at all."""
    with atomic_path(path) as part, part.open("wb") as file:
        np.savez(file, **dataclasses.asdict(scores))
