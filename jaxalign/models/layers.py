"""The parts of a transformer: normalisation, rotary positions, attention, feed-forward.

Parameters carry the logical names of their axes, from which `sharding.spec` makes
their place on a mesh.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxalign import sharding
from jaxalign.models import rope
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array

CosSin = tuple[Array, Array] | None  # cosine and sine [B T 1 R/2] of R numbers
GatherFn = Callable[[Array], Array]  # [B T ...] -> [B Q ...], those that matter

ACTIVATIONS = {
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
}


def all_positions(x: Array) -> Array:
    """All places of each row."""
    return x


def matmul(x: Array, weight: Array, *, axes: int = 1) -> Array:
    """The last axes of x with the first of a weight, as one product of two matrices.

    As matrices, since XLA on CPU takes twice as long for the gradient of a weight that
    is a sum over two axes (batch and time).
    """
    inner = math.prod(weight.shape[:axes])
    flat = x.reshape(-1, inner) @ weight.astype(x.dtype).reshape(inner, -1)
    return flat.reshape(*x.shape[:-axes], *weight.shape[axes:])


def linear(x: Array, weight: Any, bias: Any, *, axes: int = 1) -> Array:
    """The product with a weight, plus a bias if there is one."""
    y = matmul(x, weight[...], axes=axes)
    return y if bias is None else y + bias[...].astype(y.dtype)[None, None]


def normal_param(
    rngs: nnx.Rngs,
    shape: tuple[int, ...],
    axes: tuple[str | None, ...],
    std: float,
    dtype: str,
) -> nnx.Param:
    """A matrix of normal numbers, with the logical names of its axes."""
    value = std * jax.random.normal(rngs.params(), shape, jnp.dtype(dtype))
    return nnx.Param(value, axes=axes)


def constant_param(
    value: float, shape: tuple[int, ...], axes: tuple[str | None, ...], dtype: str
) -> nnx.Param:
    """A scale or a bias, which starts the same everywhere."""
    return nnx.Param(jnp.full(shape, value, jnp.dtype(dtype)), axes=axes)


class Norm(nnx.Module):
    """The norm of the last axis, in float32.

    rms     x / sqrt(mean(x^2) + eps) * (scale + offset)  (Zhang and Sennrich 2019)
    layer   the same of x - mean(x), plus a bias          (Ba et al. 2016)
    """

    def __init__(
        self, config: ModelConfig, size: int | None = None, axis: str | None = None
    ) -> None:
        shape, kind = (size or config.width,), config.param_dtype
        self.scale = constant_param(1.0 - config.norm_offset, shape, (axis,), kind)
        centred = config.norm == "layer"
        self.bias = constant_param(0.0, shape, (axis,), kind) if centred else None
        self.eps, self.offset = config.norm_eps, config.norm_offset

    def __call__(self, x: Array) -> Array:
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
    """The norm of x, or x where the model has no norm in that place."""
    return x if norm is None else norm(x)


def rotary_cos_sin(
    positions: Array,
    config: ModelConfig,
    *,
    is_sliding: bool,
    long: Array | None = None,
) -> CosSin:
    """The angles by which each position turns its queries and keys; None for none.

    Args:
      is_sliding: of the layers with a window, whose base may be another.
      long: the positions of texts beyond longrope's original context [B T].
    """
    if config.learned_positions:
        return None
    theta, scaling = config.rope_theta, config.rope_scaling
    if is_sliding and config.rope_local_theta is not None:
        theta, scaling = config.rope_local_theta, None
    inverse = jnp.asarray(rope.frequencies(theta, config.rotary_dim, scaling))
    inverse = inverse[None, None, :]
    if long is not None and scaling is not None and scaling.kind == "longrope":
        other = rope.frequencies(theta, config.rotary_dim, scaling, long=True)
        inverse = jnp.where(long[..., None], other[None, None, :], inverse)
    angle = positions.astype(jnp.float32)[..., None] * inverse
    cosine, sine = cos_sin_once(angle)
    if scaling is not None and scaling.attention_factor != 1.0:
        cosine, sine = (
            cosine * scaling.attention_factor,
            sine * scaling.attention_factor,
        )
    return cosine[:, :, None, :], sine[:, :, None, :]


def cos_sin_once(angle: Array) -> tuple[Array, Array]:
    """The cosine and the sine, computed once.

    XLA on CPU would compute them anew for the queries, the keys and the gradients of
    each layer, a tenth of a training step. It keeps what comes of a loop.
    """
    if jax.default_backend() != "cpu":
        return jnp.cos(angle), jnp.sin(angle)
    either = lambda _, is_sine: (
        None,
        jnp.where(is_sine, jnp.sin(angle), jnp.cos(angle)),
    )
    _, (cosine, sine) = jax.lax.scan(either, None, jnp.array([False, True]))
    return cosine, sine


def uses_long_factors(
    positions: Array, segments: Array, config: ModelConfig
) -> Array | None:
    """Which tokens count as of a text beyond longrope's original context [B T]."""
    scaling = config.rope_scaling
    if scaling is None or scaling.kind != "longrope":
        return None
    if scaling.always:
        return jnp.ones(positions.shape, bool)
    far = (positions >= scaling.original)[:, None, :]
    return jnp.any(far & (segments[:, :, None] == segments[:, None, :]), axis=-1)


def apply_rope(x: Array, angles: CosSin) -> Array:
    """Turns the pairs (x_i, x_{i + R/2}) of the first R numbers of each head.

    The layout of Hugging Face's Llama and GPT-NeoX.
    """
    if angles is None:
        return x
    cosine, sine = angles
    half = cosine.shape[-1]
    wide = x.astype(jnp.float32)
    first, second = wide[..., :half], wide[..., half : 2 * half]
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    if 2 * half < x.shape[-1]:
        turned.append(wide[..., 2 * half :])
    return jnp.concatenate(turned, axis=-1).astype(x.dtype)


class Attention(nnx.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        d, h, k, e = config.width, config.heads, config.kv_heads, config.head_dim
        kind, std = config.param_dtype, config.width**-0.5
        out_std = (h * e * 2 * config.layers) ** -0.5
        self.query = normal_param(rngs, (d, h, e), ("width", "heads", None), std, kind)
        self.key = normal_param(rngs, (d, k, e), ("width", "kv_heads", None), std, kind)
        self.value = normal_param(
            rngs, (d, k, e), ("width", "kv_heads", None), std, kind
        )
        self.out = normal_param(
            rngs, (h, e, d), ("heads", None, "width"), out_std, kind
        )
        heads = lambda n, axis: constant_param(0.0, (n, e), (axis, None), kind)
        biased = config.qkv_bias
        self.query_bias = heads(h, "heads") if biased else None
        self.key_bias = heads(k, "kv_heads") if biased else None
        self.value_bias = heads(k, "kv_heads") if biased else None
        self.out_bias = (
            constant_param(0.0, (d,), (None,), kind) if config.out_bias else None
        )
        self.whole = config.qk_norm == "whole"
        self.query_norm = self.norm(config, h, "heads")
        self.key_norm = self.norm(config, k, "kv_heads")

    def norm(self, config: ModelConfig, heads: int, axis: str) -> Norm | None:
        """Of queries or keys, if the model has one."""
        if config.qk_norm == "none":
            return None
        if self.whole:
            return Norm(config, heads * config.head_dim, axis)
        return Norm(config, config.head_dim)

    def project(
        self, x: Array, angles: CosSin, asking: GatherFn
    ) -> tuple[Array, Array, Array]:
        """Queries [B Q H E], keys and values [B T K E], turned by position."""
        query = linear(asking(x), self.query, self.query_bias)
        key = linear(x, self.key, self.key_bias)
        value = linear(x, self.value, self.value_bias)
        query = self.normed(self.query_norm, query)
        key = self.normed(self.key_norm, key)
        query = sharding.constrain(query, "batch", None, "heads", None)
        key = sharding.constrain(key, "batch", None, "kv_heads", None)
        query = apply_rope(query, jax.tree.map(asking, angles))
        return query, apply_rope(key, angles), value

    def normed(self, norm: Norm | None, x: Array) -> Array:
        """Heads [B T H E] after their norm: each one's, or one of all of them."""
        if not self.whole:
            return maybe_norm(norm, x)
        return maybe_norm(norm, x.reshape(*x.shape[:2], -1)).reshape(x.shape)

    def merge(self, attended: Array) -> Array:
        """The heads' answers [B T H E], put together [B T D]."""
        return linear(attended, self.out, self.out_bias, axes=2)


class FeedForward(nnx.Module):
    """down(activation(gate(x)) * up(x)), such as SwiGLU (Shazeer 2020).

    Without a gate down(activation(up(x))). Shazeer: arXiv:2002.05202.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        d, f = config.width, config.hidden
        kind, out_std = config.param_dtype, (f * 2 * config.layers) ** -0.5
        self.activation = ACTIVATIONS[config.activation]
        wide = lambda: normal_param(rngs, (d, f), ("width", "hidden"), d**-0.5, kind)
        bias = lambda size, axis: constant_param(0.0, (size,), (axis,), kind)
        biased, gated = config.mlp_bias, config.gated
        self.gate = wide() if gated else None
        self.up = wide()
        self.down = normal_param(rngs, (f, d), ("hidden", "width"), out_std, kind)
        self.gate_bias = bias(f, "hidden") if biased and gated else None
        self.up_bias = bias(f, "hidden") if biased else None
        self.down_bias = bias(d, None) if biased else None

    def __call__(self, x: Array) -> Array:
        if self.gate is None:
            inner = self.activation(linear(x, self.up, self.up_bias))
        else:
            gate = linear(x, self.gate, self.gate_bias)
            up = linear(x, self.up, self.up_bias)
            inner = self.activation(gate) * up
        return linear(inner, self.down, self.down_bias)


class Block(nnx.Module):
    """One layer: attention and feed-forward, each with its norms, each added."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
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
        self, x: Array, angles: CosSin, attend: Any, asking: GatherFn = all_positions
    ) -> Array:
        """The outcome [B Q D] of x [B T D].

        Args:
          attend: (query, key, value) -> what each query finds [B Q H E].
          asking: [B T ...] -> [B Q ...], the places whose outcome is wanted.
        """
        normed = maybe_norm(self.attention_norm, x)
        heads = self.attention.project(normed, angles, asking)
        read, x = self.attention.merge(attend(*heads)), asking(x)
        y = x + maybe_norm(self.attention_post_norm, read)
        z = maybe_norm(self.feed_forward_norm, x if self.parallel else y)
        y = y + maybe_norm(self.feed_forward_post_norm, self.feed_forward(z))
        return sharding.constrain(y, "batch", None, None)
