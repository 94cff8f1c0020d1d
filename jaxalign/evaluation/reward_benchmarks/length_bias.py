"""Accuracy of scores on pairs, against the lengths of the answers.

Lengths are characters of the answers' texts. A reward that prefers length is right
where the chosen answer is longer and wrong where the rejected one is: both accuracies
are reported, beside that of "the longer answer wins".

Reference: Singhal et al. 2023, arXiv:2310.03716, section 3.
"""

import numpy as np

from jaxalign.evaluation.intervals import Interval, Units, bootstrap
from jaxalign.evaluation.reward_benchmarks.reward_bench import pair_results

# share by which the longer answer exceeds the shorter one, to be much longer
MUCH_LONGER = 1.0


def longer_wins(chosen: np.ndarray, rejected: np.ndarray) -> np.ndarray:
    """1 where the chosen answer is the longer one, else 0 [R]: a baseline.

    Answers of equal length count as wrong, as equal scores do.

    Args:
      chosen, rejected: lengths of the answers [R].

    >>> longer_wins(np.array([5, 3, 4]), np.array([3, 5, 4])).tolist()
    [1.0, 0.0, 0.0]
    """
    return pair_results(chosen, rejected)


def length_groups(chosen: np.ndarray, rejected: np.ndarray) -> dict[str, np.ndarray]:
    """Masks of pairs by which answer is longer, and whether by twice or more [R] each.

    Args:
      chosen, rejected: lengths of the answers, at least 0 [R].

    >>> groups = length_groups(np.array([4, 3, 2, 2]), np.array([2, 2, 2, 5]))
    >>> {name: mask.nonzero()[0].tolist() for name, mask in groups.items()}
    ... # doctest: +NORMALIZE_WHITESPACE
    {'rejected twice as long': [3], 'rejected longer': [], 'equal lengths': [2],
     'chosen longer': [1], 'chosen twice as long': [0]}
    """
    shorter = np.minimum(chosen, rejected)
    much = np.abs(chosen - rejected) >= MUCH_LONGER * shorter
    return {
        "rejected twice as long": (rejected > chosen) & much,
        "rejected longer": (rejected > chosen) & ~much,
        "equal lengths": chosen == rejected,
        "chosen longer": (chosen > rejected) & ~much,
        "chosen twice as long": (chosen > rejected) & much,
    }


def length_accuracy(
    results: np.ndarray,
    chosen: np.ndarray,
    rejected: np.ndarray,
    *,
    units: Units,
    seed: int = 0,
) -> dict[str, tuple[Interval | None, int]]:
    """Accuracy and number of pairs where either answer is longer.

    "chosen longer" and "rejected longer" hold all such pairs; "longer wins" is the
    baseline over all pairs, and "difference" the paired one to it.

    Args:
      results: of the pairs, in [0, 1] [R].
      chosen, rejected: lengths of the answers [R].
      units: the unit of each pair [R].
    """
    units = np.arange(len(results)) if isinstance(units, str) else np.asarray(units)
    baseline = longer_wins(chosen, rejected)

    def accuracy(mask: np.ndarray) -> tuple[Interval | None, int]:
        if not mask.any():
            return None, 0
        mean = bootstrap(results[mask], units=units[mask], seed=seed, share=True)
        return mean, int(mask.sum())

    return {
        "all": accuracy(np.ones(len(results), bool)),
        "longer wins": (
            bootstrap(baseline, units=units, seed=seed, share=True),
            len(results),
        ),
        "difference": (
            bootstrap(results - baseline, units=units, seed=seed),
            len(results),
        ),
        "chosen longer": accuracy(chosen > rejected),
        "rejected longer": accuracy(rejected > chosen),
        "equal lengths": accuracy(chosen == rejected),
    }
