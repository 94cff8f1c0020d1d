"""Win rates, position consistency and position bias from judged pairs of answers.

A judgement is of one pair: model a's answer and model b's to one prompt. A judge reads
both orders, since the place of an answer moves the verdict of most judges. The unit of
intervals is the prompt: pairs of one prompt share its difficulty.

Reference: Zheng et al. 2023, arXiv:2306.05685, section 3.4 (both orders, consistency,
position bias); Li et al. 2023, AlpacaEval (the mean probability as win rate).
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.win_rates.judgement_columns import (
    Judgements,
    compared_pairs,
    pair_judgements,
)

WINNERS = {1: "model_a", 0: "tie", -1: "model_b"}  # by verdict


class WinRate(NamedTuple):
    """One model's win rate over another.

    Attributes:
      pairs, prompts: numbers of judged pairs, and of their prompts.
      wins, ties, losses: numbers of pairs by `verdicts`.
      mean_probability: the mean probability of winning: AlpacaEval's win rate.
      win_rate: wins and half of the ties, by `verdicts`.
    """

    pairs: int
    prompts: int
    wins: int
    ties: int
    losses: int
    mean_probability: Interval
    win_rate: Interval


class PositionBias(NamedTuple):
    """How much a judge goes by the place of an answer, over pairs read in both orders.

    Attributes:
      pairs: that were read in both orders.
      consistency: share of pairs with the same verdict in both orders.
      first_bias: share of pairs that the answer shown first wins in both orders, minus
        the share that the answer shown second wins in both; in [-1, 1], 0 without bias.
      first_probability: the mean probability of the answer shown first, over both
        orders; 1/2 without bias.
    """

    pairs: int
    consistency: Interval
    first_bias: Interval
    first_probability: Interval


def verdicts(judgements: Judgements) -> np.ndarray:
    """1 where a wins, -1 where b wins, 0 for a tie, int [R]; see `pair_verdicts`."""
    return pair_verdicts(judgements.probability, judgements.first, judgements.swapped)


def pair_verdicts(
    probability: np.ndarray, first: np.ndarray, swapped: np.ndarray
) -> np.ndarray:
    """1 where a wins, -1 where b wins, 0 for a tie, int [R].

    A win needs both orders of a judge: sign(first - 1/2) = sign(swapped - 1/2). Where
    no judge was asked it is sign(probability - 1/2).

    Args:
      probability, first, swapped: as in `Judgements` [R]; a pair without a probability
        (NaN) is 0.

    Reference: Zheng et al. 2023, arXiv:2306.05685, section 3.4 (a win in both orders).

    >>> nan = np.full(1, np.nan)
    >>> pair_verdicts(np.array([0.9]), nan, nan).tolist()
    [1]
    >>> pair_verdicts(np.array([0.6]), np.array([0.9]), np.array([0.3])).tolist()
    [0]
    """
    orders = np.sign(first - 0.5), np.sign(swapped - 0.5)
    both = np.where(orders[0] == orders[1], orders[0], 0.0)
    was_asked = np.isfinite(first) & np.isfinite(swapped)
    alone = np.sign(np.nan_to_num(probability, nan=0.5) - 0.5)
    return np.where(was_asked, both, alone).astype(int)


def both_orders_mask(judgements: Judgements) -> np.ndarray:
    """Whether a judge read the pair in both orders, bool [R]."""
    return np.isfinite(judgements.first) & np.isfinite(judgements.swapped)


def win_rate(judgements: Judgements, *, seed: int = 0) -> WinRate:
    """The win rate of model a over model b, with 95 % intervals over prompts.

    win rate = (wins + ties / 2) / pairs

    Args:
      judgements: of one pair of models, as `pair_judgements` returns them.
      seed: of the bootstrap.
    """
    verdict = verdicts(judgements)
    wins, ties, losses = (int(np.sum(verdict == sign)) for sign in (1, 0, -1))
    units = judgements.prompts
    return WinRate(
        len(judgements),
        len(np.unique(units)),
        wins,
        ties,
        losses,
        bootstrap(judgements.probability, units=units, seed=seed, share=True),
        bootstrap((verdict + 1) / 2, units=units, seed=seed, share=True),
    )


def position_bias(judgements: Judgements, *, seed: int = 0) -> PositionBias | None:
    """A judge's consistency and position bias; None where no pair was asked twice.

    Reference: Zheng et al. 2023, arXiv:2306.05685, table 2.

    >>> from jaxalign.evaluation.win_rates import judgement_columns
    >>> says_a = {"prompt_id": "1", "model_a": "x", "model_b": "y", "probability": 0.5}
    >>> rows = [{**says_a, "first": 1.0, "swapped": 0.0}] * 2
    >>> bias = position_bias(judgement_columns.judgement_columns(rows))
    >>> bias.consistency.mean, bias.first_bias.mean, bias.first_probability.mean
    (0.0, 1.0, 1.0)
    """
    read = judgements.select(both_orders_mask(judgements))
    if not len(read):
        return None
    first, swapped = np.sign(read.first - 0.5), np.sign(read.swapped - 0.5)
    # in the second question b is shown first, and `swapped` is about a
    first_wins = ((first > 0) & (swapped < 0)) * 1.0
    second_wins = ((first < 0) & (swapped > 0)) * 1.0
    units = read.prompts
    return PositionBias(
        len(read),
        bootstrap((first == swapped) * 1.0, units=units, seed=seed, share=True),
        bootstrap(first_wins - second_wins, units=units, seed=seed),
        bootstrap(
            (read.first + 1.0 - read.swapped) / 2, units=units, seed=seed, share=True
        ),
    )


def win_rate_matrix(judgements: Judgements, models: Sequence[str]) -> np.ndarray:
    """The win rate of each model over each other one, float [M M].

    Entry [i, j] is the win rate of model i over model j: wins and half of the ties, so
    [i, j] + [j, i] = 1. NaN where two were not compared, and on the diagonal.
    """
    matrix = np.full((len(models), len(models)), math.nan)
    met = {frozenset(pair) for pair in compared_pairs(judgements)}
    for (i, model), (j, other) in itertools.combinations(enumerate(models), 2):
        if frozenset((model, other)) in met:
            pair = pair_judgements(judgements, model, other)
            matrix[i, j] = np.mean((verdicts(pair) + 1) / 2)
            matrix[j, i] = 1.0 - matrix[i, j]
    return matrix
