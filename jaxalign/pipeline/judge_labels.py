"""AI feedback on answer sets: preference and ranking rows, and the judge's metrics."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxalign.evaluation import preference
from jaxalign.evaluation.intervals import bootstrap
from jaxalign.pipeline import answer_sets, judge_rows, llm_judge
from jaxalign.pipeline.llm_judge import (
    AnswerSet,
    Comparison,
    GeneratorFn,
    JudgeSettings,
)
from jaxalign.pipeline.policies import Policy


class Labels(NamedTuple):
    """A judge's labels of the answers of one split.

    Attributes:
      pairs: preference rows.
      rankings: ranking rows, one for each prompt.
      metrics: means with their intervals.
    """

    pairs: list[dict[str, Any]]
    rankings: list[dict[str, Any]]
    metrics: dict[str, float]


def rate(
    judge: Policy,
    prompts: Sequence[AnswerSet],
    highest: int,
    noise: GeneratorFn,
    settings: JudgeSettings,
) -> Labels:
    """Labels by ratings: pairs are the best answer against a random other (Zephyr).

    Args:
      prompts: with at least two answers each.
      highest: the best rating; the lowest is 1.
      noise: the random stream of the reasoning and of the random answers.

    Reference: Tunstall et al. 2023, arXiv:2310.16944.
    """
    ratings = llm_judge.rate_answers(judge, prompts, highest, noise, settings)
    key = jax.random.key(int(noise(0).integers(2**31)))
    hashes = answer_sets.prompt_hashes(prompts)
    units = np.repeat(hashes, list(map(len, ratings)))
    return Labels(
        judge_rows.zephyr_pairs(prompts, ratings, key),
        list(map(judge_rows.ranking_row, prompts, ratings)),
        bootstrap(np.concatenate(ratings), units=units).to_dict("rating"),
    )


def compare(
    judge: Policy,
    prompts: Sequence[AnswerSet],
    principles: Sequence[str],
    noise: GeneratorFn,
    settings: JudgeSettings,
) -> Labels:
    """Labels by comparisons of every two answers, in both orders: soft labels.

    Rankings are by the mean probability that an answer is better than the others.

    Args:
      prompts: with at least two answers each.
      principles: of which one, drawn at random, is the criterion of a comparison.
      noise: the random stream of the principles and of the reasoning.
    """
    comparisons = llm_judge.compare_answers(judge, prompts, principles, noise, settings)
    scores = map(judge_rows.mean_win_probabilities, prompts, comparisons)
    pairs = map(judge_rows.soft_pairs, prompts, comparisons)
    return Labels(
        [row for rows in pairs for row in rows],
        list(map(judge_rows.ranking_row, prompts, scores)),
        comparison_metrics(comparisons, answer_sets.prompt_hashes(prompts)),
    )


def comparison_metrics(
    comparisons: Sequence[Sequence[Comparison]], prompts: np.ndarray
) -> dict[str, float]:
    """A judge's consistency, position bias, and agreement with the order of the data.

    Args:
      comparisons: of each prompt's answers.
      prompts: hashes of the prompts, the units of intervals, uint64 [P].

    Returns:
      `consistent`, `first` and `agreement`, each with its 95 % interval.
    """
    rows = np.array([pair[2:] for pairs in comparisons for pair in pairs])
    first, swapped, p = rows.T
    units = np.repeat(prompts, list(map(len, comparisons)))
    share = partial(bootstrap, units=units, share=True)
    return {
        **share((first - 0.5) * (swapped - 0.5) < 0).to_dict("consistent"),
        **share((first + swapped) / 2).to_dict("first"),
        **share(preference.agreement(p, 1.0 - p)).to_dict("agreement"),
    }
