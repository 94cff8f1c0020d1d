"""Judgements of pairs of answers, by a judge in both orders or by a reward."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.evaluation.preference import agreement
from jaxalign.evaluation.win_rates.pairwise_judgements import WINNERS, pair_verdicts
from jaxalign.pipeline import answer_sets, llm_judge
from jaxalign.pipeline.comparisons.answer_pairs import AnswerPair, describe
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.evaluation.prompt_ids import prompt_text
from jaxalign.pipeline.llm_judge import AnswerSet, GeneratorFn, JudgeSettings
from jaxalign.pipeline.policies import Policy
from jaxalign.rewards import judge_prompts

Row = dict[str, Any]


class Preferences(NamedTuple):
    """Judgements of R pairs, by probabilities that answer a is better [R] each.

    Attributes:
      probability: from both orders.
      first: with a's answer shown first; NaN where no judge was asked.
      swapped: with b's answer shown first.
    """

    probability: np.ndarray
    first: np.ndarray
    swapped: np.ndarray


def fits_judge(
    judge: Policy,
    pairs: Sequence[AnswerPair],
    principles: Sequence[str],
    reasoning_tokens: int = 0,
) -> np.ndarray:
    """Whether the question about each pair fits the judge's context, bool [R].

    Args:
      principles: of which the longest is counted.
      reasoning_tokens: the most tokens of reasoning before the judge's answer.
    """
    questions = [
        judge_prompts.comparison_prompt(
            *(pair.prompt.messages, pair.answer_a, pair.answer_b),
            tools=pair.prompt.tools,
            principle=max(principles, key=len),
            request=judge_prompts.THINK_REQUEST,
        )
        for pair in pairs
    ]
    return answer_sets.questions_fit(
        judge, questions, reasoning_tokens=reasoning_tokens
    )


def judge_preferences(
    judge: Policy,
    pairs: Sequence[AnswerPair],
    principles: Sequence[str],
    noise: GeneratorFn,
    settings: JudgeSettings,
) -> Preferences:
    """A judge's preferences, of both orders.

    Answers that are the same are a tie, and nobody is asked. The probability is NaN
    where the question does not fit the judge's context.

    Args:
      principles: of which one, drawn at random, is the criterion of a comparison.
      noise: the random stream of the principles and of the reasoning.
    """
    same = np.array([pair.is_same for pair in pairs], bool)
    different = [n for n, pair in enumerate(pairs) if not pair.is_same]
    fits = fits_judge(
        judge, [pairs[n] for n in different], principles, settings.reasoning_tokens
    )
    asked = [n for n, is_short in zip(different, fits, strict=True) if is_short]
    probability = np.where(same, 0.5, np.nan)
    first, swapped = np.full((2, len(pairs)), np.nan)
    if asked:
        sets = [answer_set(pairs[n]) for n in asked]
        found = llm_judge.compare_answers(judge, sets, principles, noise, settings)
        first[asked] = [comparison.first for (comparison,) in found]
        # a judge says how likely the first shown is the better one: in the second, b
        swapped[asked] = [1.0 - comparison.swapped for (comparison,) in found]
        first, swapped = np.clip(first, 0.0, 1.0), np.clip(swapped, 0.0, 1.0)
        probability[asked] = (first[asked] + swapped[asked]) / 2
    return Preferences(probability, first, swapped)


def answer_set(pair: AnswerPair) -> AnswerSet:
    """The prompt and both answers, as a judge takes them."""
    answers = (pair.answer_a, pair.answer_b)
    return AnswerSet(pair.prompt.messages, answers, pair.prompt.tools)


def reward_preferences(scorer: Scorer, pairs: Sequence[AnswerPair]) -> Preferences:
    """Preferences by a reward: 1 where a's is higher, 1/2 where equal, else 0.

    Each answer to a prompt is scored once. The probability is NaN where an answer has
    no score (NaN), as one that is too long for a reward model.
    """
    answers: dict[tuple[str, str], Prompt] = {}
    for pair in pairs:
        for text in (pair.answer_a, pair.answer_b):
            answers.setdefault((pair.prompt_id, text), pair.prompt)
    scores = scorer(list(answers.values()), [text for _, text in answers])
    by_answer = dict(zip(answers, np.asarray(scores, np.float64), strict=True))
    a, b = (
        np.array([by_answer[pair.prompt_id, text] for pair, text in sides])
        for sides in (
            [(pair, pair.answer_a) for pair in pairs],
            [(pair, pair.answer_b) for pair in pairs],
        )
    )
    scored = np.isfinite(a) & np.isfinite(b)
    probability = np.where(scored, agreement(*np.nan_to_num((a, b))), np.nan)
    return Preferences(probability, *np.full((2, len(pairs)), np.nan))


def judgement_rows(
    pairs: Sequence[AnswerPair], preferences: Preferences, judge: str
) -> list[Row]:
    """Rows of `judgements.jsonl`: who wrote what, probabilities and the verdict.

    Pairs without a probability (NaN) have no row.

    Args:
      judge: the name of the judge or of the reward.
    """
    signs = pair_verdicts(*preferences)
    optional = lambda x: None if np.isnan(x) else float(x)
    return [
        {
            "prompt_id": pair.prompt_id,
            "prompt": prompt_text(pair.prompt),
            "model_a": pair.model_a,
            "model_b": pair.model_b,
            "winner": WINNERS[int(sign)],
            "probability": float(probability),
            "first": optional(first),
            "swapped": optional(swapped),
            "answer_a": pair.answer_a,
            "answer_b": pair.answer_b,
            "length_a": len(pair.answer_a),
            "length_b": len(pair.answer_b),
            "judge": judge,
            "category": pair.category,
        }
        for pair, sign, probability, first, swapped in zip(
            pairs, signs, *preferences, strict=True
        )
        if not np.isnan(probability)
    ]


def pairs_without_row(
    pairs: Sequence[AnswerPair], rows: Sequence[Row]
) -> list[AnswerPair]:
    """The pairs that have no row, since they are too long for the judge.

    Args:
      pairs: all that were to be judged.
      rows: of some of them, in their order.

    Raises:
      ValueError: there is no row.
    """
    if not rows:
        raise ValueError(
            f"none of the {len(pairs)} pairs fits the context of the judge or reward "
            f"model; the first is {describe(pairs[0])}"
        )
    names = ("prompt_id", "model_a", "model_b", "answer_a", "answer_b")
    missing, place = [], 0
    for pair in pairs:
        is_next = place < len(rows) and all(
            getattr(pair, name) == rows[place][name] for name in names
        )
        place += is_next
        if not is_next:
            missing.append(pair)
    return missing
