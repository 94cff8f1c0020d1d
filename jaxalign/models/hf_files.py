"""The files of a Hugging Face folder: config.json, and tensors in safetensors.

Never pickle, never remote code.
"""

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxalign import json_files, messages
from jaxalign.models.hf_layout import TensorMapping

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TEMP_PREFIX = ".new-"  # how the name of a model begins that is being written
DTYPES = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
SHARD_NAME = re.compile(r"(?!\.)[^/\\\0]+\.safetensors")
ROWS = 2**22  # numbers that are compared at a time
# What older folders keep besides parameters: tables of angles, causal masks.
BUFFERS = (".rotary_emb.inv_freq", ".masked_bias", ".attn.bias", ".attention.bias")


def read_config_json(folder: Path) -> dict[str, Any]:
    """What config.json says.

    Raises:
      FileNotFoundError: there is none.
      ValueError: it is not a JSON object.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no model (no config.json)")
    return json_files.read_object(path)


def shard_files(folder: Path) -> dict[str, str]:
    """The files of tensors: one, which goes before an older index, or the index's.

    Returns:
      The file of each tensor that the index names; without one, the only file.

    Raises:
      ValueError: an index of another form, or one that names files elsewhere.
    """
    index = folder / INDEX
    if (folder / SINGLE).exists() or not index.exists():
        return {"": SINGLE}
    places = json_files.read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise ValueError(f"{index}: field 'weight_map' names no file for any tensor")
    for name, shard in places.items():
        if not isinstance(shard, str) or not SHARD_NAME.fullmatch(shard):
            shown = messages.shorten(repr(shard))
            raise ValueError(
                f"{index}: field {f'weight_map.{name}'!r} is {shown}, not the name of "
                "a safetensors file in the same folder"
            )
    return places


def has_weights(folder: Path) -> bool:
    """Whether there are tensors, or an index that names some."""
    return (folder / SINGLE).exists() or (folder / INDEX).exists()


class TensorFiles:
    """The tensors of a folder by name, memory-mapped: only what is sliced is read.

    Raises:
      FileNotFoundError: no safetensors, or a shard that the index names is missing.
      ValueError: a file that is cut short.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, Any] = {}
        self.paths: dict[str, Path] = {}
        places = shard_files(folder)
        for shard in sorted(set(places.values())):
            path = folder / shard
            if not path.exists():
                raise FileNotFoundError(f"{folder} lacks {shard}")
            try:
                file = safe_open(path, framework="numpy").__enter__()
            except (SafetensorError, OSError, ValueError) as error:
                why = messages.one_line(error)
                raise ValueError(f"{path} is damaged or cut short: {why}") from error
            for name in file.keys():
                if name not in self.files or places.get(name) == shard:
                    self.files[name], self.paths[name] = file, path

    def __contains__(self, name: str) -> bool:
        return name in self.files

    @property
    def dtype(self) -> str:
        """The type of the largest tensor, the embedding as a rule: float32, ..."""
        parts = (file.get_slice(name) for name, file in self.files.items())
        largest = max(parts, key=lambda x: math.prod(x.get_shape()), default=None)
        return DTYPES.get(largest.get_dtype() if largest else "F32", "float32")

    def __call__(self, weight: TensorMapping) -> Any:
        """The tensor of which a weight is a part, to be sliced."""
        return self.files[weight.name].get_slice(weight.name)

    def rename(self, names: Mapping[str, str]) -> None:
        """Calls tensors as newer folders do, where they are not there already."""
        for old, new in names.items():
            if old in self.files and new not in self.files:
                self.files[new] = RenamedTensor(self.files.pop(old), old)
                self.paths[new] = self.paths.pop(old)

    def ties(self, embed: TensorMapping, unembed: TensorMapping) -> bool:
        """Whether one of two tensors is missing, or they are equal in every number."""
        if unembed.name not in self or embed.name not in self:
            return True
        one, other = self(embed), self(unembed)
        rows = embed.shape[0]
        step = max(1, ROWS * rows // max(1, math.prod(embed.shape)))
        starts = range(0, rows, step)
        cuts = (slice(start, min(start + step, rows)) for start in starts)
        return all(np.array_equal(one[cut], other[cut]) for cut in cuts)

    def check(self, table: list[TensorMapping], spare: Iterable[str]) -> None:
        """Refuses tensors that do not fit the table, before any is read.

        Args:
          spare: names that may be there and are not used.

        Raises:
          ValueError: names the tensors.
        """
        wanted = {weight.name for weight in table}
        missing = [weight.name for weight in table if weight.name not in self]
        unused = sorted(
            name
            for name in set(self.files) - wanted - set(spare)
            if not name.endswith(BUFFERS)
        )
        if missing or unused:
            raise ValueError(
                f"{self.folder}: {len(missing)} tensors are missing ({missing[:3]}) "
                f"and {len(unused)} are not of this architecture ({unused[:3]})"
            )
        self.check_shapes(table)

    def check_shapes(self, table: Iterable[TensorMapping]) -> None:
        """Refuses tensors of other shapes or types than the table's, where there.

        Raises:
          ValueError: names the tensor.
        """
        for weight in table:
            if weight.name not in self:
                continue
            part = self(weight)
            shape, kind = tuple(part.get_shape()), part.get_dtype()
            where = f"{self.paths[weight.name]}: {weight.name}"
            if shape != weight.shape:
                raise ValueError(
                    f"{where} has shape {shape}; config.json asks for {weight.shape}"
                )
            if kind not in DTYPES:
                raise ValueError(f"{where} is {kind}, not one of {', '.join(DTYPES)}")


class RenamedTensor:
    """A file in which a tensor has an older name."""

    def __init__(self, file: Any, name: str) -> None:
        self.file, self.name = file, name

    def get_slice(self, name: str) -> Any:
        """The tensor, whatever it is called."""
        return self.file.get_slice(self.name)


def plan_shards(sizes: Mapping[str, int], max_bytes: int) -> list[list[str]]:
    """Tensors in files of at most `max_bytes` bytes, or of one tensor that is larger.

    >>> plan_shards({"a": 3, "b": 3, "c": 9, "d": 1}, 6)
    [['a', 'b'], ['c'], ['d']]
    """
    files: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if files[-1] and held + size > max_bytes:
            files.append([])
            held = 0
        files[-1].append(name)
        held += size
    return files


def write(
    folder: Path,
    settings: Mapping[str, Mapping[str, Any] | str],
    sizes: Mapping[str, int],
    tensor: Callable[[str], np.ndarray],
    *,
    max_shard_bytes: int,
) -> None:
    """Writes a model: all of it, and then in place of what was there.

    The first of many processes writes; the others help it to gather the tensors.

    Args:
      settings: the JSON files, and texts.
      sizes: bytes of each tensor.
      tensor: makes one of them; one file's are held at a time.
      max_shard_bytes: bytes of a file.

    Raises:
      OSError: the folder cannot be written; what was there is still there.
    """
    files = plan_shards(sizes, max_shard_bytes)
    names = [
        f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))
    ]
    names = names if len(files) > 1 else [SINGLE]
    texts = dict(settings)
    if len(files) > 1:
        where = {x: name for name, file in zip(names, files, strict=True) for x in file}
        total = {"total_size": sum(sizes.values())}
        texts[INDEX] = {"metadata": total, "weight_map": where}
    if jax.process_index():
        for name in sizes:
            tensor(name)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=TEMP_PREFIX) as new:
            for name, file in zip(names, files, strict=True):
                held = {x: tensor(x) for x in file}
                save_file(held, Path(new, name), metadata={"format": "pt"})
            for name, text in texts.items():
                shown = text if isinstance(text, str) else json.dumps(text, indent=2)
                Path(new, name).write_text(f"{shown.rstrip()}\n", encoding="utf-8")
            mode = Path(new, next(iter(texts))).stat().st_mode  # save_file's is 0600
            for name in (*names, *texts):
                Path(new, name).chmod(mode)
                os.replace(Path(new, name), folder / name)
        for stale in stale_files(folder, {*names, *texts}):
            stale.unlink()
        for half in folder.glob(f"{TEMP_PREFIX}*"):  # of writers that were killed
            shutil.rmtree(half, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OSError(f"cannot write the model to {folder}: {error}") from error


def stale_files(folder: Path, written: set[str]) -> list[Path]:
    """Tensors of an earlier model in the same folder, and their index."""
    old = [*folder.glob("model-*-of-*.safetensors"), folder / SINGLE, folder / INDEX]
    return [path for path in old if path.name not in written and path.exists()]
