"""MT-Bench: what a judge's texts say, and the scores and win rates that follow.

Reference: Zheng et al. 2023, arXiv:2306.05685, sections 3 and 4.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.evaluation.intervals import Interval, bootstrap

RATING = re.compile(r"\[\[(\d+(?:\.\d+)?)\]\]")
RATING_FALLBACK = re.compile(r"\[(\d+(?:\.\d+)?)\]")
LOWEST, HIGHEST = 1.0, 10.0
UNPARSABLE = -1.0

Figures = dict[str, Interval | int]


class Grade(NamedTuple):
    """A judge's rating of one answer.

    Attributes:
      question: the number of the question.
      category: of the question.
      turn: 1 or 2.
      rating: from 1 to 10; -1 where the judge's text holds none.
    """

    question: int
    category: str
    turn: int
    rating: float


class Verdict(NamedTuple):
    """A judge's verdicts on the answers of two models, in both orders.

    Attributes:
      question, category, turn: as for `Grade`.
      first: "A", "B", "C" (a tie) or "" (unparsable), with the model's answer as A.
      swapped: the same with the baseline's answer as A.
    """

    question: int
    category: str
    turn: int
    first: str
    swapped: str


def parse_rating(text: str) -> float:
    """The rating in a judge's text: the first [[7]] or [[7.5]], else the first [7].

    -1 where there is none, or one outside of 1 to 10 (which FastChat, the original
    program, would count).

    >>> parse_rating("Rating: [[7.5]]"), parse_rating("[8]"), parse_rating("Good.")
    (7.5, 8.0, -1.0)
    """
    found = RATING.search(text) or RATING_FALLBACK.search(text)
    rating = float(found.group(1)) if found else UNPARSABLE
    return rating if LOWEST <= rating <= HIGHEST else UNPARSABLE


def parse_verdict(text: str) -> str:
    """The verdict in a judge's text: A, B or C (a tie); "" where there is none.

    Of several different verdicts the first in this order counts, as in FastChat, the
    original program.

    >>> parse_verdict("So the verdict is: [[B]]"), parse_verdict("[A]")
    ('B', '')
    """
    return next((kind for kind in "ABC" if f"[[{kind}]]" in text), "")


def winner(verdict: Verdict) -> str:
    """The winner of both orders: "model", "baseline", "tie", or "" if one is missing.

    A win needs both orders; everything else is a tie.

    >>> [winner(Verdict(81, "math", 1, *both)) for both in ("AB", "BA", "AA", "CC")]
    ['model', 'baseline', 'tie', 'tie']
    """
    if not (verdict.first and verdict.swapped):
        return ""
    wins = {("A", "B"): "model", ("B", "A"): "baseline"}
    return wins.get((verdict.first, verdict.swapped), "tie")


def grade_figures(grades: Sequence[Grade], seed: int = 0) -> Figures:
    """The mean rating, and of each turn, with intervals over questions.

    Unparsable ratings leave the means and are counted. `score` is the mean over all
    ratings of both turns; NaN where none can be read.
    """
    valid = [grade for grade in grades if grade.rating != UNPARSABLE]

    def mean(chosen: Sequence[Grade]) -> Interval:
        ratings = [grade.rating for grade in chosen]
        return mean_interval(ratings, [grade.question for grade in chosen], seed)

    turns = sorted({grade.turn for grade in grades})
    of_turn = {turn: [g for g in valid if g.turn == turn] for turn in turns}
    return {
        "ratings": len(valid),
        "unparsable": len(grades) - len(valid),
        "score": mean(valid),
        **{f"turn_{turn}": mean(chosen) for turn, chosen in of_turn.items()},
    }


def pair_figures(verdicts: Sequence[Verdict], seed: int = 0) -> Figures:
    """Wins, losses and ties against the baseline, and how steady the judge is.

    win_rate    (wins + ties / 2) / pairs; a win needs both orders
    consistent  share of pairs with the same winner, or a tie, in both orders
    first_bias  share of pairs in which the first shown wins both times, less the share
                in which the second shown does; 0 without position bias

    Pairs with an unparsable verdict are left out and counted; of none that is left the
    shares are NaN.

    Reference: Zheng et al. 2023, arXiv:2306.05685, section 3.3 and table 2.
    """
    valid = [verdict for verdict in verdicts if winner(verdict)]
    winners = np.array([winner(verdict) for verdict in valid])
    orders = [(verdict.first, verdict.swapped) for verdict in valid]
    same = [pair in (("A", "B"), ("B", "A"), ("C", "C")) for pair in orders]
    bias = [(pair == ("A", "A")) - 1.0 * (pair == ("B", "B")) for pair in orders]
    questions = [verdict.question for verdict in valid]
    mean = lambda values, share: mean_interval(values, questions, seed, share)
    points = 1.0 * (winners == "model") + 0.5 * (winners == "tie")
    return {
        "pairs": len(valid),
        "unparsable": len(verdicts) - len(valid),
        "wins": int(np.sum(winners == "model")),
        "losses": int(np.sum(winners == "baseline")),
        "ties": int(np.sum(winners == "tie")),
        "win_rate": mean(points, True),
        "consistent": mean(same, True),
        "first_bias": mean(bias, False),
    }


def mean_interval(
    values: Sequence[float], units: Sequence[int], seed: int, share: bool = False
) -> Interval:
    """The bootstrap of a mean over units; NaN of no values."""
    if not len(values):
        return Interval(np.nan, np.nan, np.nan)
    return bootstrap(np.array(values, float), units=units, seed=seed, share=share)
