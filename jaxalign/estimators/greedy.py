"""Log-probs of given tokens, and whether greedy decoding would choose them."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.estimators.chunks import (
    balanced_chunk_size,
    join_chunks,
    scaled_logits,
    split_chunks,
)
from jaxalign.sharding import constrain
from jaxalign.types import Array, Bool, Float, Int, typed


class TargetStatistics(NamedTuple):
    """Statistics of target tokens under the distributions that predict them.

    Attributes:
      logp: log-prob of each target in nats, float32 [R S].
      is_greedy: whether the target is the first of the likeliest tokens [R S].
    """

    logp: Float[Array, "R S"]
    is_greedy: Bool[Array, "R S"]


@typed
def target_statistics(
    hidden: Float[Array, "R S D"],
    unembed: Float[Array, "D V"],
    targets: Int[Array, "R S"],
    *,
    chunk: int | None = None,
    logit_cap: float | None = None,
) -> TargetStatistics:
    """Log-probs of target tokens, and whether they are the argmax, in one pass.

        logp = logits[target] - logsumexp(logits)
        is_greedy = (target == argmax(logits)), the first of equal logits

    For evaluation: the logits of one chunk exist at a time, and no gradient is defined.

    Args:
      hidden: final hidden state before each target.
      unembed: from hidden states to logits.
      targets: token ids.
      chunk: positions whose logits exist at one time; None for as many as fit in
        256 MiB per device.
      logit_cap: soft cap on the logits; None for none.

    >>> logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25]]]))
    >>> logp, is_greedy = target_statistics(logits, jnp.eye(3), jnp.array([[1]]))
    >>> round(float(logp[0, 0]), 4), bool(is_greedy[0, 0])
    (-1.3863, False)
    """
    gathered = constrain(unembed, None, "vocab")  # once, rather than for each chunk
    chunk = balanced_chunk_size(targets.shape, unembed.shape[1], chunk)
    index = jnp.arange(unembed.shape[1])[None, None, :]

    def of_chunk(part: tuple[Array, Array]) -> TargetStatistics:
        states, tokens = part
        logits = scaled_logits(states, gathered, jnp.float32(1.0), logit_cap)
        target = jnp.take_along_axis(logits, tokens[..., None], axis=-1)
        logp = target[..., 0] - jax.nn.logsumexp(logits, axis=-1)
        ahead = jnp.where(index < tokens[..., None], logits >= target, logits > target)
        return TargetStatistics(logp, ~jnp.any(ahead, axis=-1))

    parts = split_chunks(hidden, chunk), split_chunks(targets, chunk)
    logp, is_greedy = jax.lax.map(of_chunk, parts)
    length = targets.shape[1]
    return TargetStatistics(join_chunks(logp, length), join_chunks(is_greedy, length))
