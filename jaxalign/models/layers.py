"""The parts of a transformer: normalisation, rotary positions, attention, feed-forward.

Parameters carry the logical names of their axes, from which `sharding.spec` makes
their place on a mesh.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxalign import sharding
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array

Rotation = tuple[Array, Array]  # cosine and sine [B T 1 H/2]


def product(x: Array, weight: Array, *, axes: int = 1) -> Array:
    """The last axes of x with the first of a weight, as one product of two matrices.

    As matrices, since XLA on CPU takes twice as long for the gradient of a weight that
    is a sum over two axes (batch and time).
    """
    inner = math.prod(weight.shape[:axes])
    flat = x.reshape(-1, inner) @ weight.astype(x.dtype).reshape(inner, -1)
    return flat.reshape(*x.shape[:-axes], *weight.shape[axes:])


def weight(
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    axes: tuple[str | None, ...],
    std: float,
    dtype: str,
) -> nnx.Param:
    """A matrix of normal numbers, with the logical names of its axes."""
    value = std * jax.random.normal(rngs.params(), shape, jnp.dtype(dtype))
    return nnx.Param(value, axes=axes)


class RMSNorm(nnx.Module):
    """x / sqrt(mean(x^2) + eps) * scale, in float32 (Zhang and Sennrich 2019)."""

    def __init__(self, config: ModelConfig) -> None:
        ones = jnp.ones(config.width, jnp.dtype(config.param_dtype))
        self.scale = nnx.Param(ones, axes=(None,))
        self.eps = config.norm_eps

    def __call__(self, x: Array) -> Array:
        wide = x.astype(jnp.float32)
        mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(mean + self.eps)
        scale = self.scale[...].astype(jnp.float32)
        return (normed * scale[None, None, :]).astype(x.dtype)


def rotation(positions: Array, config: ModelConfig) -> Rotation:
    """The angles by which each position turns its queries and keys.

    angle = position * theta^(-2 i / head_dim)    (Su et al. 2021, arXiv:2104.09864)
    """
    half = config.head_dim // 2
    inverse = config.rope_theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions.astype(jnp.float32)[..., None] * inverse[None, None, :]
    return jnp.cos(angle)[:, :, None, :], jnp.sin(angle)[:, :, None, :]


def rotate(x: Array, angles: Rotation) -> Array:
    """Turns the pairs (x_i, x_{i + H/2}), the layout of Hugging Face's Llama."""
    cosine, sine = angles
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = (first * cosine - second * sine, second * cosine + first * sine)
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        d, h, k, e = config.width, config.heads, config.kv_heads, config.head_dim
        kind, std = config.param_dtype, config.width**-0.5
        out_std = (h * e * 2 * config.layers) ** -0.5
        self.query = weight(rngs, (d, h, e), ("width", "heads", None), std, kind)
        self.key = weight(rngs, (d, k, e), ("width", "kv_heads", None), std, kind)
        self.value = weight(rngs, (d, k, e), ("width", "kv_heads", None), std, kind)
        self.out = weight(rngs, (h, e, d), ("heads", None, "width"), out_std, kind)

    def project(self, x: Array, angles: Rotation) -> tuple[Array, Array, Array]:
        """Queries [B T H E], keys and values [B T K E], turned by position."""
        query, key, value = (
            product(x, w[...]) for w in (self.query, self.key, self.value)
        )
        query = sharding.constrain(query, "batch", None, "heads", None)
        key = sharding.constrain(key, "batch", None, "kv_heads", None)
        return rotate(query, angles), rotate(key, angles), value

    def merge(self, attended: Array) -> Array:
        """The heads' answers [B T H E], put together [B T D]."""
        return product(attended, self.out[...], axes=2)


class FeedForward(nnx.Module):
    """down(silu(gate(x)) * up(x)), SwiGLU (Shazeer 2020, arXiv:2002.05202)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        d, f = config.width, config.hidden
        kind, out_std = config.param_dtype, (f * 2 * config.layers) ** -0.5
        self.gate = weight(rngs, (d, f), ("width", "hidden"), d**-0.5, kind)
        self.up = weight(rngs, (d, f), ("width", "hidden"), d**-0.5, kind)
        self.down = weight(rngs, (f, d), ("hidden", "width"), out_std, kind)

    def __call__(self, x: Array) -> Array:
        gate, up = product(x, self.gate[...]), product(x, self.up[...])
        return product(jax.nn.silu(gate) * up, self.down[...])


class Block(nnx.Module):
    """One layer: attention and feed-forward, each after a norm, each added."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.attention_norm = RMSNorm(config)
        self.attention = Attention(config, rngs=rngs)
        self.feed_forward_norm = RMSNorm(config)
        self.feed_forward = FeedForward(config, rngs=rngs)

    def __call__(self, x: Array, angles: Rotation, attend: Any) -> Array:
        """Args: attend: (query, key, value) -> what each query finds [B T H E]."""
        found = attend(*self.attention.project(self.attention_norm(x), angles))
        x = x + self.attention.merge(found)
        x = x + self.feed_forward(self.feed_forward_norm(x))
        return sharding.constrain(x, "batch", None, None)
