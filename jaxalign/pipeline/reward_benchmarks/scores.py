"""Scores of benchmark rows by a reward, and their results."""

import collections
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign.evaluation.reward_benchmarks import reward_bench, reward_bench2, rm_bench
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.reward_benchmarks.rows import BenchmarkRow, Layout, prompt_key


class ScoredRows(NamedTuple):
    """Rows of one layout with a number of each answer: a reward, or a length.

    Attributes:
      rows: of one layout [R].
      scores: of the answers of each row, float [K] each.
    """

    rows: list[BenchmarkRow]
    scores: list[np.ndarray]

    def select(self, mask: Sequence[bool] | np.ndarray) -> "ScoredRows":
        """The rows where the mask is True."""
        pairs = zip(self.rows, self.scores, mask, strict=True)
        kept = [(row, score) for row, score, keep in pairs if keep]
        return ScoredRows([row for row, _ in kept], [score for _, score in kept])

    @property
    def units(self) -> np.ndarray:
        """The prompt of each row, the unit of intervals [R]."""
        return np.array([prompt_key(row) for row in self.rows])

    @property
    def subsets(self) -> np.ndarray:
        """The subset of each row, text [R]."""
        return np.array([row.subset for row in self.rows])

    def lengths(self) -> "ScoredRows":
        """The same rows with the characters of each answer as scores."""
        return ScoredRows(self.rows, [answer_lengths(row) for row in self.rows])


def answer_lengths(row: BenchmarkRow) -> np.ndarray:
    """Characters of each answer, float [K]."""
    return np.array([len(text) for text in row.answers], np.float64)


def score_rows(scorer: Scorer, rows: Sequence[BenchmarkRow]) -> list[dict[str, Any]]:
    """JSON rows with the scores of each row's answers, the right ones first.

    Raises:
      ValueError: a score is not finite (names the row), or as the scorer raises.
    """
    prompts = [row.prompt for row in rows for _ in row.answers]
    answers = [text for row in rows for text in row.answers]
    scores = np.asarray(scorer(prompts, answers), np.float64)
    ends = np.cumsum([len(row.answers) for row in rows])[:-1]
    written = []
    for row, values in zip(rows, np.split(scores, ends), strict=True):
        if not np.isfinite(values).all():
            bad = values[~np.isfinite(values)][0]
            raise ValueError(
                f"{row.prompt.location}: the reward of an answer is {bad}; expected a "
                "finite number"
            )
        written.append(
            {
                "location": row.prompt.location,
                "subset": row.subset,
                "id": row.row_id,
                "right": row.right,
                "scores": values.tolist(),
            }
        )
    return written


def by_layout(
    rows: Sequence[BenchmarkRow], scores: Sequence[np.ndarray]
) -> dict[Layout, ScoredRows]:
    """The rows of each layout with their scores; layouts without rows are left out."""
    groups: dict[Layout, ScoredRows] = {}
    for row, score in zip(rows, scores, strict=True):
        group = groups.setdefault(row.layout, ScoredRows([], []))
        group.rows.append(row)
        group.scores.append(np.asarray(score, np.float64))
    return groups


def pair_scores(scored: ScoredRows) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the chosen and the rejected answers of pairs, [R] each."""
    scores = np.stack(scored.scores)
    return scores[:, 0], scores[:, 1]


def pair_results(scored: ScoredRows, *, equal: float) -> np.ndarray:
    """`reward_bench.pair_results` of pairs [R]."""
    return reward_bench.pair_results(*pair_scores(scored), equal=equal)


def best_of_results(scored: ScoredRows) -> np.ndarray:
    """`reward_bench2.best_of_result` of each row [R]."""
    pairs = zip(scored.scores, scored.rows, strict=True)
    return np.array(
        [reward_bench2.best_of_result(scores, row.right) for scores, row in pairs]
    )


def style_results(scored: ScoredRows, *, equal: float) -> np.ndarray:
    """`rm_bench.style_results` of rows with three styles [R 3 3]."""
    scores, styles = np.stack(scored.scores), len(rm_bench.STYLES)
    return rm_bench.style_results(scores[:, :styles], scores[:, styles:], equal=equal)


class TiesPrompts(NamedTuple):
    """The prompts of Ties that have both of their rows.

    Attributes:
      ref, tied: the spread of the scores of their rows [P].
      units: the number of each prompt [P].
      incomplete: number of prompts with one row, which are left out.
    """

    ref: reward_bench2.AnswerSpread
    tied: reward_bench2.AnswerSpread
    units: np.ndarray
    incomplete: int


def ties_prompts(scored: ScoredRows) -> TiesPrompts:
    """Joins the two rows of each prompt of Ties.

    Raises:
      ValueError: two rows of one id (names the second).
    """
    rows: dict[str, dict[str, int]] = collections.defaultdict(dict)
    for i, row in enumerate(scored.rows):
        kind, _, number = row.row_id.partition(":")
        if kind in rows[number]:
            raise ValueError(
                f"{row.prompt.location}: field 'id' is {row.row_id!r} a second time"
            )
        rows[number][kind] = i
    both = {number: kinds for number, kinds in rows.items() if len(kinds) == 2}

    def spread(kind: str) -> reward_bench2.AnswerSpread:
        indices = [kinds[kind] for kinds in both.values()]
        return reward_bench2.answer_spread(
            [scored.scores[i] for i in indices],
            [scored.rows[i].right for i in indices],
        )

    incomplete = len(rows) - len(both)
    return TiesPrompts(spread("ref"), spread("tied"), np.array(list(both)), incomplete)


def subset_results(
    scored: ScoredRows, results: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Results and units of the rows of each subset, in the order of the rows."""
    subsets, units = scored.subsets, scored.units
    masks: Iterator[tuple[str, np.ndarray]] = (
        (name, subsets == name) for name in dict.fromkeys(subsets.tolist())
    )
    parts = [(name, results[mask], units[mask]) for name, mask in masks]
    return {n: values for n, values, _ in parts}, {n: ids for n, _, ids in parts}
