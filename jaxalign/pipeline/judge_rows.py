"""Data rows from a judge's comparisons and ratings: soft pairs, rankings."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxalign.pipeline.llm_judge import AnswerSet, Comparison
from jaxalign.rewards import judges

# Labels stay this far from 0 and 1, so that their log-odds are finite.
LABEL_EPSILON = 1e-4


def soft_pairs(
    answer_set: AnswerSet, comparisons: Sequence[Comparison]
) -> list[dict[str, Any]]:
    """Preference rows with soft labels, one for each comparison that is not a tie.

    `label_prob` is the probability that the chosen answer is better; `margin`
    is its log-odds, in nats.
    """
    rows = []
    for pair in comparisons:
        if pair.p == 0.5:
            continue
        better, worse = (pair.i, pair.j) if pair.p > 0.5 else (pair.j, pair.i)
        p = min(max(pair.p, 1.0 - pair.p), 1.0 - LABEL_EPSILON)
        rows.append(
            {
                **answer_set.row(),
                "chosen": answer_set.answers[better],
                "rejected": answer_set.answers[worse],
                "label_prob": p,
                "margin": float(np.log(p) - np.log1p(-p)),
            }
        )
    return rows


def mean_win_probabilities(
    answer_set: AnswerSet, comparisons: Sequence[Comparison]
) -> np.ndarray:
    """The mean probability that an answer is better than each of the others [K]."""
    total = np.zeros(len(answer_set.answers))
    for pair in comparisons:
        total[pair.i] += pair.p
        total[pair.j] += 1.0 - pair.p
    return total / (len(total) - 1)


def ranking_row(answer_set: AnswerSet, scores: np.ndarray) -> dict[str, Any]:
    """A ranking of the answers to a prompt as a data row, best first.

    Args:
      scores: of each answer, higher is better [K].
    """
    order = np.argsort(-scores, kind="stable")
    return {
        **answer_set.row(),
        "answers": [answer_set.answers[k] for k in order],
        "rewards": scores[order].tolist(),
    }


def zephyr_pairs(
    answer_sets: Sequence[AnswerSet], ratings: Sequence[np.ndarray], key: jax.Array
) -> list[dict[str, Any]]:
    """Preference rows of the best answer to each prompt against a random other.

    A prompt whose two answers have equal ratings gives no row.

    Args:
      ratings: of each prompt's answers [K] each.
      key: of the random answers.
    """
    most = max(len(r) for r in ratings)
    scores = np.array([np.pad(r, (0, most - len(r))) for r in ratings])
    mask = np.arange(most)[None, :] < np.array([[len(r)] for r in ratings])
    best_and_other = map(np.asarray, judges.best_and_random(scores, mask, key))
    return [
        {
            **answer_set.row(),
            "chosen": answer_set.answers[best],
            "rejected": answer_set.answers[other],
            "rewards": [float(rating[best]), float(rating[other])],
        }
        for answer_set, rating, best, other in zip(
            answer_sets, ratings, *best_and_other, strict=True
        )
        if rating[best] > rating[other]
    ]
