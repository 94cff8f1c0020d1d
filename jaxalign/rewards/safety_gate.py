"""Gates between a helpfulness and a safety reward, and the whitening of their branches.

gate         safety decides                                          source
-----------  ------------------------------------------------------  -----------------
either_gate  on a tagged prompt, or where the answer seems unsafe    Llama 2, the paper
both_gate    on a tagged prompt whose answer seems unsafe            a lecture's slide

With `both_gate` an unsafe answer to a prompt without a tag is rewarded for helpfulness
alone, and so is a good refusal of a tagged one.

Reference: Touvron et al. 2023, arXiv:2307.09288, section 3.2.3.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxalign.masks import whiten
from jaxalign.types import Array, Bool, Float, Scalar, typed


@typed
def either_gate(
    safety: Float[Array, "*B"], tagged: Bool[Array, "*B"], *, threshold: Scalar
) -> Bool[Array, "*B"]:
    """Where safety decides: on tagged prompts, and on answers that seem unsafe.

    safety decides if tagged or sigmoid(safety) < threshold

    Args:
      safety: raw score of the safety model, the log-odds of a safe answer.
      tagged: True for prompts that are likely to elicit unsafe answers.
      threshold: probability of a safe answer, in [0, 1]; Llama 2 has 0.15.

    >>> either_gate([0.0, -3.0, 0.0], [True, False, False], threshold=0.15).tolist()
    [True, True, False]
    """
    return tagged | (jax.nn.sigmoid(safety) < threshold)


@typed
def both_gate(
    safety: Float[Array, "*B"], tagged: Bool[Array, "*B"], *, threshold: Scalar
) -> Bool[Array, "*B"]:
    """Where safety decides: on tagged prompts whose answer seems unsafe.

    safety decides if tagged and sigmoid(safety) <= threshold

    Args:
      safety, tagged, threshold: as of `either_gate`.

    >>> both_gate([0.0, -3.0, -3.0], [True, False, True], threshold=0.15).tolist()
    [False, False, True]
    """
    return tagged & (jax.nn.sigmoid(safety) <= threshold)


GATES: dict[str, Callable[..., Array]] = {"or": either_gate, "and": both_gate}


@typed
def whiten_batch(
    combined: Float[Array, "*B"], by_safety: Bool[Array, "*B"]
) -> Float[Array, "*B"]:
    """Whiten the rewards of both branches together, as the paper prints it.

    Equal rewards become 0. The branch whose scores spread more decides the scale.

    >>> whiten_batch([1.0, 3.0], [True, False]).tolist()
    [-1.0, 1.0]
    """
    return whiten_scores(combined, jnp.ones_like(combined, bool))


@typed
def whiten_branches(
    combined: Float[Array, "*B"], by_safety: Bool[Array, "*B"]
) -> Float[Array, "*B"]:
    """Whiten each branch by itself: the models' scores need no common scale.

    A branch of one row, or of equal rewards, is 0. Differences between branches, such
    as that unsafe answers are worse than helpful ones, are lost.

    >>> whiten_branches([1.0, 3.0, 10.0, 30.0], [True, True, False, False]).tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """
    of_safety = whiten_scores(combined, by_safety)
    return jnp.where(by_safety, of_safety, whiten_scores(combined, ~by_safety))


WHITENINGS: dict[str, Callable[..., Array]] = {
    "batch": whiten_batch,
    "branch": whiten_branches,
}


def whiten_scores(scores: Array, mask: Array) -> Array:
    """`masks.whiten`, where rewards that differ by rounding alone are 0 and not noise.

    Args:
      scores: rewards [B].
      mask: True on those that count; others become 0.
    """
    high = jnp.max(scores, where=mask, initial=-jnp.inf)
    low = jnp.min(scores, where=mask, initial=jnp.inf)
    return jnp.where(high > low, whiten(scores, mask), 0.0)
