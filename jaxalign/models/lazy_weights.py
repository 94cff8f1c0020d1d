"""Leaves that are computed late: a weight from its parts, where a layer uses it.

Layers cast each weight to the type that they compute in. A deferred leaf stands in the
parameter tree where an array would, is cut per layer like one, and becomes one when it
is cast, inside the scan: one layer's matrix at a time. Without remat, the backward pass
keeps those of all layers, as much as the weights in the compute type. Measured on a
CPU (28 M parameters, 111 MB, with remat "full"): 194 MB of temporaries, where merging
the whole tree beforehand takes 399 and full finetuning 202.
"""

import abc
from types import EllipsisType
from typing import Any, Self

import jax

from jaxalign.types import Array, Params

LAYERS_KEY = "blocks"  # the leaves under it hold all layers: [layers, ...]
INPUT_AXES = {"out": 2}  # how many axes a matrix has for its inputs; others have one


class LazyWeight(abc.ABC):
    """A weight that is not an array yet."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""

    @abc.abstractmethod
    def materialize(self) -> Array:
        """The weight."""

    def astype(self, kind: Any) -> Array:
        """The weight, in the type that a layer computes in."""
        return self.materialize().astype(kind)

    def __getitem__(self, index: EllipsisType) -> Self:
        """Itself: how flax reads a parameter, `weight[...]`."""
        return self


def is_lazy(leaf: Any) -> bool:
    """Whether a leaf is computed late."""
    return isinstance(leaf, LazyWeight)


def materialize(params: Params) -> Params:
    """The parameters with every leaf an array; leaves that are one stay as they are."""
    made = lambda leaf: leaf.materialize() if is_lazy(leaf) else leaf
    return jax.tree.map(made, params, is_leaf=is_lazy)


def input_axes(path: tuple[str, ...]) -> tuple[int, ...]:
    """The axes of a matrix that its inputs go into.

    >>> input_axes(("blocks", "attention", "out")), input_axes(("embed",))
    ((1, 2), (0,))
    """
    first = int(LAYERS_KEY in path)
    return tuple(range(first, first + INPUT_AXES.get(path[-1], 1)))


def is_matrix(path: tuple[str, ...], leaf: Any) -> bool:
    """Whether a leaf is a matrix (a layer): no norm, scale or bias."""
    vector = any(word in path[-1] for word in ("norm", "scale", "bias"))
    return not vector and len(leaf.shape) - int(LAYERS_KEY in path) >= 2
