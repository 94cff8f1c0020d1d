"""What annotators reward, mined from preference data: Bayesian logistic regression.

Pairs of answers are described by features, such as "agrees with the user"; the
coefficients say how much each feature raises the probability that an answer is
preferred, all else equal.

Reference: Sharma et al. 2023, arXiv:2310.13548, section 4.1 and appendix B.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxalign import lazy
from jaxalign.evaluation.intervals import LEVEL, Interval, Units, unit_indices
from jaxalign.evaluation.resampling import percentile_interval, resample_weights
from jaxalign.evaluation.win_rates.l1_logistic import fit_l1_logistic

if TYPE_CHECKING:
    from scipy import special
else:
    special = lazy.module("scipy.special")

PRIOR_SCALE = 0.01  # b of the Laplace prior, in Sharma et al.
RESAMPLES = 200


@dataclasses.dataclass(frozen=True)
class FeatureEffects:
    """Effects of features on preferences.

    Attributes:
      names: of the features [K].
      coefficients: the maximum a posteriori a [K].
      resampled: coefficients of bootstrap samples of the pairs [S K].
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    resampled: np.ndarray

    def effect(self, *names: str) -> Interval:
        """sigmoid(sum of a) - 1/2: the change of the probability, all else equal.

        Of collinear features only the sum is known: name them together.

        Raises:
          ValueError: no such feature.
        """
        if unknown := set(names) - set(self.names):
            raise ValueError(f"no feature {sorted(unknown)}: {', '.join(self.names)}")
        columns = [self.names.index(name) for name in names]
        change = lambda a: special.expit(a[..., columns].sum(axis=-1)) - 0.5
        return percentile_interval(
            float(change(self.coefficients)), change(self.resampled), LEVEL
        )

    def predict(self, differences: np.ndarray) -> np.ndarray:
        """P(A preferred to B) of pairs with these feature differences [N K] -> [N]."""
        probability: np.ndarray = special.expit(
            np.asarray(differences) @ self.coefficients
        )
        return probability

    def accuracy(self, differences: np.ndarray, prefers_first: np.ndarray) -> float:
        """The share of pairs whose preference is predicted; a tie counts one half."""
        logit = np.asarray(differences) @ self.coefficients
        agrees = 0.5 * (1 + np.sign(logit) * np.sign(np.asarray(prefers_first) - 0.5))
        return float(agrees.mean())

    def ranking(self) -> list[str]:
        """The features by coefficient, the most rewarded first."""
        return [self.names[k] for k in np.argsort(-self.coefficients, kind="stable")]


def mine_preferences(
    names: Sequence[str],
    differences: np.ndarray,
    prefers_first: np.ndarray,
    *,
    prior_scale: float = PRIOR_SCALE,
    units: Units = "each",
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> FeatureEffects:
    """The maximum a posteriori of p(A > B) = sigmoid(sum_k a_k phi_k), bootstrapped.

    a = argmin  sum_i NLL_i + ||a||_1 / b,    a_k ~ Laplace(0, b)

    The likelihood is a sum: with a mean the prior would outweigh any data. No
    intercept: which answer is the first means nothing.

    Args:
      names: of the features [K].
      differences: phi, 1 where the first answer has more of the feature, 0 where they
        are equal, -1 where the second has more [N K].
      prefers_first: whether the first answer is preferred, or the share of annotators
        who prefer it [N].
      prior_scale: b of the Laplace prior, above 0.
      units: of the bootstrap, such as the prompt of each pair [N].
      resamples: of the bootstrap.

    Raises:
      ValueError: shapes that do not fit, or a scale that is not positive.

    Reference: Sharma et al. 2023, arXiv:2310.13548, appendix B.

    >>> phi = np.repeat([[1, 0], [0, 1]], 100, axis=0)  # preferred by 90 %, by 50 %
    >>> y = np.r_[np.ones(90), np.zeros(10), np.ones(50), np.zeros(50)]
    >>> mine_preferences("ab", phi, y, prior_scale=1.0).ranking()
    ['a', 'b']
    """
    phi = np.asarray(differences, np.float64)
    y = np.asarray(prefers_first, np.float64)
    if phi.shape != (len(y), len(names)):
        raise ValueError(
            f"differences of shape {phi.shape} for {len(y)} preferences and "
            f"{len(names)} features; expected ({len(y)}, {len(names)})"
        )
    if not prior_scale > 0:
        raise ValueError(f"prior_scale should be above 0, not {prior_scale}")
    fit = lambda weights, start: fit_l1_logistic(
        phi, y, weights, np.full(len(weights), prior_scale), start=start
    )
    best = fit(np.ones((1, len(y))), np.zeros(len(names)))[0]
    unit = unit_indices(units, len(y))
    chunks = [
        fit(weights[:, unit], best)
        for weights in resample_weights(
            int(unit.max()) + 1, resamples=resamples, seed=seed
        )
    ]
    return FeatureEffects(tuple(names), best, np.concatenate(chunks))


def feature_differences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """phi = sign(first - second) of features of two answers [N K] each.

    >>> feature_differences(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0]])).tolist()
    [[1.0, 0.0]]
    """
    return np.sign(np.asarray(first, np.float64) - np.asarray(second, np.float64))
