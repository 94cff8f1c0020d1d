"""Multiple choice in every rotation of the options: order bias measured and removed.

A model asked for a letter may prefer a letter, or a place. Each question is asked K
times, with its K options rotated, so that each option stands once under each letter:
what depends on the letter alone is equal for all options in the mean, and cancels.

Reference: Zheng et al. 2023, arXiv:2309.03882 (cyclic permutation).
"""

import numpy as np
from scipy import special

EQUAL = 1e-9  # nats: options whose scores differ by less are equal


def rotations(options: int) -> np.ndarray:
    """The option under each letter, in each rotation, int [K K].

    >>> rotations(3).tolist()
    [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    """
    place = np.arange(options)
    return (place[:, None] + place[None, :]) % options


def option_scores(letter_logps: np.ndarray) -> np.ndarray:
    """Log-probs of options, averaged over the rotations and normalized [R K].

    score_k = mean over rotations of logp(letter of option k), less their logsumexp

    Args:
      letter_logps: log-prob of each letter in each rotation, in nats [R K K]; the
        rotations are those of `rotations`.

    >>> by_letter = np.log([[[0.5, 0.25, 0.25]] * 3])  # prefers A, whatever it says
    >>> np.exp(option_scores(by_letter)).round(3).tolist()
    [[0.333, 0.333, 0.333]]
    """
    means = align_options(letter_logps).mean(axis=1)
    return means - special.logsumexp(means, axis=1, keepdims=True)


def align_options(letter_logps: np.ndarray) -> np.ndarray:
    """Numbers of letters [R K K] as numbers of options: [rows, rotations, options]."""
    letters = np.argsort(rotations(letter_logps.shape[-1]), axis=1)
    return np.take_along_axis(letter_logps, letters[None], axis=2)


def letter_probabilities(letter_logps: np.ndarray) -> np.ndarray:
    """Mean probability of each letter over rotations, of each question [R K].

    Without order bias each is 1 / K, since each option stands once under each letter.

    Args:
      letter_logps: normalized over the letters, as for `option_scores` [R K K].
    """
    return np.exp(letter_logps).mean(axis=1)


def consistent_choices(letter_logps: np.ndarray) -> np.ndarray:
    """1 where the same option is the likeliest in all rotations, else 0 [R].

    Args:
      letter_logps: as for `option_scores` [R K K].
    """
    best = align_options(letter_logps).argmax(axis=2)
    return (best == best[:, :1]).all(axis=1).astype(np.float64)


def choice_shares(scores: np.ndarray) -> np.ndarray:
    """The choice of the best option as shares [R K]: 1, divided among equal scores.

    Args:
      scores: of the options, such as log-probs [R K].

    Raises:
      ValueError: a score is NaN.

    >>> choice_shares(np.array([[1.0, 0.0], [2.0, 2.0]])).tolist()
    [[1.0, 0.0], [0.5, 0.5]]
    """
    unknown = np.isnan(scores).any(axis=1)
    if unknown.any():
        raise ValueError(f"a score of row {int(np.argmax(unknown))} is NaN")
    best = scores >= scores.max(axis=1, keepdims=True) - EQUAL
    return best / best.sum(axis=1, keepdims=True)
