"""How much of a reward's gain is longer or shorter answers alone.

Reference: Singhal et al. 2023, A Long Way to Go, arXiv:2310.03716.
"""

from typing import NamedTuple

import numpy as np

from jaxalign.types import Array, Float, Scalar, typed


class LengthGain(NamedTuple):
    """A gain in reward, as a whole and at equal lengths.

    Attributes:
      total: mean reward after, less the mean before.
      same_length: the mean of the gains of bins of length, weighted by their answers.
      share: same_length / total, what is not due to length; NaN without a gain.
    """

    total: float
    same_length: float
    share: float


@typed
def length_gain(
    before: Float[Array, "A"],
    after: Float[Array, "B"],
    length_before: Float[Array, "A"],
    length_after: Float[Array, "B"],
    *,
    width: Scalar = 20.0,
) -> LengthGain:
    """The gain in reward within bins of answer length.

    same_length = sum over bins of n_bin * (mean after - mean before) / sum of n_bin

    over bins that hold answers from both sides; n_bin counts the answers of both.

    Args:
      before, after: rewards of the answers.
      length_before, length_after: their lengths.
      width: of a bin, in the unit of the lengths.

    >>> gain = length_gain([1.0, 3.0], [1.0, 3.0, 3.0], [5.0, 25.0], [5.0, 25.0, 25.0])
    >>> round(gain.total, 3), gain.same_length
    (0.333, 0.0)
    """
    rewards = [np.asarray(x, np.float64) for x in (before, after)]
    bins = [
        np.floor(np.asarray(x, np.float64) / width)
        for x in (length_before, length_after)
    ]
    total = float(rewards[1].mean() - rewards[0].mean())
    gains, counts = [], []
    for one in np.intersect1d(bins[0], bins[1]):
        inside = [r[b == one] for r, b in zip(rewards, bins, strict=True)]
        gains.append(inside[1].mean() - inside[0].mean())
        counts.append(len(inside[0]) + len(inside[1]))
    same_length = float(np.average(gains, weights=counts)) if counts else float("nan")
    return LengthGain(
        total, same_length, same_length / total if total else float("nan")
    )
