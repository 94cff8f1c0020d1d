"""Layers of a transformer: norms, attention, feed-forward.

Parameters carry the logical names of their axes, which `sharding.spec` maps to the axes
of a mesh.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxalign import sharding
from jaxalign.models.attention import Attend
from jaxalign.models.config import ModelConfig
from jaxalign.models.cpu_friendly import matmul_2d
from jaxalign.models.rotary_embedding import CosSin, apply_rope
from jaxalign.types import Array

GatherFn = Callable[[Array], Array]  # [B T ...] -> [B Q ...], the positions to compute

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


def all_positions(x: Array) -> Array:
    """Keep every position: the identity."""
    return x


def linear(x: Array, weight: Any, bias: Any, *, axes: int = 1) -> Array:
    """x @ weight + bias over the last axes of x; without the sum where bias is None.

    Args:
      weight, bias: parameters of a module, or lazy weights.
      axes: number of axes that are contracted.
    """
    y = matmul_2d(x, weight[...], axes=axes)
    return y if bias is None else y + bias[...].astype(y.dtype)[None, None]


def normal_param(
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    axes: tuple[str | None, ...],
    std: float,
    dtype: str,
) -> nnx.Param:
    """A parameter ~ N(0, std^2), with the logical names of its axes."""
    value = std * jax.random.normal(rngs.params(), shape, jnp.dtype(dtype))
    return nnx.Param(value, axes=axes)


def constant_param(
    value: float, shape: tuple[int, ...], axes: tuple[str | None, ...], dtype: str
) -> nnx.Param:
    """A parameter of equal numbers: an initial scale or bias."""
    return nnx.Param(jnp.full(shape, value, jnp.dtype(dtype)), axes=axes)


class Norm(nnx.Module):
    """Normalization of the last axis, in float32.

    rms     x / sqrt(mean(x^2) + eps) * (scale + offset)    (Zhang and Sennrich 2019)
    layer   rms of x - mean(x), plus a bias                 (Ba et al. 2016)
    """

    def __init__(
        self, config: ModelConfig, size: int | None = None, axis: str | None = None
    ) -> None:
        """Create the scale, and the bias of a layer norm.

        Args:
          size: of the normalized axis; the model's width by default.
          axis: logical name of that axis.
        """
        shape, dtype = (size or config.width,), config.param_dtype
        self.scale = constant_param(1.0 - config.norm_offset, shape, (axis,), dtype)
        has_bias = config.norm == "layer"
        self.bias = constant_param(0.0, shape, (axis,), dtype) if has_bias else None
        self.eps, self.offset = config.norm_eps, config.norm_offset

    def __call__(self, x: Array) -> Array:
        """Normalize [... D]."""
        wide = x.astype(jnp.float32)
        if self.bias is not None:
            wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
        mean = jnp.mean(jnp.square(wide), axis=-1, keepdims=True)
        normed = wide * jax.lax.rsqrt(mean + self.eps)
        lead = (1,) * (x.ndim - 1)
        scale = self.scale[...].astype(jnp.float32)
        scale = scale + self.offset if self.offset else scale
        normed = normed * scale.reshape(*lead, -1)
        if self.bias is not None:
            normed = normed + self.bias[...].astype(jnp.float32).reshape(*lead, -1)
        return normed.astype(x.dtype)


def maybe_norm(norm: Norm | None, x: Array) -> Array:
    """The norm of x, or x where the model has no norm in this place."""
    return x if norm is None else norm(x)


class Attention(nnx.Module):
    """Grouped-query attention with rotary embeddings (Ainslie et al. 2023)."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        """Create projections, and their biases and norms where the model has them."""
        d, h, k, e = config.width, config.heads, config.kv_heads, config.head_dim
        dtype, std = config.param_dtype, config.width**-0.5
        out_std = (h * e * 2 * config.layers) ** -0.5
        query, kv = ("width", "heads", None), ("width", "kv_heads", None)
        self.query = normal_param(rngs, (d, h, e), query, std, dtype)
        self.key = normal_param(rngs, (d, k, e), kv, std, dtype)
        self.value = normal_param(rngs, (d, k, e), kv, std, dtype)
        out = ("heads", None, "width")
        self.out = normal_param(rngs, (h, e, d), out, out_std, dtype)
        bias = lambda n, axis: constant_param(0.0, (n, e), (axis, None), dtype)
        self.query_bias = bias(h, "heads") if config.qkv_bias else None
        self.key_bias = bias(k, "kv_heads") if config.qkv_bias else None
        self.value_bias = bias(k, "kv_heads") if config.qkv_bias else None
        zeros = constant_param(0.0, (d,), (None,), dtype) if config.out_bias else None
        self.out_bias = zeros
        self.norms_all_heads = config.qk_norm == "all_heads"
        self.query_norm = self.make_norm(config, h, "heads")
        self.key_norm = self.make_norm(config, k, "kv_heads")

    def make_norm(self, config: ModelConfig, heads: int, axis: str) -> Norm | None:
        """The norm of queries or of keys; None for models without one."""
        if config.qk_norm == "none":
            return None
        if self.norms_all_heads:
            return Norm(config, heads * config.head_dim, axis)
        return Norm(config, config.head_dim)

    def project(
        self, x: Array, cos_sin: CosSin, query_positions: GatherFn
    ) -> tuple[Array, Array, Array]:
        """Queries [B Q H E], keys and values [B T K E], with rotary embeddings.

        Args:
          x: [B T D].
          query_positions: gathers the positions of the queries.
        """
        query = linear(query_positions(x), self.query, self.query_bias)
        key = linear(x, self.key, self.key_bias)
        value = linear(x, self.value, self.value_bias)
        query = self.norm_heads(self.query_norm, query)
        key = self.norm_heads(self.key_norm, key)
        query = sharding.constrain(query, "batch", None, "heads", None)
        key = sharding.constrain(key, "batch", None, "kv_heads", None)
        query = apply_rope(query, jax.tree.map(query_positions, cos_sin))
        return query, apply_rope(key, cos_sin), value

    def norm_heads(self, norm: Norm | None, x: Array) -> Array:
        """Normalize heads [B T H E], each alone or all as one vector."""
        if not self.norms_all_heads:
            return maybe_norm(norm, x)
        return maybe_norm(norm, x.reshape(*x.shape[:2], -1)).reshape(x.shape)

    def project_out(self, heads: Array) -> Array:
        """The output projection: [B T H E] -> [B T D]."""
        return linear(heads, self.out, self.out_bias, axes=2)


class FeedForward(nnx.Module):
    """down(activation(gate(x)) * up(x)), such as SwiGLU; ungated, down(activation(up)).

    Reference: Shazeer 2020, arXiv:2002.05202, eq. 6.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        """Create projections, and their biases where the model has them."""
        d, f = config.width, config.hidden
        dtype, out_std = config.param_dtype, (f * 2 * config.layers) ** -0.5
        self.activation = ACTIVATIONS[config.activation]
        wide = lambda: normal_param(rngs, (d, f), ("width", "hidden"), d**-0.5, dtype)
        bias = lambda size, axis: constant_param(0.0, (size,), (axis,), dtype)
        has_bias, gated = config.mlp_bias, config.gated
        self.gate = wide() if gated else None
        self.up = wide()
        self.down = normal_param(rngs, (f, d), ("hidden", "width"), out_std, dtype)
        self.gate_bias = bias(f, "hidden") if has_bias and gated else None
        self.up_bias = bias(f, "hidden") if has_bias else None
        self.down_bias = bias(d, None) if has_bias else None

    def __call__(self, x: Array) -> Array:
        """Map [B T D] to [B T D]."""
        if self.gate is None:
            inner = self.activation(linear(x, self.up, self.up_bias))
        else:
            gate = linear(x, self.gate, self.gate_bias)
            up = linear(x, self.up, self.up_bias)
            inner = self.activation(gate) * up
        return linear(inner, self.down, self.down_bias)


class Block(nnx.Module):
    """A transformer layer: residual attention and feed-forward, with their norms."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        """Create the parts; norms stand before, after, or on both sides of them."""
        before = config.norm_place in ("before", "both")
        after = config.norm_place in ("after", "both")
        self.attention_norm = Norm(config) if before else None
        self.attention = Attention(config, rngs=rngs)
        self.attention_post_norm = Norm(config) if after else None
        self.feed_forward_norm = Norm(config) if before else None
        self.feed_forward = FeedForward(config, rngs=rngs)
        self.feed_forward_post_norm = Norm(config) if after else None
        self.parallel = config.parallel

    def __call__(
        self,
        x: Array,
        cos_sin: CosSin,
        attend: Attend,
        query_positions: GatherFn = all_positions,
    ) -> Array:
        """Map [B T D] to [B Q D].

        Args:
          attend: (query [B Q H E], key, value [B T K E]) -> [B Q H E].
          query_positions: gathers the Q positions to compute.
        """
        normed = maybe_norm(self.attention_norm, x)
        qkv = self.attention.project(normed, cos_sin, query_positions)
        attended = self.attention.project_out(attend(*qkv))
        x = query_positions(x)
        y = x + maybe_norm(self.attention_post_norm, attended)
        z = maybe_norm(self.feed_forward_norm, x if self.parallel else y)
        y = y + maybe_norm(self.feed_forward_post_norm, self.feed_forward(z))
        return sharding.constrain(y, "batch", None, None)
