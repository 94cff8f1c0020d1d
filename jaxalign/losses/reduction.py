"""Reductions of token terms to one number, where GRPO and its relatives differ.

reduction             paper                        weight of a token
--------------------  ---------------------------  ----------------------------
token_mean            Yu et al. 2025 (DAPO)        the same in all answers
sequence_mean         Shao et al. 2024 (GRPO)      1 / length of its answer
constant_length_mean  Liu et al. 2025 (Dr. GRPO)   1 / a constant of the run

Each returns a sum and its weight: the sums and weights of micro-batches and devices add
up, and one division happens at the end. Rows without counted tokens count nowhere.
"""

import jax.numpy as jnp

from jaxalign.masks import masked_sum
from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def token_mean(
    terms: Float[Array, "*B T"], mask: Bool[Array, "*B T"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean over the tokens of all answers (DAPO).

    sum = sum over i, t of terms,   weight = counted tokens

    Args:
      terms: one term per token.
      mask: True on counted tokens.

    Returns:
      (sum, weight); the mean is their quotient.

    Reference: Yu et al. 2025, arXiv:2503.14476, section 3.3 (DAPO).

    >>> terms, mask = [[1.0, 3.0], [5.0, 0.0]], [[True, True], [True, False]]
    >>> [float(x) for x in token_mean(terms, mask)]
    [9.0, 3.0]
    """
    return masked_sum(terms, mask), jnp.sum(mask, dtype=terms.dtype)


@typed
def sequence_mean(
    terms: Float[Array, "*B T"], mask: Bool[Array, "*B T"]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean over answers of the mean over each one's tokens (GRPO).

    sum = sum over i of (mean over t of terms_i),   weight = answers with a token

    A token of a long answer weighs less than one of a short answer.

    Args:
      terms: one term per token.
      mask: True on counted tokens.

    Returns:
      (sum, weight); the mean is their quotient.

    Reference: Shao et al. 2024, arXiv:2402.03300, eq. 3 (GRPO).

    >>> terms, mask = [[1.0, 3.0], [5.0, 0.0]], [[True, True], [True, False]]
    >>> [float(x) for x in sequence_mean(terms, mask)]
    [7.0, 2.0]
    """
    length = jnp.sum(mask, axis=-1)
    totals = jnp.sum(jnp.where(mask, terms, 0.0), axis=-1)
    means = totals / jnp.maximum(length, 1)
    return jnp.sum(means), jnp.sum(length > 0, dtype=terms.dtype)


@typed
def constant_length_mean(
    terms: Float[Array, "*B T"], mask: Bool[Array, "*B T"], *, length: Scalar
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean over answers of each one's sum over a constant length (Dr. GRPO).

    sum = sum over i, t of terms,   weight = answers with a token * length

    Tokens of all answers weigh the same, whatever the lengths in a batch.

    Args:
      terms: one term per token.
      mask: True on counted tokens.
      length: most tokens of an answer, a constant of the run, above 0.

    Returns:
      (sum, weight); the mean is their quotient.

    Reference: Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).

    >>> terms, mask = [[1.0, 3.0], [5.0, 0.0]], [[True, True], [True, False]]
    >>> [float(x) for x in constant_length_mean(terms, mask, length=4)]
    [9.0, 8.0]
    """
    answers = jnp.sum(jnp.any(mask, axis=-1), dtype=terms.dtype)
    return masked_sum(terms, mask), answers * length
