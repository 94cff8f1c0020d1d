"""pass@k and pass^k: success of any, or of all, of k samples to a problem."""

from typing import Any

import numpy as np

from jaxalign.evaluation.intervals import Interval, Units, bootstrap


def pass_at_k(samples: Any, correct: Any, *, k: int) -> np.ndarray:
    """The probability that at least one of k samples is correct, per problem.

    pass@k = 1 - C(n - c, k) / C(n, k) = 1 - prod over i = n-c+1..n of (1 - k / i)

    It is 1 where n - c < k: any k of the n samples include a correct one. Unbiased,
    while 1 - (1 - c/n)^k is too low. The same estimator gives the attack success rate
    of k tries.

    Args:
      samples: n, sampled answers to each problem [P].
      correct: c, how many of them are correct [P], from 0 to n.
      k: from 1 to the smallest n.

    Returns:
      pass@k of each problem [P], in [0, 1].

    Raises:
      ValueError: k or a count is out of range.

    Reference: Chen et al. 2021, arXiv:2107.03374, eq. 1.

    >>> pass_at_k([10, 10], [3, 0], k=5).round(6).tolist()  # 1 - C(7, 5) / C(10, 5)
    [0.916667, 0.0]
    """
    samples, correct = check_counts(samples, correct, k)
    return 1.0 - subset_share(samples, samples - correct, k)


def pass_all_k(samples: Any, correct: Any, *, k: int) -> np.ndarray:
    """The probability that all of k samples are correct (pass^k), per problem.

    pass^k = C(c, k) / C(n, k)

    Args, Returns, Raises: as for `pass_at_k`.

    Reference: Yao et al. 2024, arXiv:2406.12045 (tau-bench), section 3.

    >>> pass_all_k([10], [3], k=2).round(6).tolist()  # C(3, 2) / C(10, 2) = 3 / 45
    [0.066667]
    """
    samples, correct = check_counts(samples, correct, k)
    return subset_share(samples, correct, k)


def mean_pass_at_k(
    samples: Any,
    correct: Any,
    *,
    k: int,
    every: bool = False,
    units: Units = "each",
    seed: int = 0,
) -> Interval:
    """The mean over problems of pass@k, with its bootstrap interval over problems.

    Args:
      samples, correct, k: as for `pass_at_k`.
      every: pass^k in its place: all of k samples are correct.
      units: the unit of each problem, where several problems share one.

    Raises:
      ValueError: k or a count is out of range, or there are no problems.
    """
    estimate = pass_all_k if every else pass_at_k
    shares = estimate(samples, correct, k=k)
    return bootstrap(shares, units=units, seed=seed, share=True)


def subset_share(total: np.ndarray, part: np.ndarray, k: int) -> np.ndarray:
    """C(part, k) / C(total, k), the share of k-subsets that lie within a part [P].

    prod over i = 0..k-1 of (part - i) / (total - i), which overflows nowhere
    """
    i = np.arange(k)
    factors = np.maximum(part[:, None] - i, 0) / (total[:, None] - i)
    return np.prod(factors, axis=1)


def check_counts(samples: Any, correct: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Sample and success counts as equally long arrays [P].

    Raises:
      ValueError: k or a count is out of range; names the problem.
    """
    samples, correct = np.broadcast_arrays(
        np.atleast_1d(np.asarray(samples)), np.atleast_1d(np.asarray(correct))
    )
    for i, (n, c) in enumerate(zip(samples.tolist(), correct.tolist(), strict=True)):
        if not 0 <= c <= n:
            raise ValueError(f"problem {i}: {c} of {n} samples are correct")
        if not 1 <= k <= n:
            raise ValueError(f"problem {i}: k = {k} needs {k} samples; there are {n}")
    return samples, correct
