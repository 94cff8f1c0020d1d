"""Which leaves of a parameter tree train: a pattern, and the two parts of the tree.

A pattern is names of the tree joined by dots, as many as say what is meant, with `*`
for any letters; `[start:stop]` takes some layers only, and `|` joins patterns:

    embed                        the embedding
    attention.query|unembed      the queries of all layers, and the unembedding
    blocks[2:]|norm              all but the first two layers, and the final norm
"""

import fnmatch
import re

import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxalign import messages
from jaxalign.models.lazy_weights import LAYERS_KEY
from jaxalign.types import Params

Path = tuple[str, ...]
MATRICES = "attention.*|feed_forward.*"  # those of the layers
RANGE = re.compile(r"\[(-?\d*):(-?\d*)\]")


def matching_leaves(params: Params, pattern: str) -> dict[Path, slice]:
    """The leaves that a pattern means, and which of their layers.

    >>> list(matching_leaves({"embed": jnp.ones((2, 2)), "unembed": jnp.ones(2)}, "embed"))
    [('embed',)]

    Raises:
      ValueError: a part of the pattern means nothing (near names are suggested), a leaf
        twice, or layers that are not there.
    """
    leaves = flatten_dict(params)
    found: dict[Path, slice] = {}
    for part in (part.strip() for part in pattern.split("|")):
        bounds = RANGE.search(part)
        names = RANGE.sub("", part).split(".")
        meant = [path for path in leaves if is_subpath(names, path)]
        if not meant:
            raise ValueError(
                f"no parameter matches {part!r}{suggestion(names, leaves)}"
            )
        for path in meant:
            if path in found:
                raise ValueError(f"{'.'.join(path)} is matched twice by {pattern!r}")
            found[path] = slice(None)
            if bounds:
                found[path] = layer_range(
                    part, path, leaves[path].shape, *bounds.groups()
                )
    return found


def is_subpath(names: list[str], path: Path) -> bool:
    """Whether the names stand side by side in the path."""
    ends = range(len(names), len(path) + 1)
    matches = lambda run: all(map(fnmatch.fnmatchcase, run, names))
    return any(matches(path[end - len(names) : end]) for end in ends)


def suggestion(names: list[str], leaves: dict[Path, object]) -> str:
    """What may have been meant."""
    runs = {
        ".".join(path[i:j])
        for path in leaves
        for i in range(len(path))
        for j in range(i + 1, len(path) + 1)
    }
    near = messages.nearest_names(".".join(names), sorted(runs))
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f"; there are {', '.join(sorted('.'.join(path) for path in leaves))}"


def layer_range(
    part: str, path: Path, shape: tuple[int, ...], start: str, stop: str
) -> slice:
    """The layers that a range means, in numbers."""
    if LAYERS_KEY not in path:
        raise ValueError(f"{part!r} names layers; {'.'.join(path)} has none")
    bounds = slice(int(start) if start else None, int(stop) if stop else None)
    first, last, _ = bounds.indices(shape[0])
    if first >= last:
        raise ValueError(f"{part!r} means none of the {shape[0]} layers")
    return slice(first, last)


def select_trainable(params: Params, pattern: str) -> Params:
    """The leaves (their layers) that a pattern means: what trains.

    Raises:
      ValueError: see `matching_leaves`.
    """
    leaves, found = flatten_dict(params), matching_leaves(params, pattern)
    trained = {
        path: leaves[path] if rows == slice(None) else leaves[path][rows]
        for path, rows in found.items()
    }
    return unflatten_dict(trained)


def merge_trainable(params: Params, trained: Params, pattern: str) -> Params:
    """The parameters with what trains in its place: `put(p, take(p, s), s)` is `p`.

    Where some layers of a leaf train, a copy of the leaf is made.

    Raises:
      ValueError: see `matching_leaves`.
    """
    leaves, new = flatten_dict(params), flatten_dict(trained)
    for path, rows in matching_leaves(params, pattern).items():
        part = new[path]
        whole = rows == slice(None)
        leaves[path] = part if whole else jnp.asarray(leaves[path]).at[rows].set(part)
    return unflatten_dict(leaves)
