"""How token terms become one number: what GRPO and its relatives differ by.

Each gives a sum and its weight. Sums and weights of micro-batches and devices add up;
one division happens at the end. Rows without counted tokens count nowhere.
"""

import jax.numpy as jnp

from jaxalign.masks import masked_sum
from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def token_mean(
    terms: Float[Array, "B T"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Every token weighs the same: DAPO's mean, over the tokens of all answers.

    sum = sum over i, t of terms,   weight = counted tokens

    Reference: Yu et al. 2025, arXiv:2503.14476, section 3.3 (DAPO).

    >>> terms, mask = jnp.array([[1.0, 3.0], [5.0, 0.0]]), jnp.array([[1, 1], [1, 0]])
    >>> [float(x) for x in token_mean(terms, mask > 0)]
    [9.0, 3.0]
    """
    return masked_sum(terms, mask), jnp.sum(mask, dtype=terms.dtype)


@typed
def sequence_mean(
    terms: Float[Array, "B T"], mask: Bool[Array, "B T"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Every answer weighs the same: GRPO's mean of the means over each one's tokens.

    sum = sum over i of (mean over t of terms_i),   weight = answers with a token

    A token of a long answer weighs less than one of a short answer.

    Reference: Shao et al. 2024, arXiv:2402.03300, eq. 3 (GRPO).

    >>> terms, mask = jnp.array([[1.0, 3.0], [5.0, 0.0]]), jnp.array([[1, 1], [1, 0]])
    >>> [float(x) for x in sequence_mean(terms, mask > 0)]
    [7.0, 2.0]
    """
    length = jnp.sum(mask, axis=1)
    totals = jnp.sum(jnp.where(mask, terms, 0.0), axis=1)
    means = totals / jnp.maximum(length, 1)
    return jnp.sum(means), jnp.sum(length > 0, dtype=terms.dtype)


@typed
def constant_length_mean(
    terms: Float[Array, "B T"], mask: Bool[Array, "B T"], *, length: Scalar
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Every answer's sum over the same length: Dr. GRPO's mean.

    sum = sum over i, t of terms,   weight = answers with a token * length

    Tokens of all answers weigh the same, and what a batch's lengths are does not
    change the step's size.

    Args:
      length: the most tokens that an answer may have, a constant of the run.

    Reference: Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).

    >>> terms, mask = jnp.array([[1.0, 3.0], [5.0, 0.0]]), jnp.array([[1, 1], [1, 0]])
    >>> [float(x) for x in constant_length_mean(terms, mask > 0, length=4)]
    [9.0, 8.0]
    """
    answers = jnp.sum(jnp.any(mask, axis=1), dtype=terms.dtype)
    return masked_sum(terms, mask), answers * length
