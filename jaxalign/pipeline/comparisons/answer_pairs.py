"""Pairs of two models' answers to the same prompts, and groups of them by field."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from jaxalign.data.records import Prompt
from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import Groups
from jaxalign.pipeline.evaluation import row_fields
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow
from jaxalign.pipeline.evaluation.prompt_ids import prompt_id


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
        prompt = with_fields_of(rows[0].prompt, by_prompt, key)
        kind = by_field.field_value(prompt.fields, category)
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


def with_fields_of(
    prompt: Prompt, by_prompt: Mapping[str, Mapping[str, Sequence[AnswerRow]]], key: str
) -> Prompt:
    """The prompt with the fields that only rows of other models have, too."""
    others = [rows[key][0].prompt.fields for rows in by_prompt.values() if key in rows]
    fields = dict(itertools.chain(*(row.items() for row in reversed(others))))
    return dataclasses.replace(prompt, fields=fields)


def describe_unshared(answers: Mapping[str, Sequence[AnswerRow]]) -> list[str]:
    """A sentence for each model that answered prompts which not every model answered.

    Args:
      answers: of each model, by its name.
    """
    prompts = {name: set(answers_by_prompt(rows)) for name, rows in answers.items()}
    shared = set.intersection(*prompts.values())
    return [
        f"{len(keys - shared)} of {len(keys)} prompts that {name} answered are left "
        "out: not every model answered them"
        for name, keys in prompts.items()
        if keys - shared
    ]


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
    """Refuses fields of `--split-by` that do not divide the prompts.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    by_field.group_rows([prompt.fields for prompt in prompts], fields, "prompt")


def prompt_groups(
    ids: Iterable[str],
    pairs: Sequence[AnswerPair],
    fields: Sequence[str],
    defaults: Sequence[str] = (),
) -> Groups:
    """The group of each judgement by fields of its prompt, str [R].

    Args:
      ids: of the prompts of the judgements [R].
      pairs: that were judged, whose prompts have the fields.
      fields: their names; none for those of `defaults` that divide the prompts.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    found = {pair.prompt_id: pair.prompt.fields for pair in pairs}
    rows = [found[key] for key in ids]
    if fields:
        return by_field.group_rows(rows, fields, "prompt")
    return row_fields.usable_groups(rows, defaults)


def answers_by_prompt(rows: Sequence[AnswerRow]) -> dict[str, list[AnswerRow]]:
    """The answers to each prompt, by `prompt_id`, in the order of first answers."""
    found: dict[str, list[AnswerRow]] = {}
    for row in rows:
        found.setdefault(prompt_id(row.prompt), []).append(row)
    return found


def describe(pair: AnswerPair) -> str:
    """A pair in words: its prompt's place and id, and its models."""
    place = pair.prompt.location or "prompt"
    return f"{place} ({pair.prompt_id}): {pair.model_a} and {pair.model_b}"
