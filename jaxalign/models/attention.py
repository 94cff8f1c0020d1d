"""Which tokens of a row each token attends to in the training forward pass."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign.batches import BRANCH
from jaxalign.models.config import ModelConfig
from jaxalign.types import Array

BLOCK, BLOCKS = 128, 8  # queries in a block at least, and blocks at most
LOWEST = (
    -1e30
)  # a score that no softmax can tell from -inf, and no NaN where all have it

# (query [B T H E], key [B T K E], value [B T K E]) -> [B T H E]
Attend = Callable[[Array, Array, Array], Array]


def within_rows(segments: Array, config: ModelConfig) -> Attend:
    """Attention to what came before in the same segment; the mask is made once.

    A branch sees its prompt, too (`batches.BRANCH`). Padding is a segment of its own
    (0), so that nothing real ever attends to it.

    Args:
      segments: [B T].
    """
    if config.attention == "cudnn":
        return fused(segments)
    query, key = segments[:, :, None], segments[:, None, :]
    same = (query == key) | (query % BRANCH == key)
    index = jnp.arange(segments.shape[1])
    mask = same & (index[None, :, None] >= index[None, None, :])
    return functools.partial(causal, mask=mask)


def causal(query: Array, key: Array, value: Array, *, mask: Array) -> Array:
    """softmax(query key' / sqrt(E)) value, block by block of queries.

    No block looks at keys after its end: of 8 blocks that saves 7 parts in 16. Scores
    and their softmax are float32.

    Args:
      mask: which keys a query sees, at most those up to its own place [B T T].
    """
    (_, length, heads, size), groups = query.shape, key.shape[2]
    query = query.reshape(*query.shape[:2], groups, heads // groups, size)
    block = max(BLOCK, -(-length // BLOCKS))
    parts = []
    for start in range(0, length, block):
        end = min(start + block, length)
        seen, seen_value = key[:, :end], value[:, :end]
        scores = jnp.einsum(
            "btkge,bske->bkgts",
            query[:, start:end],
            seen,
            preferred_element_type=jnp.float32,
        )
        hidden = ~mask[:, None, None, start:end, :end]
        scores = jnp.where(hidden, LOWEST, scores * size**-0.5)
        shares = jax.nn.softmax(scores, axis=-1)
        parts.append(
            jnp.einsum("bkgts,bske->btkge", shares.astype(value.dtype), seen_value)
        )
    return jnp.concatenate(parts, axis=1).reshape(-1, length, heads, size)


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
