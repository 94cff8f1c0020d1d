"""Which pair people judge next: random, or where a judgement tells most.

A score says how much a judgement of each open pair would tell: the disagreement of an
ensemble of reward models, or the expected information about Bradley-Terry scores. A
pair is chosen in proportion to its score, but for a random share of choices, so that
every open pair has a known probability above 0; the judgements' weights by it make
estimates over the pairs unbiased again.

Reference: Farquhar et al. 2021, arXiv:2101.11665 (weights); Horvitz and Thompson 1952.
"""

from typing import NamedTuple

import numpy as np


class PairChoice(NamedTuple):
    """A chosen pair, by its index, and the probability with which it was chosen."""

    pair: int
    probability: float


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(x, np.float64) / 2)))


def ensemble_disagreement(differences: np.ndarray) -> np.ndarray:
    """Standard deviation of the members' probabilities that the first is better [N].

    Args:
      differences: score(first answer) - score(second) by each member [M N], in
        log-odds.

    Raises:
      ValueError: fewer than two members.

    >>> ensemble_disagreement(np.array([[0.0, 50.0], [0.0, -50.0]])).tolist()
    [0.0, 0.5]
    """
    if np.ndim(differences) != 2 or len(differences) < 2:
        raise ValueError("disagreement needs scores of two models or more, [M N]")
    return np.asarray(np.std(sigmoid(differences), axis=0))


def expected_information(
    features: np.ndarray, mean: np.ndarray, covariance: np.ndarray
) -> np.ndarray:
    """Expected gain of information of each comparison under Bradley-Terry [N], nats.

    information = log(1 + p (1 - p) x covariance x) / 2,  p = sigmoid(mean x)

    of the weights of x, which have a normal (Laplace's) posterior: half the growth of
    the log-determinant of the precision.

    Args:
      features: of the first answer less those of the second [N F]; +1 and -1 at the two
        for a score of each answer or model.
      mean: of the posterior [F].
      covariance: of the posterior [F F].

    Reference: MacKay 1992, "Information-based objective functions for active data
    selection"; Chaloner and Verdinelli 1995 (D-optimality).

    >>> unit = np.eye(1)
    >>> gain = expected_information(unit, np.zeros(1), 4 * unit)  # log(1 + 4 / 4) / 2
    >>> gain.round(4).tolist()
    [0.3466]
    """
    p = sigmoid(features @ mean)
    variance = np.einsum("nf,fg,ng->n", features, covariance, features)
    return np.asarray(0.5 * np.log1p(p * (1 - p) * variance))


def score_posterior(
    features: np.ndarray, outcome: np.ndarray, *, prior_sd: float, steps: int = 30
) -> tuple[np.ndarray, np.ndarray]:
    """Laplace's posterior of Bradley-Terry weights: mean [F] and covariance [F F].

    The prior is normal with mean 0. The maximum is by Newton's method.

    Args:
      features: differences of the compared answers [R F].
      outcome: 1 where the first was preferred, 0 where the second, 1/2 of a tie [R].
      prior_sd: standard deviation of each weight.
    """
    mean = np.zeros(features.shape[1])
    precision = np.eye(features.shape[1]) / prior_sd**2
    hessian = precision
    for _ in range(steps):
        p = sigmoid(features @ mean)
        gradient = features.T @ (p - outcome) + precision @ mean
        hessian = (features * (p * (1 - p))[:, None]).T @ features + precision
        step = np.linalg.solve(hessian, gradient)
        mean = mean - step / max(1.0, float(np.abs(step).max()))  # 1 at most: it stays
        if np.abs(step).max() < 1e-9:
            break
    return mean, np.linalg.inv(hessian)


def choice_probabilities(
    score: np.ndarray | None, open_pairs: np.ndarray, *, random_share: float
) -> np.ndarray:
    """The probability of each pair of being the next one [N]; 0 where it is not open.

    q = random_share / (number of open pairs) + (1 - random_share) score / sum of scores

    Args:
      score: how much a judgement of each pair tells, 0 or more [N]; None, or 0 of all,
        chooses at random.
      open_pairs: whether each pair may be chosen [N].
      random_share: of choices at random, in (0, 1].

    Raises:
      ValueError: no pair is open, a share out of range, or a score that is negative or
        not finite.

    >>> score, open_pairs = np.array([3.0, 1.0, 3.0]), np.array([False, True, True])
    >>> choice_probabilities(score, open_pairs, random_share=0.2).tolist()  # .1 + .8/4
    [0.0, 0.30000000000000004, 0.7000000000000001]
    """
    if not 0 < random_share <= 1:
        raise ValueError(
            f"the random share is {random_share}; expected a number above 0, up to 1, "
            "without which some pairs would never be judged"
        )
    open_pairs = np.asarray(open_pairs, bool)
    if not open_pairs.any():
        raise ValueError("no pair is open")
    uniform = open_pairs / open_pairs.sum()
    if score is None:
        return uniform
    of_open = np.asarray(score, np.float64)[open_pairs]
    if not (np.isfinite(of_open) & (of_open >= 0)).all():
        raise ValueError("a pair's score is negative or not finite")
    if not of_open.sum():
        return uniform
    score = np.where(open_pairs, score, 0.0)
    return random_share * uniform + (1 - random_share) * score / score.sum()


def choose_pair(
    score: np.ndarray | None,
    open_pairs: np.ndarray,
    rng: np.random.Generator,
    *,
    random_share: float,
) -> PairChoice:
    """Draws the next pair by `choice_probabilities`; takes the same arguments."""
    q = choice_probabilities(score, open_pairs, random_share=random_share)
    pair = int(rng.choice(len(q), p=q))
    return PairChoice(pair, float(q[pair]))


def independent_weights(probability: np.ndarray, pairs: np.ndarray | int) -> np.ndarray:
    """Weights of judgements whose pairs stay open after being chosen [R].

    w = 1 / (pairs q)

    The mean of w f is an unbiased estimate of the mean of f over all pairs.

    Args:
      probability: q of each choice [R].
      pairs: number that were open [R], or of all choices.

    >>> independent_weights(np.array([0.25, 0.5]), 4).tolist()
    [1.0, 0.5]
    """
    return np.asarray(1.0 / (pairs * np.asarray(probability, np.float64)))


def leveled_weights(probability: np.ndarray, pairs: int) -> np.ndarray:
    """Weights of judgements whose pairs are closed after being chosen [R].

    w_m = 1 + (N - M) / (N - m) (1 / ((N - m + 1) q_m) - 1),  m = 1, ..., M

    The mean of w f over the M judgements is an unbiased estimate of the mean of f over
    all N pairs, whatever the scores were made of; at random choice all weights are 1.

    Args:
      probability: q of each choice, in their order [M].
      pairs: number N of all pairs, M or more.

    Raises:
      ValueError: more judgements than pairs.

    Reference: Farquhar et al. 2021, arXiv:2101.11665, eq. 9 (R_LURE).

    >>> leveled_weights(np.array([1 / 4, 1 / 3]), 4).tolist()
    [1.0, 1.0]
    """
    q = np.asarray(probability, np.float64)
    if len(q) > pairs:
        raise ValueError(f"{len(q)} judgements of {pairs} pairs, each judged once")
    m = np.arange(1, len(q) + 1)
    left = np.maximum(pairs - m, 1)  # M = N = m: the factor is 0
    return np.asarray(1 + (pairs - len(q)) / left * (1 / ((pairs - m + 1) * q) - 1))
