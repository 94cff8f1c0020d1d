"""Weak-to-strong generalization: the share of a gap that a student recovers.

    recovered = (student - weak) / (ceiling - weak)

of three accuracies on the same prompts: `weak` of the model that wrote the labels,
`student` of the stronger one that learned from them, `ceiling` of the stronger one
that learned from the truth (Burns et al. 2023, arXiv:2312.09390, section 3). 0 is
imitation, 1 is as good as the truth; below 0 the student is worse than its labels.
"""

from collections.abc import Sequence

import numpy as np

from jaxalign.evaluation.intervals import LEVEL, RESAMPLES, Interval

UNDEFINED = Interval(np.nan, np.nan, np.nan)


def performance_gap_recovered(weak: float, student: float, ceiling: float) -> float:
    """The share of the gap between weak and ceiling; NaN where there is no gap.

    >>> performance_gap_recovered(0.6, 0.7, 0.8)
    0.5
    >>> performance_gap_recovered(0.6, 0.7, 0.6)
    nan
    """
    gap = ceiling - weak
    return round((student - weak) / gap, 12) if gap else np.nan


def recovered_interval(
    weak: Sequence[np.ndarray],
    student: Sequence[np.ndarray],
    ceiling: Sequence[np.ndarray],
    *,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """The share of the gap, with its bootstrap interval over seeds and prompts.

    A resample draws seeds and prompts with replacement, the same ones for all three
    models; the means of a resample give one share. The percentiles are the bounds. Of
    few seeds they are too narrow: two or three say little of other seeds.

    Args:
      weak, student, ceiling: values of each seed, such as 1 where the better answer
        has the higher score, for the same prompts in every seed [P] each.

    Returns:
      NaN where the gap is within noise: the interval of ceiling - weak over the same
      resamples is not above 0. With one seed the bounds are about these models alone.

    Raises:
      ValueError: the numbers of seeds or of prompts differ, or a value is not finite.

    Reference: Burns et al. 2023, arXiv:2312.09390, section 3; Efron and Tibshirani
    1993, section 13.3 (percentiles).

    >>> low, high = np.zeros(50), np.ones(50)
    >>> str(recovered_interval([low], [low], [high]))
    '0.000 ± 0.000'
    """
    models = [seed_values(x) for x in (weak, student, ceiling)]
    if len({x.shape for x in models}) > 1:
        shapes = ", ".join(str(x.shape) for x in models)
        raise ValueError(
            f"weak, student and ceiling differ in (seeds, prompts): {shapes}"
        )
    values = np.stack(models)  # [3 S P]
    means = resampled_means(values, np.random.default_rng(seed))  # [3 RESAMPLES]
    tails = [(1 - level) / 2, (1 + level) / 2]
    gaps = means[2] - means[0]
    if np.quantile(gaps, tails[0]) <= 0:
        return UNDEFINED
    positive = gaps > 0  # the rest is at most the lower tail
    shares = (means[1] - means[0])[positive] / gaps[positive]
    low, high = np.quantile(shares, tails)
    mean = performance_gap_recovered(*values.mean(axis=(1, 2)).tolist())
    return Interval(mean, float(low), float(high))


def seed_values(groups: Sequence[np.ndarray]) -> np.ndarray:
    """Values of all seeds as one array, float64 [S P].

    Raises:
      ValueError: seeds have different numbers of prompts, or a value is not finite.
    """
    if len({len(group) for group in groups}) != 1:
        raise ValueError(
            "every seed needs values of the same prompts, one seed at least"
        )
    values = np.asarray(groups, np.float64)
    if not values.size or not np.isfinite(values).all():
        raise ValueError("an interval needs values, all of them finite")
    return values


def resampled_means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Means of resamples of seeds and of prompts, alike for all models.

    Args:
      values: [models S P].

    Returns:
      Means [models RESAMPLES].
    """
    _, seeds, prompts = values.shape
    means = []
    for _ in range(RESAMPLES):
        # how often a seed and a prompt are drawn
        of_seeds = np.bincount(rng.integers(0, seeds, seeds), minlength=seeds)
        of_prompts = np.bincount(rng.integers(0, prompts, prompts), minlength=prompts)
        means.append(values @ of_prompts @ of_seeds / (seeds * prompts))
    return np.array(means).T
