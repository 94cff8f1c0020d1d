"""Patterns over parameter names: which leaves of a parameter tree are trainable.

A pattern is consecutive names of a path in the tree, joined by dots, with `*` for any
letters; `[start:stop]` selects some layers only, and `|` joins patterns:

    embed                        the embedding
    attention.query|unembed      the queries of all layers, and the unembedding
    blocks[2:]|norm              all but the first two layers, and the final norm
"""

import fnmatch
import re
from typing import TYPE_CHECKING

import jax.numpy as jnp

from jaxalign import lazy, messages
from jaxalign.models.lazy_weights import LAYERS_KEY
from jaxalign.types import Params

if TYPE_CHECKING:
    from flax import traverse_util
else:
    traverse_util = lazy.module("flax.traverse_util")


Path = tuple[str, ...]
MATRICES = "attention.*|feed_forward.*"  # those of the layers
RANGE = re.compile(r"\[(-?\d*):(-?\d*)\]")


def matching_leaves(params: Params, pattern: str) -> dict[Path, slice]:
    """The leaves that match a pattern, each with its selected layers.

    >>> tree = {"embed": jnp.ones((2, 2)), "unembed": jnp.ones(2)}
    >>> list(matching_leaves(tree, "embed"))
    [('embed',)]

    Returns:
      Path -> layers; `slice(None)` for all.

    Raises:
      ValueError: a part of the pattern that matches nothing (similar names are
        suggested), a leaf that matches twice, or layers out of range.
    """
    leaves = traverse_util.flatten_dict(params)
    matches: dict[Path, slice] = {}
    for part in (part.strip() for part in pattern.split("|")):
        bounds = RANGE.search(part)
        names = RANGE.sub("", part).split(".")
        paths = [path for path in leaves if is_subpath(names, path)]
        if not paths:
            raise ValueError(
                f"no parameter matches {part!r}{suggestion(names, leaves)}"
            )
        for path in paths:
            if path in matches:
                raise ValueError(f"{'.'.join(path)} is matched twice by {pattern!r}")
            matches[path] = slice(None)
            if bounds:
                matches[path] = layer_range(
                    part, path, leaves[path].shape, *bounds.groups()
                )
    return matches


def is_subpath(names: list[str], path: Path) -> bool:
    """Whether the names match consecutive names of a path."""
    ends = range(len(names), len(path) + 1)
    matches = lambda part: all(map(fnmatch.fnmatchcase, part, names))
    return any(matches(path[end - len(names) : end]) for end in ends)


def suggestion(names: list[str], leaves: dict[Path, object]) -> str:
    """The end of an error message: names that are similar, or all names."""
    subpaths = {
        ".".join(path[i:j])
        for path in leaves
        for i in range(len(path))
        for j in range(i + 1, len(path) + 1)
    }
    near = messages.nearest_names(".".join(names), sorted(subpaths))
    if near:
        return f": did you mean {' or '.join(near)}?"
    return f"; there are {', '.join(sorted('.'.join(path) for path in leaves))}"


def layer_range(
    part: str, path: Path, shape: tuple[int, ...], start: str, stop: str
) -> slice:
    """The layers from `start` to `stop`, as non-negative indices.

    Args:
      part: of the pattern, for messages.
      path, shape: of the leaf.
      start, stop: numbers, or empty for the ends.

    Raises:
      ValueError: a leaf outside the layers, or an empty range.
    """
    if LAYERS_KEY not in path:
        raise ValueError(f"{part!r} selects layers; {'.'.join(path)} has none")
    bounds = slice(int(start) if start else None, int(stop) if stop else None)
    first, last, _ = bounds.indices(shape[0])
    if first >= last:
        raise ValueError(f"{part!r} selects none of the {shape[0]} layers")
    return slice(first, last)


def select_trainable(params: Params, pattern: str) -> Params:
    """The trainable leaves, or layers of leaves, that match a pattern.

    Raises:
      ValueError: as `matching_leaves`.
    """
    leaves, matches = (
        traverse_util.flatten_dict(params),
        matching_leaves(params, pattern),
    )
    trainable = {
        path: leaves[path] if layers == slice(None) else leaves[path][layers]
        for path, layers in matches.items()
    }
    return traverse_util.unflatten_dict(trainable)


def merge_trainable(params: Params, trainable: Params, pattern: str) -> Params:
    """The full parameters with the trainable ones in their place.

    merge_trainable(p, select_trainable(p, pattern), pattern) = p

    Where some layers of a leaf are trainable, the leaf is copied.

    Raises:
      ValueError: as `matching_leaves`.
    """
    leaves, new = (
        traverse_util.flatten_dict(params),
        traverse_util.flatten_dict(trainable),
    )
    for path, layers in matching_leaves(params, pattern).items():
        part = new[path]
        is_whole = layers == slice(None)
        old = leaves[path]
        leaves[path] = part if is_whole else jnp.asarray(old).at[layers].set(part)
    return traverse_util.unflatten_dict(leaves)
