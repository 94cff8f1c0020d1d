"""Answers to the prompts of suites: sampled from a model, or joined from a file."""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.data.records import Prompt, conversation_key
from jaxalign.messages import shorten
from jaxalign.pipeline import rollouts
from jaxalign.pipeline.evaluation import answer_rows
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import TokenizedPrompts, select_prompts
from jaxalign.pipeline.red_team.suites import SuitePrompt, suite_prompt
from jaxalign.types import Key

Note = Callable[[str], None]


class SuiteAnswers(NamedTuple):
    """Answers of one system to the prompts of suites.

    Attributes:
      prompts: the prompt of each answer [A].
      texts: the answers [A].
      model: whose they are; "" if unknown.
    """

    prompts: list[SuitePrompt]
    texts: list[str]
    model: str

    def keys(self) -> list[Hashable]:
        """What is equal for answers to the same prompt of the same suite [A]."""
        return [(p.suite, prompt_key(p.prompt)) for p in self.prompts]


class AnswerSampler(NamedTuple):
    """Samples answers to the prompts of suites, some prompts at a time.

    Attributes:
      policy: the model.
      model: its name.
      prompts: those that leave room for an answer [P].
      tokens: of these prompts [P].
      key: of the sampling.
      max_new_tokens: the longest answer.
      samples: answers to each prompt.
      temperature: of the sampling; 0 is greedy.
      rows: answers that are sampled at one time.
    """

    policy: Policy
    model: str
    prompts: list[SuitePrompt]
    tokens: TokenizedPrompts
    key: Key
    max_new_tokens: int
    samples: int
    temperature: float
    rows: int

    def sample(self, items: range) -> list[dict[str, Any]]:
        """The answers to some prompts, as rows of answers.jsonl."""
        part = slice(items.start, items.stop)
        sampled = rollouts.sample_answers(
            self.policy,
            TokenizedPrompts(self.tokens.records[part], self.tokens.rows[part]),
            self.key,
            max_new_tokens=self.max_new_tokens,
            samples=self.samples,
            temperature=self.temperature,
            rows=self.rows,
        )
        settings = {
            "temperature": self.temperature,
            "max_new_tokens": self.max_new_tokens,
        }
        owners = [p for p in self.prompts[part] for _ in range(self.samples)]
        return [
            suite_row(
                owner, AnswerRow(prompt, text, self.model, int(n), bool(end), settings)
            )
            for owner, prompt, text, n, end in zip(
                *(owners, sampled.prompts, sampled.texts),
                *(sampled.lengths, sampled.finished),
                strict=True,
            )
        ]


def suite_row(owner: SuitePrompt, answer: AnswerRow) -> dict[str, Any]:
    """An answer as a row of answers.jsonl, with its suite, categories and label."""
    return answer_rows.write_row(answer) | {
        "suite": owner.suite,
        "categories": list(owner.categories),
        "label": "safe" if owner.safe else "unsafe",
    }


def fitting_prompts(
    policy: Policy, prompts: Sequence[SuitePrompt], max_new_tokens: int, note: Note
) -> tuple[list[SuitePrompt], TokenizedPrompts]:
    """The prompts that leave room for an answer, and their tokens; notes the others.

    Raises:
      ValueError: no prompt does.
    """
    records = [prompt.prompt for prompt in prompts]
    tokens = select_prompts(policy, records, max_new_tokens, note, "--suite")
    if not tokens.records:
        raise ValueError(
            f"no prompt of --suite leaves room for {max_new_tokens} new tokens in a "
            f"context of {policy.config.context}: lower --max-new-tokens"
        )
    owners = {id(prompt.prompt): prompt for prompt in prompts}
    return [owners[id(record)] for record in tokens.records], tokens


def add_system(prompts: Sequence[SuitePrompt], system: str) -> list[SuitePrompt]:
    """The prompts with a system message first.

    Raises:
      ValueError: a prompt has one of its own.
    """
    message = {"role": "system", "content": system}
    for owner in prompts:
        if owner.prompt.messages[0]["role"] == "system":
            raise ValueError(
                f"{owner.prompt.location}: the prompt has a system message of its own; "
                "leave out --system"
            )
    with_system = lambda p: dataclasses.replace(p, messages=[message, *p.messages])
    return [owner._replace(prompt=with_system(owner.prompt)) for owner in prompts]


def read_suite_answers(
    path: str, suites: Sequence[SuitePrompt] | None, note: Note
) -> SuiteAnswers:
    """The answers of a file, with the categories of their prompts.

    Args:
      suites: the prompts to look for; without them every answer counts, with the
        categories of its own row.
      note: shows a line about prompts without answers, and answers without prompts.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row, answers of several models, or of none of the prompts.
    """
    rows = answer_rows.read_answers(path)
    models = list(dict.fromkeys(row.model for row in rows))
    if len(models) > 1:
        raise ValueError(
            f"--answers {path} holds answers of {len(models)} models ({models[0]}, "
            f"{models[1]}, ...): give a file for each"
        )
    if suites is None:
        owners = [own_suite(row.prompt, Path(path).stem) for row in rows]
        return SuiteAnswers(owners, [row.answer for row in rows], models[0])
    by_key: dict[Hashable, list[SuitePrompt]] = {}
    for owner in suites:
        by_key.setdefault(prompt_key(owner.prompt), []).append(owner)
    pairs = [
        (owner, row.answer)
        for row in rows
        for owner in by_key.get(prompt_key(row.prompt), ())
    ]
    if not pairs:
        raise ValueError(
            f"--answers {path} answers no prompt of --suite; its first prompt is "
            f"{shorten(repr(rows[0].prompt.messages[-1]['content']))}"
        )
    answered = {prompt_key(owner.prompt) for owner, _ in pairs}
    if missing := len(by_key.keys() - answered):
        note(f"{path}: no answer to {missing} of {len(by_key)} prompts of --suite")
    if extra := sum(prompt_key(row.prompt) not in by_key for row in rows):
        note(f"{path}: {extra} of {len(rows)} answers are to no prompt of --suite")
    owners, texts = map(list, zip(*pairs, strict=True))
    return SuiteAnswers(owners, texts, models[0])


def own_suite(prompt: Prompt, name: str) -> SuitePrompt:
    """The prompt of an answer's row, with the suite and categories of that row."""
    return suite_prompt(prompt, str(prompt.fields.get("suite", name)))


def prompt_key(prompt: Prompt) -> Hashable:
    """What is equal for the same request, with or without a system message."""
    messages = [m for m in prompt.messages if m["role"] != "system"]
    return conversation_key(messages, prompt.tools)
