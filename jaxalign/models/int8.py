"""8-bit integer quantization of frozen matrices.

At rest a matrix takes a quarter of its float32 size, and its scales next to nothing. It
is computed in the dtype of the model: each layer is dequantized where it is used, see
`lazy_weights` for the memory that takes.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from jaxalign import lazy
from jaxalign.models.lazy_weights import (
    LAYERS_KEY,
    LazyWeight,
    input_axes,
    is_lazy,
    is_matrix,
)
from jaxalign.models.param_filter import MATRICES, matching_leaves
from jaxalign.types import Array, Params

if TYPE_CHECKING:
    from flax import traverse_util
else:
    traverse_util = lazy.module("flax.traverse_util")


MAX_CODE = 127


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["codes", "scale"], meta_fields=[]
)
@dataclasses.dataclass(frozen=True)
class Int8(LazyWeight):
    """A quantized weight: codes * scale.

    Attributes:
      codes: int8 in [-127, 127], of the weight's shape.
      scale: float32, one per output (of a layer); 1 along the input axes.
    """

    codes: Array
    scale: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        return tuple(self.codes.shape)

    def materialize(self) -> Array:
        """Dequantize to float32."""
        return self.codes.astype(jnp.float32) * self.scale


@functools.partial(jax.jit, static_argnames="axes")
def quantize(weight: Array, *, axes: tuple[int, ...]) -> Int8:
    """Symmetric absmax quantization to 8 bits, rounded to nearest.

    scale = max |weight| along the axes / 127,    codes = round(weight / scale)

    No number changes by more than half a scale; 0 stays 0.

    Args:
      axes: input axes, whose entries share a scale.

    Reference: Dettmers et al. 2022, arXiv:2208.07339, section 2 (absmax quantization).
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
    """Quantize the layers' matrices that match a pattern.

    Leaves that are lazy weights already stay as they are.

    Args:
      pattern: see `param_filter`.
      quantizer: (weight, axes=input axes) -> lazy weight, such as `nf4.quantize`.

    Raises:
      ValueError: the pattern matches a parameter outside the layers; or as
        `matching_leaves`.
    """
    leaves = traverse_util.flatten_dict(params)
    for path in matching_leaves(params, pattern):
        if LAYERS_KEY not in path:
            raise ValueError(
                f"{'.'.join(path)} cannot be quantized: only matrices of layers can"
            )
        if is_matrix(path, leaves[path]) and not is_lazy(leaves[path]):
            leaves[path] = quantizer(leaves[path], axes=input_axes(path))
    return traverse_util.unflatten_dict(leaves)
