"""Likelihoods of people's comparisons: graded answers, and annotators who differ.

loss                     paper             model
-----------------------  ----------------  ---------------------------------------------
cumulative_logit         McCullagh 1980    a position on a scale from "A by far" to
                                           "B by far", such as Askell et al.'s of 8
annotator_bradley_terry  Bradley and       a side, chosen by an annotator with a
                         Terry 1952        sharpness, a bias to one side, and lapses

A score is the raw output of the reward model's head for one answer, without unit.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxalign.losses.comparison_models import SMALLEST
from jaxalign.types import Array, Bool, Float, Int, Scalar, typed


@typed
def cumulative_logit(
    a: Float[Array, "*B"],
    b: Float[Array, "*B"],
    position: Int[Array, "*B"],
    *,
    levels: int,
    thresholds: Sequence[Scalar],
) -> Float[Array, "*B"]:
    """Negative log-likelihood of a position on a symmetric scale of preference.

    P(position <= k) = sigmoid(a - b - c_k),   c_(levels - k) = -c_k
    loss = -log[P(position <= k) - P(position <= k - 1)]   at position k

    The proportional-odds model without preferred side. At 2 levels it is Bradley-Terry,
    at 3 Rao and Kupper's model of ties (theta = exp(threshold)); summed over the
    positions of one side of an even scale it is Bradley-Terry as well.

    Args:
      a, b: scores of the first and the second answer.
      position: from 1, "a by far", to `levels`, "b by far"; others are clipped to it.
        As of the answers, not of the sides on which they were shown.
      levels: number of positions, 2 or more; an odd one has a tie in the middle.
      thresholds: (levels - 1) // 2 rising positive numbers: how far scores differ at
        the bounds between positions, from the middle outwards. They have gradients, so
        that they may be learned; where two are equal, the position between them costs
        at least 87 nats.

    Returns:
      One term per pair, in nats.

    Raises:
      ValueError: fewer than 2 levels, or thresholds of another number.

    Reference: McCullagh 1980, "Regression models for ordinal data"; the scale of 8 is
    that of Askell et al. 2021, arXiv:2112.00861.

    >>> loss = cumulative_logit(0.0, 0.0, 1, levels=4, thresholds=[1.0])
    >>> round(float(jnp.exp(-loss)), 4)  # sigmoid(-1)
    0.2689
    """
    cuts = symmetric_cuts(levels, thresholds)
    k = jnp.clip(position, 1, levels)
    first, last = k == 1, k == levels
    difference = a - b
    # c_k and c_(k - 1), or any number where there is none
    lower_cut = cuts[jnp.minimum(k, levels - 1) - 1]
    upper_cut = cuts[jnp.maximum(k - 1, 1) - 1]
    # s(u) - s(l) = s(u) s(-l) (1 - exp(l - u)),  u = a - b - c_k, l = a - b - c_(k-1)
    below = jnp.where(last, 0.0, jax.nn.log_sigmoid(difference - lower_cut))
    above = jnp.where(first, 0.0, jax.nn.log_sigmoid(upper_cut - difference))
    gap = jnp.where(first | last, 1.0, upper_cut - lower_cut)
    width = jnp.log(jnp.maximum(-jnp.expm1(-gap), SMALLEST))
    return -(below + above + jnp.where(first | last, 0.0, width))


def symmetric_cuts(levels: int, thresholds: Sequence[Scalar]) -> jax.Array:
    """The cut points c_1 > ... > c_(levels - 1) of a symmetric scale [levels-1].

    Raises:
      ValueError: fewer than 2 levels, or thresholds of another number.

    >>> symmetric_cuts(4, [1.5]).tolist(), symmetric_cuts(3, [1.5]).tolist()
    ([1.5, 0.0, -1.5], [1.5, -1.5])
    """
    if levels < 2 or len(thresholds) != (levels - 1) // 2:
        raise ValueError(
            f"a scale of {levels} levels with {len(thresholds)} thresholds; expected 2 "
            "levels or more, and (levels - 1) // 2 thresholds"
        )
    outer = [jnp.asarray(t, float) for t in thresholds]
    middle = [jnp.zeros(())] if levels % 2 == 0 else []
    return jnp.stack([*outer[::-1], *middle, *(-t for t in outer)])


@typed
def annotator_bradley_terry(
    left: Float[Array, "*B"],
    right: Float[Array, "*B"],
    chose_left: Bool[Array, "*B"],
    *,
    sharpness: Scalar | Float[Array, "*B"],
    bias: Scalar | Float[Array, "*B"],
    lapse: Scalar | Float[Array, "*B"],
) -> Float[Array, "*B"]:
    """Negative log-likelihood of an annotator's choice between two sides.

    P(left) = (1 - lapse) sigmoid(sharpness (left - right) + bias) + lapse / 2
    loss = -log P(left)          where the left answer was chosen
         = -log (1 - P(left))    where the right one was

    With sharpness 1 and neither bias nor lapses it is Bradley-Terry. All three have
    gradients, so that they may be learned with the reward model; scores and sharpness
    have one scale between them, which is then to be fixed.

    Args:
      left, right: scores of the answers, by the side on which they were shown.
      chose_left: whether the left answer was chosen.
      sharpness: of the pair's annotator, log-odds per unit of score.
      bias: to the left side, in log-odds.
      lapse: share of choices at random, in [0, 1]; at 0 the log of it is cut at -87.

    Returns:
      One term per pair, in nats.

    Reference: Bradley and Terry 1952; Wichmann and Hill 2001, "The psychometric
    function: I" (lapses).

    >>> knobs = dict(sharpness=1.0, bias=0.0, lapse=0.2)
    >>> loss = annotator_bradley_terry(50.0, 0.0, False, **knobs)
    >>> round(float(jnp.exp(-loss)), 4)  # of a certain pair: half of the lapses
    0.1
    """
    log_odds = sharpness * (left - right) + bias
    attentive = jax.nn.log_sigmoid(jnp.where(chose_left, log_odds, -log_odds))
    log_share = jnp.log(jnp.maximum(1.0 - lapse, SMALLEST))
    log_random = jnp.log(jnp.maximum(0.5 * lapse, SMALLEST))
    return -jnp.logaddexp(log_share + attentive, log_random)
