"""Rows that are split over devices: each device's share is worked on by itself."""

from collections.abc import Callable
from typing import Any

import jax

from jaxalign import sharding
from jaxalign.types import Array


def shard_count(rows: int) -> int:
    """Into how many shares so many rows are split: 1 where they do not divide."""
    split = sharding.shard_count("batch")
    return 1 if rows % split else split


def map_shards(shares: int, function: Callable[..., Any], *trees: Any) -> Any:
    """What a function makes of each share's rows, one share behind the other.

    Indices are within the share, so that no row leaves its device.
    """
    if shares == 1:
        return function(*trees)
    split = lambda x: x.reshape(shares, -1, *x.shape[1:])
    joined = lambda x: x.reshape(-1, *x.shape[2:])
    return jax.tree.map(joined, jax.vmap(function)(*jax.tree.map(split, trees)))


def take_rows(rows: Any, at: Array) -> Any:
    """The rows in these places."""
    return jax.tree.map(lambda x: x[at], rows)


def put_rows(rows: Any, at: Any, new: Any) -> Any:
    """Rows with new ones in these places; nothing where a place is beyond the last."""
    return jax.tree.map(lambda x, y: x.at[at].set(y, mode="drop"), rows, new)
