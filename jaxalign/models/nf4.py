"""4-bit NormalFloat (NF4) quantization of frozen matrices, as in QLoRA.

At rest a matrix takes a seventh of its float32 size, scales included. It is dequantized
where a layer uses it, as in `int8`. Scales are float32, without double quantization.

Reference: Dettmers et al. 2023, arXiv:2305.14314, section 3.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.models.lazy_weights import LazyWeight
from jaxalign.types import Array

BLOCK = 64  # numbers that share a scale
# the 16 levels, from appendix E of the paper
LEVELS = np.array(
    [
        *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
        *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
        *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634),
        *(0.33791524171829224, 0.44070982933044434, 0.5626170039176941),
        *(0.7229568362236023, 1.0),
    ],
    np.float32,
)
MIDPOINTS = (LEVELS[1:] + LEVELS[:-1]) / 2


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["codes", "scale"],
    meta_fields=["axis"],
)
@dataclasses.dataclass(frozen=True)
class NF4(LazyWeight):
    """A quantized weight: levels[codes] * scale.

    Attributes:
      codes: uint8, each with two neighbors along the axis, the first in its low bits.
      scale: float32, one per block along the axis.
      axis: the last input axis, counted from the end.
    """

    codes: Array
    scale: Array
    axis: int

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        sizes = list(self.codes.shape)
        sizes[self.axis] *= 2
        return tuple(sizes)

    def materialize(self) -> Array:
        """Dequantize to float32."""
        pairs = jnp.stack([self.codes & 15, self.codes >> 4], axis=-1)
        codes = jnp.moveaxis(pairs, -1, self.axis).reshape(self.shape)
        scale = jnp.repeat(
            self.scale,
            self.shape[self.axis] // self.scale.shape[self.axis],
            axis=self.axis,
        )
        return jnp.asarray(LEVELS)[codes] * scale


@functools.partial(jax.jit, static_argnames="axes")
def quantize(weight: Array, *, axes: tuple[int, ...]) -> NF4:
    """NF4 quantization: each number is rounded to the nearest level.

    scale = max |weight| of a block,    codes = nearest level of weight / scale

    0 stays 0, and the largest number of a block stays as it is.

    Args:
      axes: input axes. Blocks of 64 numbers lie along the last one; of the largest
        power of two that divides its size, where 64 does not.

    Raises:
      ValueError: an odd size of that axis, in which numbers cannot share bytes.
    """
    size = weight.shape[axes[-1]]
    block, axis = math.gcd(BLOCK, size), axes[-1] - weight.ndim
    if block < 2:
        raise ValueError(f"nf4 needs an even number of inputs; the matrix has {size}")
    blocks = jnp.moveaxis(weight.astype(jnp.float32), axis, -1)
    blocks = blocks.reshape(*blocks.shape[:-1], size // block, block)
    scale = jnp.max(jnp.abs(blocks), axis=-1, keepdims=True)
    ratio = blocks / jnp.where(scale > 0, scale, 1.0)
    codes = jnp.searchsorted(jnp.asarray(MIDPOINTS), ratio).astype(jnp.uint8)
    first, second = codes[..., ::2], codes[..., 1::2]
    packed = (first | second << 4).reshape(*blocks.shape[:-2], size // 2)
    restore = lambda x: jnp.moveaxis(x, -1, axis)
    return NF4(restore(packed), restore(scale[..., 0]), axis)
