"""The layout of Hugging Face tensors: how their axes map to axes of parameters.

    (h e) d -> d h e

reads: the tensor in the file has two axes, the first of which is heads times head_dim;
the parameter has three. Each letter has a size, see `axis_sizes`; parentheses hold axes
that the file keeps as one.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign.models.config import ModelConfig

Region = tuple[slice, ...]


class AxisSlice(NamedTuple):
    """The indices of one axis of a fused tensor that belong to one parameter."""

    axis: str
    start: int
    stop: int


class TensorMapping(NamedTuple):
    """A tensor of a file, or a slice of one, and the parameter (layer) that it holds.

    Attributes:
      path: of the parameter in the tree.
      layer: index within a stacked parameter; None for one that is not stacked.
      name: of the tensor in the file.
      axes: of the tensor and of the parameter, "file axes -> parameter axes".
      sizes: of the axes of the tensor, by letter.
      part: the parameter's indices, where several parameters share the tensor.
    """

    path: tuple[str, ...]
    layer: int | None
    name: str
    axes: str
    sizes: Mapping[str, int]
    part: AxisSlice | None = None

    @property
    def file_axes(self) -> tuple[str, ...]:
        """The axes of the tensor; those in parentheses are one string."""
        groups = re.findall(r"\([^)]*\)|\S+", self.axes.split(" -> ")[0])
        return tuple(re.sub(r"[() ]", "", group) for group in groups)

    @property
    def param_axes(self) -> str:
        """The axes of the parameter, one letter each."""
        return self.axes.split(" -> ")[1].replace(" ", "")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the tensor in the file."""
        return tuple(
            math.prod(self.sizes[axis] for axis in group) for group in self.file_axes
        )

    @property
    def param_shape(self) -> tuple[int, ...]:
        """The shape of the parameter; of one layer, where it is stacked."""
        part = self.part
        return tuple(
            part.stop - part.start if part and part.axis == axis else self.sizes[axis]
            for axis in self.param_axes
        )

    @property
    def contiguous_axis(self) -> int:
        """The axis of the parameter along which slices are contiguous in the file."""
        return next(
            self.param_axes.index(axis)
            for axis in "".join(self.file_axes)
            if axis in self.param_axes
        )

    def ranges(self, region: Region) -> dict[str, tuple[int, int]]:
        """Start and stop on each axis of the tensor, for a region of the parameter."""
        bounds = {axis: (0, size) for axis, size in self.sizes.items()}
        if self.part:
            bounds[self.part.axis] = (self.part.start, self.part.stop)
        for axis, cut in zip(self.param_axes, region, strict=True):
            start = bounds[axis][0]
            bounds[axis] = (start + cut.start, start + cut.stop)
        return bounds

    def from_file(self, tensor: Any, region: Region) -> np.ndarray:
        """A region of the parameter, read from the tensor.

        Args:
          tensor: an array, or a slice of a safetensors file, of which no more is read
            than one contiguous range per axis.
          region: a slice per axis of the parameter.
        """
        ranges, cuts, shape, inner = self.ranges(region), [], [], []
        for group in self.file_axes:
            cut, sizes = self.read_range(group, ranges)
            bounds = [ranges[axis] for axis in group]
            cuts.append(cut)
            shape += sizes
            inner += [
                slice(None) if size == stop - start else slice(start, stop)
                for size, (start, stop) in zip(sizes, bounds, strict=True)
            ]
        read = tensor[tuple(cuts)].reshape(shape)[tuple(inner)]
        size = [cut.stop - cut.start for cut in region]
        return read.transpose(self.permutation()).reshape(size)

    def read_range(
        self, group: str, ranges: Mapping[str, tuple[int, int]]
    ) -> tuple[slice, list[int]]:
        """The contiguous range of a file axis to read, and its sizes by letter."""
        sizes = [self.sizes[axis] for axis in group]
        low = 0
        for i, axis in enumerate(group):
            (start, stop), inner = ranges[axis], math.prod(sizes[i + 1 :])
            low, sizes[i] = low + start * inner, stop - start
            if stop - start != 1:
                break
        return slice(low, low + math.prod(sizes)), sizes

    def to_file(self, param: np.ndarray, tensor: np.ndarray) -> None:
        """Write the parameter into its place in a tensor of `shape`."""
        everything = tuple(slice(0, size) for size in param.shape)
        ranges = self.ranges(everything)
        letters = "".join(self.file_axes)
        view = tensor.reshape([self.sizes[axis] for axis in letters])
        part = view[tuple(slice(*ranges[axis]) for axis in letters)]
        transposed = part.transpose(self.permutation())
        transposed[...] = param.reshape(transposed.shape)

    def permutation(self) -> list[int]:
        """The file axes in the order of the parameter's, after those it lacks."""
        letters = "".join(self.file_axes)
        absent = [axis for axis in letters if axis not in self.param_axes]
        return [letters.index(axis) for axis in (*absent, *self.param_axes)]


def axis_sizes(config: ModelConfig) -> dict[str, int]:
    """The size of each letter: a is query, key and value heads; g, gate and up."""
    return {
        "a": config.heads + 2 * config.kv_heads,
        "c": config.context,
        "d": config.width,
        "e": config.head_dim,
        "f": config.hidden,
        "g": 2,
        "h": config.heads,
        "k": config.kv_heads,
        "m": config.kv_heads * config.head_dim,
        "n": config.heads * config.head_dim,
        "o": 1,
        "q": 3,
        "v": config.vocab_size,
    }


def read_blocks(
    mappings: Sequence[TensorMapping],
    region: Region,
    max_bytes: int,
    dtype: Any,
    open_tensor: Callable[[TensorMapping], Any],
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """Read a region of a parameter in blocks of at most `max_bytes`.

    Blocks are split between layers and, where a layer is larger, along the axis that is
    contiguous in the file.

    Args:
      mappings: of the parameter, in the order of its layers.
      region: a slice per axis of the parameter, with its layers first where it is
        stacked.
      dtype: of the parameter.
      open_tensor: mapping -> its tensor, to be sliced.

    Yields:
      The index of the block's first entry within the region, and the block.
    """
    stacked = mappings[0].layer is not None
    layers, inner = (region[0], region[1:]) if stacked else (slice(0, 1), region)
    axis = mappings[0].contiguous_axis if inner else 0
    shape = [cut.stop - cut.start for cut in inner]
    layer_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    depth = max(1, max_bytes // max(1, layer_bytes))
    length = shape[axis] if shape else 1
    step = max(1, min(length, length * max_bytes // max(1, layer_bytes)))
    for first in range(layers.start, layers.stop, depth):
        block_mappings = mappings[first : min(first + depth, layers.stop)]
        for start in range(0, length, step):
            cut = list(inner)
            if inner:
                low = inner[axis].start + start
                cut[axis] = slice(low, min(low + step, inner[axis].stop))
            size = [len(block_mappings), *(x.stop - x.start for x in cut)]
            block = np.empty(size, dtype)
            for i, mapping in enumerate(block_mappings):
                block[i] = mapping.from_file(open_tensor(mapping), tuple(cut))
            at = tuple(start if i == axis else 0 for i in range(len(inner)))
            yield ((first - layers.start, *at), block) if stacked else (at, block[0])
