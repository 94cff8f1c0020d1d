"""Rotary position embeddings (RoPE) of queries and keys.

The frequencies, and their scaling for longer contexts, are in `rope`.
"""

import jax.numpy as jnp

from jaxalign.models import rope
from jaxalign.models.config import ModelConfig
from jaxalign.models.cpu_friendly import cos_sin_once
from jaxalign.types import Array

# cosine and sine [B T 1 R/2] for R rotated numbers of a head; None without rotation
CosSin = tuple[Array, Array] | None


def rotary_cos_sin(
    positions: Array,
    config: ModelConfig,
    *,
    is_sliding: bool,
    long: Array | None = None,
) -> CosSin:
    """Cosine and sine of the rotary angles; None for learned positions.

    Args:
      positions: [B T].
      is_sliding: for layers with a sliding window, whose base may differ.
      long: where longrope's long factors apply [B T].
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
        cosine = cosine * scaling.attention_factor
        sine = sine * scaling.attention_factor
    return cosine[:, :, None, :], sine[:, :, None, :]


def uses_long_factors(
    positions: Array, segments: Array, config: ModelConfig
) -> Array | None:
    """Where longrope's long factors apply [B T]; None without longrope.

    They apply to all tokens of a segment that is longer than the original context.

    Args:
      positions, segments: [B T].
    """
    scaling = config.rope_scaling
    if scaling is None or scaling.kind != "longrope":
        return None
    if scaling.always_long:
        return jnp.ones(positions.shape, bool)
    beyond = (positions >= scaling.original_context)[:, None, :]
    return jnp.any(beyond & (segments[:, :, None] == segments[:, None, :]), axis=-1)


def apply_rope(x: Array, cos_sin: CosSin) -> Array:
    """Rotate the pairs (x_i, x_{i + R/2}) of the first R numbers of each head.

    The layout of Hugging Face's Llama and GPT-NeoX.

    Args:
      x: [B T H E].

    Reference: Su et al. 2021, arXiv:2104.09864, section 3.4.2.
    """
    if cos_sin is None:
        return x
    cosine, sine = cos_sin
    half = cosine.shape[-1]
    wide = x.astype(jnp.float32)
    first, second = wide[..., :half], wide[..., half : 2 * half]
    rotated = [first * cosine - second * sine, second * cosine + first * sine]
    if 2 * half < x.shape[-1]:
        rotated.append(wide[..., 2 * half :])
    return jnp.concatenate(rotated, axis=-1).astype(x.dtype)
