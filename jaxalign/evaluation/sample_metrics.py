"""Metrics of sampled answers: win rates, KL, lengths, end tokens, best-of-n."""

import math

import numpy as np

from jaxalign.evaluation.intervals import Interval, Units, bootstrap, paired_difference
from jaxalign.evaluation.preference import agreement


def win_rate(
    ours: np.ndarray, theirs: np.ndarray, *, units: Units, seed: int = 0
) -> Interval:
    """The win rate of one policy's answers against another's; a tie is half a win.

    win rate = (wins + ties / 2) / prompts

    Args:
      ours, theirs: rewards of one answer each to the same prompts [P].
      units: the prompt of each, or "each" where no prompt comes twice.

    Reference: Zheng et al. 2023, arXiv:2306.05685 (FastChat's adjusted win rate).
    """
    return bootstrap(agreement(ours, theirs), units=units, seed=seed, share=True)


def kl_from_reference(
    logp: np.ndarray, ref_logp: np.ndarray, *, units: Units, seed: int = 0
) -> Interval:
    """KL(policy || reference) in nats per answer, from the policy's own answers.

    KL = mean over answers of [log p(answer) - log p_ref(answer)]

    Args:
      logp, ref_logp: log-probs of whole answers, their end token included, at the
        temperature of their sampling [R].
      units: the prompt of each answer [R], or "each" where each has its own.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, eq. 2.
    """
    return paired_difference(logp, ref_logp, units=units, seed=seed)


def answer_lengths(mask: np.ndarray) -> np.ndarray:
    """Tokens of each answer, end token included [R], from masks [R T]."""
    return np.sum(mask, axis=1)


def has_eos(tokens: np.ndarray, mask: np.ndarray, eos: int) -> np.ndarray:
    """Whether each answer has an end token, rather than being truncated [R].

    Its mean is the EOS rate.

    Args:
      tokens, mask: of the answers alone, or of prompts and answers [R T].

    >>> has_eos(np.array([[2, 5, 2], [2, 5, 6]]), np.arange(3) > np.zeros((2, 1)), 2)
    array([ True, False])
    """
    return np.any((np.asarray(tokens) == eos) & np.asarray(mask), axis=1)


def best_index(scores: np.ndarray) -> np.ndarray:
    """The index of each prompt's best answer [P], of scores [P N]; the first on ties.

    >>> best_index(np.array([[0.0, 2.0, 1.0]])).tolist()
    [1]
    """
    return np.argmax(scores, axis=1)


def kl_best_of_n(n: int) -> float:
    """KL(best of n || policy) in nats; an upper bound where answers repeat.

    KL = log n - (n - 1) / n

    Reference: Stiennon et al. 2020, arXiv:2009.01325, appendix G.3; Beirami et al.
    2024, arXiv:2401.01879 (the bound).

    >>> round(kl_best_of_n(2), 4)
    0.1931
    """
    return math.log(n) - (n - 1) / n
