"""Bradley-Terry ratings of models from battles, with sandwich standard errors.

P(a beats b) = sigmoid(theta_a - theta_b),   rating = 1000 + 400 / ln(10) * theta

A tie counts as half a win each way, a quasi-likelihood. Ratings are centered: their
mean is 1000, or one model is moved to a given value afterwards, with all others and all
intervals.
"""

import dataclasses
import math

import numpy as np
from scipy.sparse import csr_array, hstack

from jaxalign.evaluation.ratings.battles import (
    Battles,
    groups_that_never_met,
    half_wins,
    join,
    undefeated_groups,
    unique_battles,
)
from jaxalign.evaluation.win_rates.logistic import LogisticFit, fit_logistic
from jaxalign.messages import shorten

SCALE = 400 / math.log(10)  # rating points of one unit of log-odds
CENTER = 1000.0
STYLE_RIDGE = 1e-3


@dataclasses.dataclass(frozen=True)
class Ratings:
    """A Bradley-Terry fit.

    Attributes:
      models: names of the K models.
      theta: log-odds, with a mean of 0 [K].
      covariance: of theta, the sandwich estimate [K K].
      shift: rating points added to all, such that an anchor has its value.
      style: coefficient of each style feature, per standard deviation of it [J].
      style_se: their standard errors [J].
      half_wins: whether half a win each way was added between models that met, since
        some groups of models never lost to others.
    """

    models: tuple[str, ...]
    theta: np.ndarray
    covariance: np.ndarray
    shift: float
    style: np.ndarray
    style_se: np.ndarray
    half_wins: bool

    @property
    def rating(self) -> np.ndarray:
        """Rating points [K]."""
        return to_rating(self.theta) + self.shift

    @property
    def se(self) -> np.ndarray:
        """Sandwich standard errors of the ratings, in points [K]."""
        return SCALE * np.sqrt(np.diag(self.covariance))

    def difference_se(self) -> np.ndarray:
        """Standard errors of the differences of two ratings, in points [K K]."""
        variance = np.diag(self.covariance)
        square = variance[:, None] + variance[None, :] - 2 * self.covariance
        return SCALE * np.sqrt(np.maximum(square, 0.0))


def to_rating(theta: np.ndarray) -> np.ndarray:
    """Rating points of log-odds: 1000 + 400 / ln(10) * theta.

    >>> round(float(to_rating(np.log(10.0))), 9)  # ten wins to one loss
    1400.0
    """
    return CENTER + SCALE * theta


def rate(
    battles: Battles,
    style: np.ndarray | None = None,
    *,
    anchor: tuple[str, float] | None = None,
    clusters: np.ndarray | None = None,
    style_ridge: float = STYLE_RIDGE,
) -> Ratings:
    """Fits ratings by maximum likelihood.

    minimize sum_i w_i [softplus(d_i) - o_i d_i] + W ridge |beta|^2 / 2
    d_i = theta_a - theta_b + beta x_i,   W = sum_i w_i

    With style features, ratings are those of answers of equal style. The covariance is
    H^+ G H^+, with H the second derivatives and G the sum of squared scores: of each
    battle, or of each cluster's sum.

    Args:
      battles: the data.
      style: standardized differences of style of each battle's answers [N J].
      anchor: a model and its rating; by default the mean rating is 1000.
      clusters: an index from 0 of each battle's cluster, such as its voter [N]; by
        default each battle is its own.
      style_ridge: strength of the penalty on the style's coefficients, on the scale of
        the mean loss; arena_rank has 1.0, which shrinks them to about a fifth.

    Raises:
      ValueError: models in groups that never met, an unknown anchor, or style features
        of another number.

    Reference: Bradley and Terry 1952, Biometrika 39; Huber 1967 (sandwich); Chiang et
    al. 2024, arXiv:2403.04132, section 4 (ratings), and the style control of its blog.

    >>> from jaxalign.evaluation.ratings.battles import make_battles
    >>> battles = make_battles(["a", "a", "b"], ["b", "b", "a"], [1, 1, 1])
    >>> rate(battles, anchor=("b", 1000.0)).rating.round(3).tolist()  # 400 log10(2)
    [1120.412, 1000.0]
    """
    check_comparable(battles)
    shift_index = None if anchor is None else anchor_index(battles, anchor[0])
    separated = len(undefeated_groups(battles)) > 1
    if style is not None and len(style) != len(battles):
        raise ValueError(f"{len(style)} rows of style for {len(battles)} battles")
    data = join(battles, half_wins(battles)) if separated else battles
    fit = fit_unique(data, style, style_ridge)
    x = fit.coefficients[0]
    index = np.arange(len(data))
    if clusters is not None:
        added = np.arange(len(data) - len(battles))
        index = np.append(clusters, np.max(clusters) + 1 + added)
    design = design_matrix(data, style)
    covariance = sandwich(design, data, x, fit.hessian[0], index)
    size = len(battles.models)
    theta = x[:size] - x[:size].mean()
    shift = 0.0
    if anchor is not None and shift_index is not None:
        shift = anchor[1] - float(to_rating(theta[shift_index]))
    return Ratings(
        models=battles.models,
        theta=theta,
        covariance=center_covariance(covariance[:size, :size]),
        shift=shift,
        style=x[size:],
        style_se=np.sqrt(np.diag(covariance)[size:]),
        half_wins=separated,
    )


def fit_unique(
    battles: Battles, style: np.ndarray | None, style_ridge: float
) -> LogisticFit:
    """The fit of `rate`; equal battles are one row, of their number as its weight."""
    features = None if style is None else pad_rows(style, len(battles))
    cells, features, cell = unique_battles(battles, features)
    weight = np.bincount(cell) * cells.weight
    design = design_matrix(cells, features)
    penalty = penalty_matrix(battles, design.shape[1], style_ridge)
    return fit_logistic(design, cells.outcome, weight[None, :], penalty=penalty)


def check_comparable(battles: Battles) -> None:
    """Refuses models that cannot be compared.

    Raises:
      ValueError: models in groups that never met.
    """
    groups = groups_that_never_met(battles)
    if len(groups) > 1:
        names = lambda group: shorten(", ".join(group), 80)
        raise ValueError(
            f"the models are in {len(groups)} groups that never met, such as "
            f"{names(groups[0])} and {names(groups[1])}: their ratings cannot be "
            "compared; rate each group by itself, or add battles between them"
        )


def anchor_index(battles: Battles, name: str) -> int:
    """The index of the anchor.

    Raises:
      ValueError: no battle has this model.
    """
    if name not in battles.models:
        known = shorten(", ".join(battles.models), 200)
        raise ValueError(f"no battle has the anchor {name!r}; there are {known}")
    return battles.models.index(name)


def design_matrix(battles: Battles, style: np.ndarray | None) -> csr_array:
    """+1 and -1 at the models of each battle, then its style features [N K+J].

    Rows beyond those of the style, which are added half-wins, have a style of 0.
    """
    if style is None or not style.shape[1]:
        return battles.incidence
    rows = pad_rows(style, len(battles))
    return csr_array(hstack([battles.incidence, csr_array(rows)]))


def pad_rows(style: np.ndarray, rows: int) -> np.ndarray:
    """The style with rows of 0 after its own, in all so many [rows J]."""
    return np.pad(style, [(0, rows - len(style)), (0, 0)])


def penalty_matrix(battles: Battles, size: int, style_ridge: float) -> np.ndarray:
    """The penalty of `fit_logistic` [K+J K+J].

    Its first block holds the sum of theta at 0, where the likelihood does not depend on
    it, and so changes no difference of ratings.
    """
    models, total = len(battles.models), battles.weight.sum()
    penalty = np.zeros((size, size))
    penalty[:models, :models] = total / models**2
    styles = np.arange(models, size)
    penalty[styles, styles] = style_ridge * total
    return penalty


def sandwich(
    design: csr_array,
    battles: Battles,
    x: np.ndarray,
    hessian: np.ndarray,
    index: np.ndarray,
) -> np.ndarray:
    """The covariance H^-1 G H^-1 of the coefficients [K+J K+J].

    G = sum over clusters of s s',   s = sum over its battles of w (o - p) e

    Args:
      x: coefficients at the minimum [K+J].
      hessian: with the sum of theta held, so that it is invertible [K+J K+J].
      index: of each battle's cluster, from 0 [N].
    """
    probability = 1 / (1 + np.exp(-(design @ x)))
    residual = battles.weight * (battles.outcome - probability)
    rows = np.arange(len(residual))
    by_cluster = csr_array(
        (residual, (index, rows)), shape=(index.max() + 1, len(rows))
    )
    scores = csr_array(by_cluster @ design)
    inverse = np.linalg.inv(hessian)
    covariance: np.ndarray = inverse @ (scores.T @ scores).toarray() @ inverse
    return covariance


def center_covariance(covariance: np.ndarray) -> np.ndarray:
    """The covariance of theta minus its mean [K K]."""
    size = len(covariance)
    center = np.eye(size) - 1 / size
    centered: np.ndarray = center @ covariance @ center
    return centered
