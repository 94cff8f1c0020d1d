"""Answers of models that are compared: read from files, or sampled from folders."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.pipeline import rollouts
from jaxalign.pipeline.evaluation import answer_rows
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow
from jaxalign.pipeline.evaluation.prompt_ids import prompt_id
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import TokenizedPrompts, select_prompts

ANSWERS = "answers.jsonl"  # in a folder that experiments.generate wrote


class AnswerSource(NamedTuple):
    """Where a model's answers come from.

    Attributes:
      name: of the model in tables and rows.
      folder: of the model that is to answer; "" where answers are given.
      answers: given ones.
    """

    name: str
    folder: str = ""
    answers: tuple[AnswerRow, ...] = ()


class Sampling(NamedTuple):
    """How models answer.

    Attributes:
      max_new_tokens: tokens of the longest answer.
      samples: answers to each prompt.
      temperature: of the sampling; 0 takes the most likely token.
      rows: answers at one time.
      seed: of the samples, the same for all models.
    """

    max_new_tokens: int
    samples: int = 1
    temperature: float = 1.0
    rows: int = 64
    seed: int = 0


def answer_sources(policies: Sequence[str]) -> list[AnswerSource]:
    """The models that `--policies` names: at least two, with different names.

    Args:
      policies: PATH or NAME=PATH each, where the path is a model's folder, a file of
        answers, or a folder with answers.jsonl; a file may hold several models.

    Raises:
      ValueError: fewer than two models, a name that comes twice, or a name for a file
        of several models.
      OSError: no such file.
    """
    sources = [source for text in policies for source in parse_source(text)]
    counts = collections.Counter(source.name for source in sources)
    for name, count in counts.items():
        if count > 1:
            raise ValueError(
                f"--policies: {count} models are called {name!r}; give them different "
                "names, as in --policies one=PATH other=PATH"
            )
    if len(sources) < 2:
        raise ValueError(
            f"--policies names one model, {sources[0].name!r}: a comparison needs two "
            "or more, model folders or files of answers"
            if sources
            else "--policies names no model: a comparison needs two or more"
        )
    return sources


def parse_source(text: str) -> list[AnswerSource]:
    """The models of one word of `--policies`, see `answer_sources`."""
    name, path = evaluation_models.split_name(text)
    named, file = name != path, Path(path)
    if (file / ANSWERS).is_file() and not is_model(file):
        file = file / ANSWERS
    if not file.is_file():
        return [AnswerSource(name, folder=path)]
    by_model: dict[str, list[AnswerRow]] = {}
    for row in answer_rows.read_answers(file):
        label = name if named else file.stem
        by_model.setdefault(row.model or label, []).append(row)
    if named and len(by_model) > 1:
        raise ValueError(
            f"--policies {text}: the file holds answers of {len(by_model)} models, "
            f"{', '.join(by_model)}; leave out the name {name!r}"
        )
    return [
        AnswerSource(name if named else model, answers=tuple(rows))
        for model, rows in by_model.items()
    ]


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model: weights, not only a config.json of a report."""
    return any(folder.glob("*.safetensors"))


@dataclasses.dataclass
class AnswerSampler:
    """Samples the answers of several models to the same prompts, one model at a time.

    All models have the same random numbers, so that equal models give equal answers.

    Attributes:
      folders: the models' folders by name.
      prompts: that each of them answers.
      load: (folder) -> the model; called when its first answer is due.
      sampling: how they answer.
    """

    folders: Mapping[str, str]
    prompts: Sequence[Prompt]
    load: Callable[[str], Policy]
    sampling: Sampling

    def __post_init__(self) -> None:
        self.loaded: tuple[str, Policy] | None = None

    def __len__(self) -> int:
        """The number of (model, prompt) items."""
        return len(self.folders) * len(self.prompts)

    def answer_items(self, items: range) -> list[dict[str, Any]]:
        """Rows of `answers.jsonl` for these items, the first model's prompts first.

        A prompt that leaves no room for an answer in its model's context has none.
        """
        names, rows = list(self.folders), []
        count = len(self.prompts)
        for number in range(items.start // count, (items.stop - 1) // count + 1):
            start, stop = max(items.start - number * count, 0), items.stop
            part = self.prompts[start : min(stop - number * count, count)]
            rows += self.sample(names[number], part)
        return rows

    def sample(self, name: str, prompts: Sequence[Prompt]) -> list[dict[str, Any]]:
        """Rows of one model's answers to some prompts."""
        if self.loaded is None or self.loaded[0] != name:
            self.loaded = None  # only one model is in memory
            self.loaded = name, self.load(self.folders[name])
        policy, sampling = self.loaded[1], self.sampling
        tokenized = select_prompts(
            policy, prompts, sampling.max_new_tokens, lambda _: None, name
        )
        if not len(tokenized):
            return []
        answers = sample_prompts(policy, tokenized, sampling)
        settings = {
            "folder": self.folders[name],
            "temperature": sampling.temperature,
            "max_new_tokens": sampling.max_new_tokens,
            "seed": sampling.seed,
        }
        return [
            answer_rows.write_row(
                AnswerRow(prompt, text, name, tokens, ended, settings)
            )
            for prompt, text, tokens, ended in zip(
                answers.prompts,
                answers.texts,
                answers.lengths.tolist(),
                answers.finished.tolist(),
                strict=True,
            )
        ]


def sample_prompts(
    policy: Policy, prompts: TokenizedPrompts, sampling: Sampling
) -> rollouts.Answers:
    """A model's answers to tokenized prompts."""
    return rollouts.sample_answers(
        policy,
        prompts,
        streams.key(jax.random.key(sampling.seed), "compare"),
        max_new_tokens=sampling.max_new_tokens,
        samples=sampling.samples,
        temperature=sampling.temperature,
        rows=sampling.rows,
    )


def answers_by_model(
    sources: Sequence[AnswerSource], sampled: Sequence[dict[str, Any]], location: str
) -> dict[str, list[AnswerRow]]:
    """The answers of every model by name, in the order of the sources.

    Args:
      sampled: rows of `AnswerSampler`.
      location: the file of these rows, for messages.
    """
    answers = {source.name: list(source.answers) for source in sources}
    for number, row in enumerate(sampled, 1):
        parsed = answer_rows.parse_answer_row(row, f"{location}:{number}")
        answers[parsed.model].append(parsed)
    return answers


def restrict_to_prompts(
    answers: Mapping[str, Sequence[AnswerRow]], prompts: Sequence[Prompt]
) -> dict[str, list[AnswerRow]]:
    """The answers to these prompts alone, in their order, with these prompts' fields.

    Args:
      answers: of each model.
      prompts: the first of equal ones counts.
    """
    by_id: dict[str, Prompt] = {}
    for prompt in prompts:
        by_id.setdefault(prompt_id(prompt), prompt)
    restricted: dict[str, list[AnswerRow]] = {}
    for name, rows in answers.items():
        found: dict[str, list[AnswerRow]] = {key: [] for key in by_id}
        for row in rows:
            if (key := prompt_id(row.prompt)) in by_id:
                found[key].append(row._replace(prompt=by_id[key]))
        restricted[name] = [row for key in by_id for row in found[key]]
    return restricted


def given_answers(
    sources: Sequence[AnswerSource], count: int | None
) -> dict[str, list[AnswerRow]]:
    """The answers that files hold, of each model.

    Args:
      count: only to the first so many prompts of the first model; None for all.
    """
    answers = answers_by_model(sources, [], "")
    if count is None:
        return answers
    prompts = {prompt_id(r.prompt): r.prompt for r in next(iter(answers.values()))}
    return restrict_to_prompts(answers, list(prompts.values())[:count])
