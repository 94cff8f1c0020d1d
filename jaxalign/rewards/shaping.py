"""What is added to a score before it is a reward."""

import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Int, Scalar, typed


@typed
def penalize_missing_eos(
    score: Float[Array, "B"], ended: Bool[Array, "B"], *, penalty: Scalar
) -> Float[Array, "B"]:
    """Takes a penalty from the score of an answer that did not end.

    score = score                if ended
          = score - penalty      if not

    Reference: TRL's `missing_eos_penalty`; Huang et al. 2024, arXiv:2403.17031,
    detail 15, where the score is set rather than lowered (`assign_missing_eos`).

    >>> import numpy as np
    >>> ended = np.array([True, False])
    >>> penalize_missing_eos(np.ones(2, np.float32), ended, penalty=3.0).tolist()
    [1.0, -2.0]
    """
    return jnp.where(ended, score, score - penalty)


@typed
def assign_missing_eos(
    score: Float[Array, "B"], ended: Bool[Array, "B"], *, value: Scalar
) -> Float[Array, "B"]:
    """Sets the score of an answer that did not end.

    score = score      if ended
          = value      if not

    Reference: Huang et al. 2024, arXiv:2403.17031, detail 15 (value -1).

    >>> import numpy as np
    >>> ended = np.array([True, False])
    >>> assign_missing_eos(np.ones(2, np.float32), ended, value=-1.0).tolist()
    [1.0, -1.0]
    """
    return jnp.where(ended, score, value)


@typed
def penalize_overlong(
    score: Float[Array, "B"],
    length: Int[Array, "B"],
    *,
    max_length: Scalar,
    interval: Scalar,
) -> Float[Array, "B"]:
    """Takes up to 1 from the score of an answer that comes near the longest.

    score - clip((length - (longest - margin)) / margin, 0, 1)

    Args:
      length: tokens of each answer.
      interval: tokens before the longest from which on length costs.

    Reference: Yu et al. 2025, arXiv:2503.14476, section 3.4 (DAPO's soft punishment).

    >>> import numpy as np
    >>> length = np.array([6, 9, 10])
    >>> penalize_overlong(np.ones(3, np.float32), length, longest=10, margin=4).tolist()
    [1.0, 0.25, 0.0]
    """
    over = (length - (max_length - interval)) / interval
    return score - jnp.clip(over, 0.0, 1.0)
