"""Reading prompts of any length, a piece at a time, none padded to the longest."""

import jax
import jax.numpy as jnp

from jaxalign.types import Array, Cache, LanguageModel, Params

CHUNK = 64  # tokens that are read at once


def prefill(
    model: LanguageModel,
    params: Params,
    unembed: Array,
    prompts: Array,
    lengths: Array,
    slots: int,
) -> tuple[Array, Cache]:
    """What prompts leave: the hidden states of their last tokens [B D], and a cache.

    As many pieces as the longest has. The last piece of the widest begins early enough
    to be whole: what it reads twice is written twice, and the same.

    Args:
      prompts: right-padded [B T].
      lengths: of the prompts [B].
      slots: of the cache, a row.

    Reference: Agrawal et al. 2023, arXiv:2308.16369 (chunked prefills).
    """
    rows, longest = prompts.shape
    piece = min(CHUNK, longest)
    pieces = -(-jnp.max(lengths) // piece)

    def read(carry: tuple[Array, Array, Cache]) -> tuple[Array, Array, Cache]:
        n, last, cache = carry
        start = jnp.minimum(n * piece, longest - piece)
        tokens = jax.lax.dynamic_slice_in_dim(prompts, start, piece, axis=1)
        cache = cache._replace(length=jnp.full(rows, start))
        hidden, cache = model.extend(params, tokens, cache)
        at = lengths - 1 - start
        here = (at >= 0) & (at < piece)
        at = jnp.clip(at, 0, piece - 1)[:, None, None]
        found = jnp.take_along_axis(hidden, at, axis=1)[:, 0]
        return n + 1, jnp.where(here[:, None], found, last), cache

    unknown = jnp.zeros((rows, len(unembed)), unembed.dtype)
    start = (jnp.int32(0), unknown, model.init_cache(rows, slots))
    going = lambda carry: carry[0] < pieces
    _, last, cache = jax.lax.while_loop(going, read, start)
    return last, cache._replace(length=lengths)
