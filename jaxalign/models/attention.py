"""Which tokens of a row each token attends to, and what it finds there."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign.batches import BRANCH
from jaxalign.models import blocks
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array

# (query [B T H E], key [B T K E], value [B T K E]) -> [B T H E]
Attend = Callable[[Array, Array, Array], Array]


def within_rows(
    segments: Array, positions: Array, config: ModelConfig, *, slides: bool
) -> Array | None:
    """Which tokens see which [B T T]: what came before in the same segment.

    A branch sees its prompt, too (`batches.BRANCH`). Padding is a segment of its own
    (0), so that nothing real ever attends to it. None for cuDNN, which goes by the
    lengths of the rows.

    Args:
      segments, positions: [B T].
      slides: only as far back as the window.
    """
    if config.attention == "cudnn":
        return None
    query, key = segments[:, :, None], segments[:, None, :]
    same = (query == key) | (query % BRANCH == key)
    index = jnp.arange(segments.shape[1])
    mask = same & (index[None, :, None] >= index[None, None, :])
    if slides and config.window is not None:
        mask = mask & (positions[:, :, None] - positions[:, None, :] < config.window)
    return mask


def attention(segments: Array, mask: Array | None, config: ModelConfig) -> Attend:
    """The attention of the training forward pass."""
    if mask is None:
        return fused(segments, config)
    plain = config.attention_cap is None and config.dtype == "float32"
    find = lean if plain and jax.default_backend() == "cpu" else causal
    return functools.partial(find, mask=mask, config=config)


def causal(
    query: Array, key: Array, value: Array, *, mask: Array, config: ModelConfig
) -> Array:
    """softmax(query key' scale) value, block by block of queries.

    No block looks at keys after its end: of 8 blocks that saves 7 parts in 16.

    Args:
      mask: which keys a query sees, at most those up to its own place [B T T].
    """
    parts = []
    for rows, seen in blocks.blocks(query.shape[1]):
        visible = mask[:, rows, seen]
        parts.append(
            found(query[:, rows], key[:, seen], value[:, seen], visible, config)
        )
    return jnp.concatenate(parts, axis=1)


def lean(
    query: Array, key: Array, value: Array, *, mask: Array, config: ModelConfig
) -> Array:
    """The same of float32 without a soft cap, as `blocks` does it for CPUs."""
    grouped = query.reshape(*query.shape[:2], key.shape[2], -1, query.shape[3])
    found = blocks.attend(
        grouped.transpose(0, 2, 3, 1, 4),
        key.swapaxes(1, 2),
        value.swapaxes(1, 2),
        mask,
        scale(config),
    )
    return found.transpose(0, 3, 1, 2, 4).reshape(query.shape)


def scale(config: ModelConfig) -> float:
    """By which scores are multiplied."""
    return config.head_dim**-0.5 if config.query_scale is None else config.query_scale


def found(
    query: Array, key: Array, value: Array, mask: Array, config: ModelConfig
) -> Array:
    """What each query [B T H E] finds among S keys, its scores and softmax in float32.

    scores = cap tanh(query key' scale / cap)    with a soft cap, else without the tanh

    Args:
      mask: [B T S].
    """
    (_, length, heads, size), groups = query.shape, key.shape[2]
    grouped = query.reshape(*query.shape[:2], groups, heads // groups, size)
    scores = scale(config) * jnp.einsum(
        "btkge,bske->bkgts", grouped, key, preferred_element_type=jnp.float32
    )
    if config.attention_cap is not None:
        scores = config.attention_cap * jnp.tanh(scores / config.attention_cap)
    scores = jnp.where(~mask[:, None, None], blocks.LOWEST, scores)
    shares = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    read = jnp.einsum("bkgts,bske->btkge", shares, value)
    return read.reshape(-1, length, heads, size)


def fused(segments: Array, config: ModelConfig) -> Attend:
    """cuDNN's kernel: causal, with lengths; a mask would become a dense bias there.

    What the kernel leaves in padding is not specified, and NaN * 0 is NaN: padding is
    put to 0 on the way in and out, and so are its gradients on the way back.
    """
    real = (segments > 0)[:, :, None, None]
    # the kernel never sees an empty row, such as those that only fill a batch up
    lengths = jnp.maximum(jnp.sum(segments > 0, axis=-1), 1).astype(jnp.int32)
    kept = lambda x: jnp.where(real, x, jnp.zeros((), x.dtype))

    def attend(query: Array, key: Array, value: Array) -> Array:
        read = jax.nn.dot_product_attention(
            kept(query),
            kept(key),
            kept(value),
            is_causal=True,
            scale=config.query_scale,
            query_seq_lengths=lengths,
            key_value_seq_lengths=lengths,
            implementation="cudnn",
        )
        return kept(read)

    return attend
