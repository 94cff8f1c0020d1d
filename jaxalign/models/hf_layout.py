"""Between the tensors of a file and our leaves: which axes are which, in one line each.

    (h e) d -> d h e

reads: the tensor has two axes, of which the first is heads times their size; the leaf
has three. Letters have sizes; brackets hold axes that the file keeps as one.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxalign.models.config import ModelConfig

Region = tuple[slice, ...]


class AxisSlice(NamedTuple):
    """The places of one axis of a fused tensor that are one leaf's."""

    axis: str
    start: int
    stop: int


class TensorMapping(NamedTuple):
    """A tensor of a file, or a part of one, and the leaf that it is (a layer of).

    Attributes:
      path: of the leaf in the parameter tree.
      layer: which layer of the stacked leaf; None where it is not stacked.
      name: of the tensor.
      axes: of the tensor and of the leaf, as above.
      sizes: of the axes of the tensor.
      part: where several leaves share the tensor.
    """

    path: tuple[str, ...]
    layer: int | None
    name: str
    axes: str
    sizes: Mapping[str, int]
    part: AxisSlice | None = None

    @property
    def there(self) -> tuple[str, ...]:
        """The axes of the tensor, those in brackets together."""
        groups = re.findall(r"\([^)]*\)|\S+", self.axes.split(" -> ")[0])
        return tuple(re.sub(r"[() ]", "", group) for group in groups)

    @property
    def here(self) -> str:
        """The axes of the leaf."""
        return self.axes.split(" -> ")[1].replace(" ", "")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the tensor."""
        return tuple(
            math.prod(self.sizes[axis] for axis in group) for group in self.there
        )

    @property
    def leaf(self) -> tuple[int, ...]:
        """The shape of the leaf, of one layer where it is stacked."""
        only = self.part
        return tuple(
            only.stop - only.start if only and only.axis == axis else self.sizes[axis]
            for axis in self.here
        )

    @property
    def rows(self) -> int:
        """The axis of the leaf along which the tensor lies in one piece."""
        return next(
            self.here.index(axis) for axis in "".join(self.there) if axis in self.here
        )

    def ranges(self, region: Region) -> dict[str, tuple[int, int]]:
        """From where to where each axis of the tensor is read, for a part of a leaf."""
        found = {axis: (0, size) for axis, size in self.sizes.items()}
        if self.part:
            found[self.part.axis] = (self.part.start, self.part.stop)
        for axis, cut in zip(self.here, region, strict=True):
            start = found[axis][0]
            found[axis] = (start + cut.start, start + cut.stop)
        return found

    def from_file(self, tensor: Any, region: Region) -> np.ndarray:
        """A part of the leaf; of a slice of a file, no more is read than needed."""
        ranges, cuts, shape, inner = self.ranges(region), [], [], []
        for group in self.there:
            cut, sizes = self.read(group, ranges)
            bounds = [ranges[axis] for axis in group]
            cuts.append(cut)
            shape += sizes
            inner += [
                slice(None) if size == stop - start else slice(start, stop)
                for size, (start, stop) in zip(sizes, bounds, strict=True)
            ]
        read = tensor[tuple(cuts)].reshape(shape)[tuple(inner)]
        size = [cut.stop - cut.start for cut in region]
        return read.transpose(self.order()).reshape(size)

    def read(
        self, group: str, ranges: Mapping[str, tuple[int, int]]
    ) -> tuple[slice, list[int]]:
        """What to read of one axis of the tensor, in one piece, and its sizes then."""
        sizes = [self.sizes[axis] for axis in group]
        low = 0
        for i, axis in enumerate(group):
            (start, stop), inner = ranges[axis], math.prod(sizes[i + 1 :])
            low, sizes[i] = low + start * inner, stop - start
            if stop - start != 1:
                break
        return slice(low, low + math.prod(sizes)), sizes

    def outward(self, leaf: np.ndarray, tensor: np.ndarray) -> None:
        """Writes the leaf into its places of a whole tensor."""
        whole = tuple(slice(0, size) for size in leaf.shape)
        ranges = self.ranges(whole)
        letters = "".join(self.there)
        view = tensor.reshape([self.sizes[axis] for axis in letters])
        places = view[tuple(slice(*ranges[axis]) for axis in letters)]
        turned = places.transpose(self.order())
        turned[...] = leaf.reshape(turned.shape)

    def order(self) -> list[int]:
        """The axes of the tensor, in the order of the leaf; first those it lacks."""
        letters = "".join(self.there)
        absent = [axis for axis in letters if axis not in self.here]
        return [letters.index(axis) for axis in (*absent, *self.here)]


def axis_sizes(config: ModelConfig) -> dict[str, int]:
    """What the letters stand for: a is all heads, g the two of gate and up."""
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
    weights: list[TensorMapping], region: Region, most: int, dtype: Any, source: Any
) -> Iterator[tuple[tuple[int, ...], np.ndarray]]:
    """A part of a leaf in blocks of at most `most` bytes, each with where it goes.

    Blocks are cut between layers, and where one layer is too large, along the axis that
    lies in one piece in the file.

    Args:
      weights: of the leaf, in the order of its layers.
      region: the part of the leaf, with its layers first where it is stacked.
      source: a weight -> its slice of a file.
    """
    stacked = weights[0].layer is not None
    layers, inner = (region[0], region[1:]) if stacked else (slice(0, 1), region)
    rows = weights[0].rows if inner else 0
    shape = [cut.stop - cut.start for cut in inner]
    layer_bytes = math.prod(shape) * np.dtype(dtype).itemsize
    depth = max(1, most // max(1, layer_bytes))
    length = shape[rows] if shape else 1
    step = max(1, min(length, length * most // max(1, layer_bytes)))
    for first in range(layers.start, layers.stop, depth):
        taken = weights[first : min(first + depth, layers.stop)]
        for start in range(0, length, step):
            cut = list(inner)
            if inner:
                low = inner[rows].start + start
                cut[rows] = slice(low, min(low + step, inner[rows].stop))
            size = [len(taken), *(x.stop - x.start for x in cut)]
            block = np.empty(size, dtype)
            for i, weight in enumerate(taken):
                block[i] = weight.from_file(source(weight), tuple(cut))
            at = tuple(start if i == rows else 0 for i in range(len(inner)))
            yield ((first - layers.start, *at), block) if stacked else (at, block[0])
