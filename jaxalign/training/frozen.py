"""Roles that never change, the reference or the reward: written once a run."""

import os
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from jaxalign.training.reference_cache import fingerprint
from jaxalign.types import Params

Folder = str | os.PathLike[str]


def template(tree: Any) -> Any:
    """Shapes, types and places of a tree of arrays."""
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=getattr(x, "sharding", None)
        ),
        tree,
    )


def frozen_path(folder: Folder, role: str) -> Path:
    """Where a role that never changes is kept."""
    return Path(folder).absolute() / "frozen" / role


def save_frozen(folder: Folder, role: str, params: Params) -> bool:
    """Writes a role that never changes; False if these parameters are there already.

    Other parameters of an earlier run in the same folder are replaced.

    Raises:
      OSError: they could not be written.
    """
    path = frozen_path(folder, role)
    mark, known = path.with_suffix(".fingerprint"), fingerprint(params)
    if path.is_dir() and mark.is_file() and mark.read_text() == known:
        return False
    try:
        mark.unlink(missing_ok=True)
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, params, force=True)
        if jax.process_index() == 0:
            mark.write_text(known)
    except (OSError, ValueError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise OSError(f"the {role} could not be written to {path}: {first}") from error
    return True


def load_frozen(folder: Folder, role: str, like: Params) -> Params:
    """Reads a frozen role, onto the devices where `like` lies.

    Raises:
      FileNotFoundError: it was never written.
    """
    path = frozen_path(folder, role)
    if not path.is_dir():
        raise FileNotFoundError(f"no frozen {role} in {path.parent}")
    with ocp.StandardCheckpointer() as checkpointer:
        return checkpointer.restore(path, template(like))
