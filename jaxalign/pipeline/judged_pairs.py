"""Pairs of models' answers to a prompt, and their judgements by a judge or a reward."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.data.records import Prompt
from jaxalign.evaluation.pairwise_judgements import WINNERS, pair_verdicts
from jaxalign.evaluation.preference import agreement
from jaxalign.pipeline import answer_sets, llm_judge
from jaxalign.pipeline.answer_rows import AnswerRow
from jaxalign.pipeline.answer_scorers import Scorer
from jaxalign.pipeline.llm_judge import AnswerSet, GeneratorFn, JudgeSettings
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompt_ids import prompt_id, prompt_text
from jaxalign.rewards import judge_prompts

Row = dict[str, Any]


class AnswerPair(NamedTuple):
    """Answers of two models to one prompt.

    Attributes:
      prompt_id: equal for equal conversations, see `prompt_id`.
      category: of the prompt; None where it has none.
    """

    prompt: Prompt
    prompt_id: str
    model_a: str
    model_b: str
    answer_a: str
    answer_b: str
    category: str | None = None

    @property
    def is_same(self) -> bool:
        """Whether the answers are the same text: a tie that needs no judge."""
        return self.answer_a.strip() == self.answer_b.strip()


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


def pair_answers(
    answers: Mapping[str, Sequence[AnswerRow]],
    opponents: Literal["all", "first"] = "all",
    category: str = "category",
) -> list[AnswerPair]:
    """Pairs of models' answers to the prompts that all of them answered.

    Of several answers to a prompt, the n-th of one model meets the n-th of the other;
    answers beyond the fewest are left out.

    Args:
      answers: of each model, by its name; two models at least.
      opponents: every two models, or each with the first only.
      category: the field of a prompt's row that is its category.

    Returns:
      The pairs, those of a prompt side by side.
    """
    by_prompt = {name: answers_by_prompt(rows) for name, rows in answers.items()}
    names = list(answers)
    matches = list(itertools.combinations(names, 2))
    if opponents == "first":
        matches = [match for match in matches if match[0] == names[0]]
    pairs = []
    for key, rows in by_prompt[names[0]].items():
        if not all(key in by_prompt[name] for name in names):
            continue
        prompt, kind = rows[0].prompt, rows[0].prompt.fields.get(category)
        for n in range(min(len(by_prompt[name][key]) for name in names)):
            texts = {name: by_prompt[name][key][n].answer for name in names}
            pairs += [
                AnswerPair(
                    *(prompt, key, a, b, texts[a], texts[b]),
                    category=None if kind is None else str(kind),
                )
                for a, b in matches
            ]
    return pairs


def check_pairs(
    pairs: Sequence[AnswerPair], answers: Mapping[str, Sequence[AnswerRow]]
) -> None:
    """Refuses answers of which none can be compared.

    Args:
      answers: of each model, from which the pairs are.

    Raises:
      ValueError: there are no pairs; names the models.
    """
    if not pairs:
        counts = ", ".join(f"{name} {len(rows)}" for name, rows in answers.items())
        raise ValueError(
            f"no prompt was answered by all models (answers: {counts}): their prompts "
            "must be the same texts"
        )


def check_fields(prompts: Sequence[Prompt], fields: Sequence[str]) -> None:
    """Refuses fields of `--by` that no prompt has.

    Raises:
      ValueError: names the fields that there are.
    """
    known = sorted({name for prompt in prompts for name in prompt.fields})
    for field in fields:
        if field not in known:
            raise ValueError(
                f"--by {field}: no prompt has this field; "
                f"{messages.did_you_mean(field, known)}"
                f"there are {', '.join(known) or 'none'}"
            )


def prompt_groups(
    ids: Sequence[str], pairs: Sequence[AnswerPair], fields: Sequence[str]
) -> dict[str, np.ndarray]:
    """The group of each judgement by each field that prompts have, str [R].

    Args:
      ids: of the prompts of the judgements [R].
      pairs: that were judged, whose prompts have the fields.
      fields: their names; those that no prompt has are left out.

    Returns:
      The values of each field as text; "" where the prompt has none.
    """
    rows = {pair.prompt_id: pair.prompt.fields for pair in pairs}
    known = {name for row in rows.values() for name in row}
    text = lambda value: "" if value is None else str(value)
    return {
        name: np.array([text(rows[key].get(name)) for key in ids])
        for name in fields
        if name in known
    }


def answers_by_prompt(rows: Sequence[AnswerRow]) -> dict[str, list[AnswerRow]]:
    """The answers to each prompt, by `prompt_id`, in the order of first answers."""
    found: dict[str, list[AnswerRow]] = {}
    for row in rows:
        found.setdefault(prompt_id(row.prompt), []).append(row)
    return found


def split_by_length(
    judge: Policy,
    pairs: Sequence[AnswerPair],
    principles: Sequence[str],
    *,
    thoughts: int = 0,
) -> tuple[list[AnswerPair], list[AnswerPair]]:
    """Pairs whose question fits the judge's context, and those that are too long.

    Answers that are the same fit always, since nobody asks about them.

    Args:
      principles: of which the longest is counted.
      thoughts: the most tokens of reasoning before the judge's answer.

    Raises:
      ValueError: none fits.
    """
    fits = np.ones(len(pairs), bool)
    rows = [n for n, pair in enumerate(pairs) if not pair.is_same]
    questions = [
        judge_prompts.comparison_prompt(
            *(pairs[n].prompt.messages, pairs[n].answer_a, pairs[n].answer_b),
            tools=pairs[n].prompt.tools,
            principle=max(principles, key=len),
            request=judge_prompts.THINK_REQUEST,
        )
        for n in rows
    ]
    fits[rows] = answer_sets.questions_fit(judge, questions, reasoning_tokens=thoughts)
    if not fits.any():
        raise ValueError(
            f"none of the {len(pairs)} pairs fits the judge's context of "
            f"{judge.config.context} tokens"
        )
    select = lambda mask: [pair for pair, x in zip(pairs, mask, strict=True) if x]
    return select(fits), select(~fits)


def judge_preferences(
    judge: Policy,
    pairs: Sequence[AnswerPair],
    principles: Sequence[str],
    noise: GeneratorFn,
    settings: JudgeSettings,
) -> Preferences:
    """A judge's preferences, of both orders; a tie where the answers are the same.

    Args:
      principles: of which one, drawn at random, is the criterion of a comparison.
      noise: the random stream of the principles and of the reasoning.
    """
    preferences = Preferences(
        np.full(len(pairs), 0.5), *np.full((2, len(pairs)), np.nan)
    )
    rows = [n for n, pair in enumerate(pairs) if not pair.is_same]
    if not rows:
        return preferences
    sets = [
        AnswerSet(
            pairs[n].prompt.messages,
            (pairs[n].answer_a, pairs[n].answer_b),
            pairs[n].prompt.tools,
        )
        for n in rows
    ]
    found = llm_judge.compare_answers(judge, sets, principles, noise, settings)
    first = np.array([comparison.first for (comparison,) in found])
    # a judge says how likely the first shown is the better one: in the second, b
    swapped = 1.0 - np.array([comparison.swapped for (comparison,) in found])
    first, swapped = np.clip(first, 0.0, 1.0), np.clip(swapped, 0.0, 1.0)
    for column, values in zip(
        preferences, ((first + swapped) / 2, first, swapped), strict=True
    ):
        column[rows] = values
    return preferences


def reward_preferences(scorer: Scorer, pairs: Sequence[AnswerPair]) -> Preferences:
    """Preferences by a reward: 1 where a's is higher, 1/2 where equal, else 0.

    Each answer to a prompt is scored once.
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
    return Preferences(agreement(a, b), *np.full((2, len(pairs)), np.nan))


def judgement_rows(
    pairs: Sequence[AnswerPair], preferences: Preferences, judge: str
) -> list[Row]:
    """Rows of `judgements.jsonl`: who wrote what, probabilities and the verdict.

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
            "probability": optional(probability),
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
    ]


def describe(pair: AnswerPair) -> str:
    """A pair in words: its prompt's place or id, and its models."""
    place = pair.prompt.location or f"prompt {pair.prompt_id}"
    return f"{place}: {pair.model_a} and {pair.model_b}"
