"""Chunked prefill: prompts are read in chunks, up to the longest of the batch."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Cache, LanguageModel, Params

CHUNK = 64  # tokens of a chunk


def prefill(
    model: LanguageModel,
    params: Params,
    unembed: Array,
    prompts: Array,
    lengths: Array,
    slots: int,
) -> tuple[Array, Cache]:
    """Read prompts into a new cache.

    As many chunks are read as the longest prompt has. The last chunk of the widest
    prompt starts early enough to be whole; tokens of the overlap are read twice, and
    their cache entries overwritten with the same values.

    Args:
      params: prepared parameters of the model.
      unembed: [D V]; only its width and dtype are used.
      prompts: right-padded token ids [B T].
      lengths: tokens of each prompt [B].
      slots: cache slots per row.

    Returns:
      The final hidden state of each prompt's last token [B D], and the cache.

    Reference: Agrawal et al. 2023, arXiv:2308.16369 (chunked prefills).
    """
    rows, longest = prompts.shape
    size = min(CHUNK, longest)
    chunks = -(-jnp.max(lengths) // size)

    def read(carry: tuple[Array, Array, Cache]) -> tuple[Array, Array, Cache]:
        n, last, cache = carry
        start = jnp.minimum(n * size, longest - size)
        tokens = jax.lax.dynamic_slice_in_dim(prompts, start, size, axis=1)
        cache = cache._replace(length=jnp.full(rows, start))
        hidden, cache = model.extend(params, tokens, cache)
        at = lengths - 1 - start
        ends_here = (at >= 0) & (at < size)
        at = jnp.clip(at, 0, size - 1)[:, None, None]
        final = jnp.take_along_axis(hidden, at, axis=1)[:, 0]
        return n + 1, jnp.where(ends_here[:, None], final, last), cache

    zeros = jnp.zeros((rows, len(unembed)), unembed.dtype)
    start = (jnp.int32(0), zeros, model.init_cache(rows, slots))
    unread = lambda carry: carry[0] < chunks
    _, last, cache = jax.lax.while_loop(unread, read, start)
    return last, cache._replace(length=lengths)
