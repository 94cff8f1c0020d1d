"""Files of a Hugging Face folder: config.json, and tensors in safetensors.

Pickle files and remote code are never read.
"""

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from jaxalign import json_files, messages
from jaxalign.models.hf_layout import TensorMapping

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
TEMP_PREFIX = ".new-"  # of the temporary folder of a model that is being written
DTYPES = {"F64": "float32", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
SHARD_NAME = re.compile(r"(?!\.)[^/\\\0]+\.safetensors")
COMPARE_SIZE = 2**22  # numbers that are compared at a time
# tensors of older folders that are no parameters: rotary frequencies, causal masks
BUFFERS = (".rotary_emb.inv_freq", ".masked_bias", ".attn.bias", ".attention.bias")


def read_config_json(folder: Path) -> dict[str, Any]:
    """The content of config.json.

    Raises:
      FileNotFoundError: no such folder, or no such file in it.
      ValueError: the file is not a JSON object.
    """
    path = folder / "config.json"
    if not folder.is_dir():
        raise FileNotFoundError(f"no such folder: {folder}")
    if not path.exists():
        raise FileNotFoundError(f"{folder} holds no model (no config.json)")
    return json_files.read_object(path)


def shard_files(folder: Path) -> dict[str, str]:
    """The safetensors file of each tensor.

    A single model.safetensors takes precedence over an index, which is older then.

    Returns:
      Tensor name -> file name, as the index has it; {"": file name} for a single file.

    Raises:
      ValueError: an invalid index, or one that names a file outside the folder.
    """
    index = folder / INDEX
    if (folder / SINGLE).exists() or not index.exists():
        return {"": SINGLE}
    weight_map = json_files.read_object(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ValueError(f"{index}: field 'weight_map' names no file for any tensor")
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or not SHARD_NAME.fullmatch(shard):
            shown = messages.shorten(repr(shard))
            raise ValueError(
                f"{index}: field {f'weight_map.{name}'!r} is {shown}, not the name of "
                "a safetensors file in the same folder"
            )
    return weight_map


def has_weights(folder: Path) -> bool:
    """Whether the folder has a safetensors file, or an index of several."""
    return (folder / SINGLE).exists() or (folder / INDEX).exists()


class TensorFiles:
    """The tensors of a folder by name, memory-mapped: only slices are read."""

    def __init__(self, folder: Path) -> None:
        """Open all files of a folder.

        Raises:
          FileNotFoundError: no safetensors file, or a file of the index is missing.
          ValueError: a damaged file.
        """
        self.folder = folder
        self.files: dict[str, Any] = {}
        self.paths: dict[str, Path] = {}
        weight_map = shard_files(folder)
        for shard in sorted(set(weight_map.values())):
            path = folder / shard
            if not path.exists():
                raise FileNotFoundError(f"{folder} lacks {shard}")
            try:
                file = safe_open(path, framework="numpy").__enter__()
            except (SafetensorError, OSError, ValueError) as error:
                why = messages.one_line(error)
                raise ValueError(f"{path} is damaged or cut short: {why}") from error
            for name in file.keys():
                if name not in self.files or weight_map.get(name) == shard:
                    self.files[name], self.paths[name] = file, path

    def __contains__(self, name: str) -> bool:
        """Whether a tensor of this name exists."""
        return name in self.files

    @property
    def dtype(self) -> str:
        """The dtype of the largest tensor, the embedding as a rule: float32, ..."""
        slices = (file.get_slice(name) for name, file in self.files.items())
        largest = max(slices, key=lambda x: math.prod(x.get_shape()), default=None)
        return DTYPES.get(largest.get_dtype() if largest else "F32", "float32")

    def __call__(self, mapping: TensorMapping) -> Any:
        """The tensor of a mapping, to be sliced."""
        return self.files[mapping.name].get_slice(mapping.name)

    def rename(self, names: Mapping[str, str]) -> None:
        """Rename tensors, old name -> new name, unless the new name exists."""
        for old, new in names.items():
            if old in self.files and new not in self.files:
                self.files[new] = RenamedTensor(self.files.pop(old), old)
                self.paths[new] = self.paths.pop(old)

    def is_tied(self, embed: TensorMapping, unembed: TensorMapping) -> bool:
        """Whether one of two tensors is missing, or all their numbers are equal."""
        if unembed.name not in self or embed.name not in self:
            return True
        first, second = self(embed), self(unembed)
        rows = embed.shape[0]
        step = max(1, COMPARE_SIZE * rows // max(1, math.prod(embed.shape)))
        starts = range(0, rows, step)
        cuts = (slice(start, min(start + step, rows)) for start in starts)
        return all(np.array_equal(first[cut], second[cut]) for cut in cuts)

    def check(self, mappings: Sequence[TensorMapping], optional: Iterable[str]) -> None:
        """Validate names, shapes and dtypes of all tensors before any is read.

        Args:
          mappings: of the tensors that the model needs.
          optional: names of tensors that may exist and are not used.

        Raises:
          ValueError: names the tensors that are missing, unknown or of another shape.
        """
        needed = {mapping.name for mapping in mappings}
        missing = [x.name for x in mappings if x.name not in self]
        unused = sorted(
            name
            for name in set(self.files) - needed - set(optional)
            if not name.endswith(BUFFERS)
        )
        if missing or unused:
            raise ValueError(
                f"{self.folder}: {len(missing)} tensors are missing ({missing[:3]}) "
                f"and {len(unused)} are not of this architecture ({unused[:3]})"
            )
        self.check_shapes(mappings)

    def check_shapes(self, mappings: Iterable[TensorMapping]) -> None:
        """Validate shapes and dtypes of the tensors that exist.

        Raises:
          ValueError: names the tensor.
        """
        for mapping in mappings:
            if mapping.name not in self:
                continue
            tensor = self(mapping)
            shape, dtype = tuple(tensor.get_shape()), tensor.get_dtype()
            where = f"{self.paths[mapping.name]}: {mapping.name}"
            if shape != mapping.shape:
                raise ValueError(
                    f"{where} has shape {shape}; config.json asks for {mapping.shape}"
                )
            if dtype not in DTYPES:
                known = ", ".join(DTYPES)
                raise ValueError(f"{where} is {dtype}; expected one of {known}")


class RenamedTensor:
    """The file of a tensor that has an older name in it."""

    def __init__(self, file: Any, name: str) -> None:
        """Remember a safetensors file and the name of the tensor in it."""
        self.file, self.name = file, name

    def get_slice(self, name: str) -> Any:
        """The tensor under its older name, whatever name is asked for."""
        return self.file.get_slice(self.name)


def plan_shards(sizes: Mapping[str, int], max_bytes: int) -> list[list[str]]:
    """Assign tensors to files of at most `max_bytes`, or of one larger tensor.

    Args:
      sizes: bytes of each tensor by name.

    >>> plan_shards({"a": 3, "b": 3, "c": 9, "d": 1}, 6)
    [['a', 'b'], ['c'], ['d']]
    """
    files: list[list[str]] = [[]]
    total = 0
    for name, size in sizes.items():
        if files[-1] and total + size > max_bytes:
            files.append([])
            total = 0
        files[-1].append(name)
        total += size
    return files


def write(
    folder: Path,
    texts: Mapping[str, Mapping[str, Any] | str],
    sizes: Mapping[str, int],
    make_tensor: Callable[[str], np.ndarray],
    *,
    max_shard_bytes: int,
) -> None:
    """Write a model to a temporary folder, then move its files into place.

    Process 0 writes; the others take part in gathering the tensors.

    Args:
      texts: content of JSON and text files, by name.
      sizes: bytes of each tensor, by name.
      make_tensor: name -> tensor; the tensors of one file are held in memory at a time.
      max_shard_bytes: of a file of tensors.

    Raises:
      OSError: the folder cannot be written; the files in it are unchanged.
    """
    files = plan_shards(sizes, max_shard_bytes)
    names = [
        f"model-{i + 1:05}-of-{len(files):05}.safetensors" for i in range(len(files))
    ]
    names = names if len(files) > 1 else [SINGLE]
    texts = dict(texts)
    if len(files) > 1:
        where = {x: name for name, file in zip(names, files, strict=True) for x in file}
        total = {"total_size": sum(sizes.values())}
        texts[INDEX] = {"metadata": total, "weight_map": where}
    if jax.process_index():
        for name in sizes:
            make_tensor(name)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=TEMP_PREFIX) as new:
            for name, file in zip(names, files, strict=True):
                tensors = {x: make_tensor(x) for x in file}
                save_file(tensors, Path(new, name), metadata={"format": "pt"})
            for name, content in texts.items():
                text = (
                    content
                    if isinstance(content, str)
                    else json.dumps(content, indent=2)
                )
                Path(new, name).write_text(f"{text.rstrip()}\n", encoding="utf-8")
            mode = Path(new, next(iter(texts))).stat().st_mode  # save_file's is 0600
            for name in (*names, *texts):
                Path(new, name).chmod(mode)
                os.replace(Path(new, name), folder / name)
        for stale in stale_files(folder, {*names, *texts}):
            stale.unlink()
        for temporary in folder.glob(
            f"{TEMP_PREFIX}*"
        ):  # of processes that were killed
            shutil.rmtree(temporary, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise OSError(f"cannot write the model to {folder}: {error}") from error


def stale_files(folder: Path, written: set[str]) -> list[Path]:
    """Files of tensors, and an index, that an earlier save left in the folder."""
    old = [*folder.glob("model-*-of-*.safetensors"), folder / SINGLE, folder / INDEX]
    return [path for path in old if path.name not in written and path.exists()]
