"""Which tokens of a row each token attends to in the training forward pass."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign.models.config import ModelConfig
from jaxalign.types import Array

# (query [B T H E], key [B T K E], value [B T K E]) -> [B T H E]
Attend = Callable[[Array, Array, Array], Array]


def within_rows(segments: Array, config: ModelConfig) -> Attend:
    """Attention to what came before in the same segment; the mask is made once.

    Padding is a segment of its own (0), so that nothing real ever attends to it.

    Args:
      segments: [B T].
    """
    if config.attention == "cudnn":
        return fused(segments)
    same = segments[:, :, None] == segments[:, None, :]
    index = jnp.arange(segments.shape[1])
    before = index[None, :, None] >= index[None, None, :]
    mask = (same & before)[:, None]
    return lambda query, key, value: jax.nn.dot_product_attention(
        query, key, value, mask=mask
    )


def fused(segments: Array) -> Attend:
    """cuDNN's kernel: causal, with lengths; a mask would become a dense bias there.

    What the kernel leaves in padding is not specified, and NaN * 0 is NaN: padding is
    put to 0 on the way in and out, and so are its gradients on the way back.
    """
    real = (segments > 0)[:, :, None, None]
    # the kernel never sees an empty row, such as those that only fill a batch up
    lengths = jnp.maximum(jnp.sum(segments > 0, axis=-1), 1).astype(jnp.int32)
    kept = lambda x: jnp.where(real, x, jnp.zeros((), x.dtype))

    def attend(query: Array, key: Array, value: Array) -> Array:
        found = jax.nn.dot_product_attention(
            kept(query),
            kept(key),
            kept(value),
            is_causal=True,
            query_seq_lengths=lengths,
            key_value_seq_lengths=lengths,
            implementation="cudnn",
        )
        return kept(found)

    return attend
