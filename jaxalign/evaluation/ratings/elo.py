"""Online Elo ratings, whose order of battles matters: means over shuffles."""

from typing import NamedTuple

import numpy as np

from jaxalign.evaluation.ratings.battles import Battles

START = 1000.0
K_FACTOR = 4.0  # of arenas; chess has 32
SHUFFLES = 100


class EloSummary(NamedTuple):
    """Elo ratings over shuffles of the battles.

    Attributes:
      mean: of each model [K].
      sd: over shuffles, of a single shuffle's rating; NaN for one shuffle [K].
    """

    mean: np.ndarray
    sd: np.ndarray


def elo(
    battles: Battles,
    orders: np.ndarray | None = None,
    *,
    k_factor: float = K_FACTOR,
    start: float = START,
) -> np.ndarray:
    """Online Elo ratings after all battles, in each order [S K].

    e = 1 / (1 + 10^((R_b - R_a) / 400));   R_a += k (o - e),   R_b -= k (o - e)

    Weights of battles are not used.

    Args:
      orders: battles in the order of play, indices from 0 [S N]; by default the order
        that they are in, once.
      k_factor: points that a win against an equal moves each rating, times 2.
      start: rating of every model before its first battle.

    Reference: Elo 1978, The Rating of Chessplayers, section 1.6.

    >>> from jaxalign.evaluation.ratings.battles import make_battles
    >>> elo(make_battles(["a"], ["b"], [1.0])).tolist()  # 4 * (1 - 0.5)
    [[1002.0, 998.0]]
    """
    orders = np.arange(len(battles))[None, :] if orders is None else orders
    shuffles = np.arange(len(orders))
    rating = np.full((len(orders), len(battles.models)), start)
    first, second = battles.first[orders].T, battles.second[orders].T
    outcome = battles.outcome[orders].T
    for a, b, o in zip(first, second, outcome, strict=True):
        one, two = rating[shuffles, a], rating[shuffles, b]
        expected = 1 / (1 + 10 ** ((two - one) / 400))
        change = k_factor * (o - expected)
        rating[shuffles, a] = one + change
        rating[shuffles, b] = two - change
    return rating


def elo_over_shuffles(
    battles: Battles,
    *,
    shuffles: int = SHUFFLES,
    k_factor: float = K_FACTOR,
    start: float = START,
    seed: int = 0,
) -> EloSummary:
    """The mean Elo rating over random orders of the battles, and its spread.

    One order's rating is a matter of chance, by about 5 points at k = 4 and 35 at 32.

    Args:
      shuffles: number of orders.

    Reference: Boubdir et al. 2023, arXiv:2311.17295 (orders and k).
    """
    rng = np.random.default_rng(seed)
    orders = rng.permuted(np.tile(np.arange(len(battles)), (shuffles, 1)), axis=1)
    rating = elo(battles, orders, k_factor=k_factor, start=start)
    alone = np.full(rating.shape[1], np.nan)
    sd = rating.std(axis=0, ddof=1) if shuffles > 1 else alone
    return EloSummary(rating.mean(axis=0), sd)
