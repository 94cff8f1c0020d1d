"""Whether a checkpoint is of the run that would go on from it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxalign.types import Params


def check_same_config(
    saved: Mapping[str, Any], config: Mapping[str, Any], checkpoint: Path
) -> None:
    """Refuses a checkpoint of another config.

    Raises:
      ValueError: with the fields that differ.
    """
    absent = "(absent)"
    pairs = {
        n: (saved.get(n, absent), config.get(n, absent)) for n in {*saved, *config}
    }
    plain = lambda x: list(x) if isinstance(x, tuple) else x
    differing = {n: p for n, p in sorted(pairs.items()) if p[0] != plain(p[1])}
    if differing:
        listed = ", ".join(
            f"{n}: {a!r} then, {b!r} now" for n, (a, b) in differing.items()
        )
        raise ValueError(
            f"the checkpoint {checkpoint} is of another config ({listed}); resume with "
            "the same one or choose another folder"
        )


def saved_shapes(item: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each array of an item, by its path.

    Raises:
      FileNotFoundError: there is no such item.
    """
    if not item.is_dir():
        raise FileNotFoundError(f"no role {item.name} in the checkpoint {item.parent}")
    handler = ocp.StandardCheckpointHandler()
    try:
        return shapes_by_path(handler.metadata(item))
    finally:
        handler.close()


def check_same_shapes(
    item: Path, saved: Mapping[str, tuple[int, ...]], params: Params
) -> None:
    """Refuses an item whose arrays are not those of the template.

    Raises:
      ValueError: naming the first that differs. Orbax would say so too, at length.
    """
    wanted = shapes_by_path(params)
    for name in sorted({*saved, *wanted}):
        if saved.get(name) != wanted.get(name):
            raise ValueError(
                f"{item} is of another model: {name} has shape "
                f"{saved.get(name, '(absent)')} there and "
                f"{wanted.get(name, '(absent)')} here"
            )


def shapes_by_path(tree: Any) -> dict[str, tuple[int, ...]]:
    """The shape of each array, by its path."""
    paths = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): tuple(x.shape) for path, x in paths}
