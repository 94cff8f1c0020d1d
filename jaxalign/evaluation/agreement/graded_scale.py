"""Graded preferences, from "A by far" to "B by far": thresholds, and what levels mean.

P(position <= k) = sigmoid(Delta - c_k),  c symmetric around the middle

With (levels - 1) // 2 thresholds, which are fitted rather than guessed: 3 of the scale
of 8, 1 of those of 3 and 4, none of 2.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.evaluation.agreement import latent_differences
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.resampling import bootstrap_statistic
from jaxalign.losses.annotations import cumulative_logit

PRIOR_SD = 2.0  # of the logs of the spread and of the thresholds' differences


class ScaleFit(NamedTuple):
    """A fitted scale.

    Attributes:
      thresholds: how large Delta, in log-odds, is at the bounds between positions, from
        the middle outwards.
      spread: standard deviation of Delta over items; where differences were given, the
        log-odds of one unit of them.
      difference, difference_sd: mean and standard deviation of each item's Delta given
        its judgements, in log-odds [U].
    """

    thresholds: list[Interval]
    spread: Interval
    difference: np.ndarray
    difference_sd: np.ndarray


def signed_strength(
    position: np.ndarray, swapped: np.ndarray, levels: int
) -> np.ndarray:
    """How much better the first answer was judged: above 0 where it was preferred.

    strength = (levels + 1) / 2 - position,  of the position without the swap

    >>> signed_strength(np.array([1, 8, 1]), np.array([False, False, True]), 8).tolist()
    [3.5, -3.5, -3.5]
    """
    straight = np.where(swapped, levels + 1 - position, position)
    return np.asarray((levels + 1) / 2 - straight, np.float64)


def fit_scale(
    item: np.ndarray,
    position: np.ndarray,
    *,
    levels: int,
    difference: np.ndarray | None = None,
) -> ScaleFit:
    """Fits the thresholds by maximum likelihood with weak priors; Laplace's intervals.

    Args:
      item: index from 0 of the pair of each judgement [R].
      position: from 1, the first answer by far, to `levels` [R]; of the answers, not of
        the sides on which they were shown.
      levels: number of positions, 2 or more.
      difference: known differences of the pairs' scores [U], which get a common factor;
        by default they are integrated out, which takes pairs judged more than once.

    Raises:
      ValueError: no judgements, or a position that the scale does not have.

    Reference: McCullagh 1980, Journal of the Royal Statistical Society B 42.

    >>> position = np.repeat([1, 2, 3, 4], [30, 20, 20, 30])  # P(1) = s(-threshold)
    >>> fit = fit_scale(np.arange(100), position, levels=4, difference=np.zeros(100))
    >>> round(fit.thresholds[0].mean, 2)  # log(70 / 30) = 0.85
    0.85
    """
    position = np.asarray(position)
    if len(position) and not ((position >= 1) & (position <= levels)).all():
        raise ValueError(
            f"positions {position.min()} to {position.max()} on a scale of 1 to "
            f"{levels}"
        )
    judged = latent_differences.judged_rows(
        np.asarray(item), position, known=difference
    )
    free = 1 + (levels - 1) // 2
    prior = np.zeros(free), np.full(free, PRIOR_SD)
    likelihood = LIKELIHOODS.setdefault(levels, scale_likelihood(levels))
    fitted = latent_differences.fit(judged, likelihood, prior[0], prior=prior)
    x, covariance = fitted.parameters, fitted.covariance
    spread = float(np.exp(x[0]))
    # log threshold_j = log of a sum of exps: its gradient are the shares of the sum
    parts = np.exp(x[1:])
    total = np.cumsum(parts)
    shares = np.tril(np.ones((free - 1, free - 1))) * parts / total[:, None]
    sd = np.sqrt(np.diag(shares @ covariance[1:, 1:] @ shares.T))
    return ScaleFit(
        thresholds=[log_interval(t, s) for t, s in zip(total, sd, strict=True)],
        spread=log_interval(spread, float(np.sqrt(covariance[0, 0]))),
        difference=spread * fitted.difference,
        difference_sd=spread * fitted.difference_sd,
    )


def log_interval(value: float, sd: float) -> Interval:
    """The interval of a positive number whose logarithm has this standard deviation."""
    factor = float(np.exp(latent_differences.Z * sd))
    return Interval(float(value), float(value) / factor, float(value) * factor)


LIKELIHOODS: dict[int, latent_differences.RowLikelihood] = {}  # compiled once each


def scale_likelihood(levels: int) -> latent_differences.RowLikelihood:
    """log P(position) of each row at each node of Delta [R Q]."""

    def likelihood(
        parameters: jax.Array, nodes: jax.Array, columns: tuple[jax.Array, ...]
    ) -> jax.Array:
        delta = nodes * jnp.exp(parameters[0])
        thresholds = jnp.cumsum(jnp.exp(parameters[1:]))
        position = jnp.broadcast_to(columns[0][:, None], delta.shape)
        zero = jnp.zeros_like(delta)
        return -cumulative_logit(
            delta, zero, position, levels=levels, thresholds=list(thresholds)
        )

    return likelihood


def side_agreement_by_level(
    item: np.ndarray, strength: np.ndarray, *, seed: int = 0
) -> dict[float, Interval]:
    """How often another judgement of a pair is for the same side, by level.

    The soft label of a level, E[1[A better]], from pairs judged twice or more: for each
    judgement of strength t the share of the pair's others of the same sign, a tie half.
    Levels |t| in rising order, that of a tie left out; 95 % intervals over items.

    Args:
      item: index from 0 of the pair of each judgement [R].
      strength: `signed_strength` [R].

    >>> item = np.array([0, 0, 1, 1])
    >>> strength = np.array([3.5, 0.5, 0.5, -0.5])
    >>> {t: x.mean for t, x in side_agreement_by_level(item, strength).items()}
    {0.5: 0.3333333333333333, 3.5: 1.0}
    """
    item, strength = np.asarray(item), np.asarray(strength, np.float64)
    items = int(item.max()) + 1 if len(item) else 0
    side = np.sign(strength)
    count = np.bincount(item, minlength=items)[item] - 1.0
    others = np.bincount(item, side, items)[item] - side
    share = (1 + side * others / np.maximum(count, 1)) / 2
    agreement = {}
    for level in np.unique(np.abs(strength[(side != 0) & (count > 0)])):
        rows = (np.abs(strength) == level) & (count > 0)
        total = np.bincount(item[rows], share[rows], items)
        number = np.bincount(item[rows], minlength=items).astype(np.float64)
        some = number > 0
        total, number = total[some], number[some]
        agreement[float(level)] = bootstrap_statistic(
            lambda w, t=total, n=number: w @ t / np.maximum(w @ n, 1),  # type: ignore[misc]
            len(total),
            seed=seed,
        )
    return agreement
