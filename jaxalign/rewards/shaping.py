"""Reward shaping: penalties for answers that did not end, or are too long."""

import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Int, Scalar, typed


@typed
def penalize_missing_eos(
    score: Float[Array, "*B"], ended: Bool[Array, "*B"], *, penalty: Scalar
) -> Float[Array, "*B"]:
    """Subtract a penalty from the score of an answer without EOS.

    score = score                if ended
          = score - penalty      if not

    Args:
      score: score of each answer.
      ended: True where the answer ended with EOS.
      penalty: at least 0, in units of reward.

    Returns:
      One reward per answer.

    Reference: TRL's `missing_eos_penalty`; Huang et al. 2024, arXiv:2403.17031,
    detail 15, where the score is set rather than lowered (`assign_missing_eos`).

    >>> penalize_missing_eos([1.0, 1.0], [True, False], penalty=3.0).tolist()
    [1.0, -2.0]
    """
    return jnp.where(ended, score, score - penalty)


@typed
def assign_missing_eos(
    score: Float[Array, "*B"], ended: Bool[Array, "*B"], *, value: Scalar
) -> Float[Array, "*B"]:
    """Replace the score of an answer without EOS.

    score = score      if ended
          = value      if not

    Args:
      score: score of each answer.
      ended: True where the answer ended with EOS.
      value: reward of an answer without EOS.

    Returns:
      One reward per answer.

    Reference: Huang et al. 2024, arXiv:2403.17031, detail 15 (value -1).

    >>> assign_missing_eos([1.0, 1.0], [True, False], value=-1.0).tolist()
    [1.0, -1.0]
    """
    return jnp.where(ended, score, value)


@typed
def penalize_overlong(
    score: Float[Array, "*B"],
    length: Int[Array, "*B"],
    *,
    max_length: Scalar,
    interval: Scalar,
) -> Float[Array, "*B"]:
    """Subtract up to 1 from the score of an answer close to the maximal length.

    score - clip((length - (max_length - interval)) / interval, 0, 1)

    Args:
      score: score of each answer.
      length: number of tokens of each answer.
      max_length: length with the full penalty of 1.
      interval: the penalty grows over the last so many tokens, above 0.

    Returns:
      One reward per answer.

    Reference: Yu et al. 2025, arXiv:2503.14476, section 3.4 (DAPO's soft punishment).

    >>> score, length = [1.0, 1.0, 1.0], [6, 9, 10]
    >>> penalize_overlong(score, length, max_length=10, interval=4).tolist()
    [1.0, 0.25, 0.0]
    """
    over = (length - (max_length - interval)) / interval
    return score - jnp.clip(over, 0.0, 1.0)
