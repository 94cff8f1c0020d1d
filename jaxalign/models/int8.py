"""Matrices kept as 8-bit integers, for a base that does not train.

At rest a matrix takes a quarter of its float32 size, and the scales next to nothing. It
is computed in the type of the model: each layer is put back together where it is used,
see `deferred` for what that takes for the time being.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxalign.models.lazy_weights import (
    LAYERS_KEY,
    LazyWeight,
    input_axes,
    is_lazy,
    is_matrix,
)
from jaxalign.models.param_filter import MATRICES, matching_leaves
from jaxalign.types import Array, Params

MAX_CODE = 127


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["codes", "scale"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Int8(LazyWeight):
    """A weight as codes * scale.

    Attributes:
      codes: int8, within -127 and 127, of the weight's shape.
      scale: float32, one for each output (of a layer), 1 along the inputs' axes.
    """

    codes: Array
    scale: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return tuple(self.codes.shape)

    def materialize(self) -> Array:
        """The weight in float32."""
        return self.codes.astype(jnp.float32) * self.scale


@functools.partial(jax.jit, static_argnames="axes")
def quantize(weight: Array, *, axes: tuple[int, ...]) -> Int8:
    """A weight in 8 bits: symmetric, rounded to the nearest.

    scale = max |weight| along the axes / 127,    codes = round(weight / scale)

    No number moves by more than half a scale; 0 stays 0.

    Args:
      axes: of the inputs, which share a scale.

    Reference: Dettmers et al. 2022, arXiv:2208.07339, section 2 (absmax quantisation).
    """
    wide = weight.astype(jnp.float32)
    largest = jnp.max(jnp.abs(wide), axis=axes, keepdims=True)
    scale = jnp.where(largest > 0, largest, 1.0) / MAX_CODE
    return Int8(jnp.round(wide / scale).astype(jnp.int8), scale)


def quantize_params(
    params: Params,
    pattern: str = MATRICES,
    *,
    quantizer: Callable[..., LazyWeight] = quantize,
) -> Params:
    """The parameters with the layers' matrices that a pattern means in few bits.

    Those that are so already stay as they are.

    Args:
      quantizer: (weight, axes of its inputs) -> what it is kept as; `nf4.quantize`, say.

    Raises:
      ValueError: the pattern means a matrix that is not of a layer; or see `matching_leaves`.
    """
    leaves = flatten_dict(params)
    for path in matching_leaves(params, pattern):
        if LAYERS_KEY not in path:
            raise ValueError(
                f"{'.'.join(path)} cannot be quantised: only the layers' matrices can"
            )
        if is_matrix(path, leaves[path]) and not is_lazy(leaves[path]):
            leaves[path] = quantizer(leaves[path], axes=input_axes(path))
    return unflatten_dict(leaves)
