"""What is added to a score before it is a reward."""

import jax.numpy as jnp

from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def missing_eos(
    score: Float[Array, "B"], ended: Bool[Array, "B"], *, penalty: Scalar
) -> Float[Array, "B"]:
    """Takes a penalty from the score of an answer that did not end.

    score = score                if ended
          = score - penalty      if not

    Reference: TRL's `missing_eos_penalty`; Huang et al. 2024, arXiv:2403.17031,
    detail 15, where the score is set rather than lowered (`assign_missing_eos`).

    >>> import numpy as np
    >>> ended = np.array([True, False])
    >>> missing_eos(np.ones(2, np.float32), ended, penalty=3.0).tolist()
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
