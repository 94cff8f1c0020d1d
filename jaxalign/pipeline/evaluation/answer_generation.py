"""Answers of models to prompts, as rows of answers.jsonl, in parts that can resume."""

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxalign import streams
from jaxalign.data import chat
from jaxalign.data.records import Prompt
from jaxalign.pipeline import rollouts
from jaxalign.pipeline.evaluation import answer_rows
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow
from jaxalign.pipeline.evaluation.chat_session import ANSWER_STREAM
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import TokenizedPrompts
from jaxalign.sampling import SamplingParams

MAX_NEW_TOKENS = 512  # where the model's context allows


class LeftOut(NamedTuple):
    """A prompt that a model does not answer: where it is, and why."""

    model: str
    location: str
    reason: str


@dataclasses.dataclass(frozen=True)
class ModelPrompts:
    """The prompts that a model answers.

    Attributes:
      model: its name.
      folder: of the model.
      prompts: those that leave room for an answer, in the order of the data.
      row_ids: the noise id of each answer, int32 [P N 2]; a prompt has the same in
        every part of the list.
      params: of the sampling.
      left_out: the other prompts.
    """

    model: str
    folder: str
    prompts: TokenizedPrompts
    row_ids: np.ndarray
    params: SamplingParams
    left_out: list[LeftOut]

    @property
    def width(self) -> int:
        """Columns of padded prompts: their longest length, a multiple of 16."""
        return -(-max(map(len, self.prompts.rows)) // 16) * 16

    def part(self, items: range) -> "ModelPrompts":
        """The prompts of these numbers."""
        records, rows = self.prompts.records, self.prompts.rows
        part = TokenizedPrompts([records[i] for i in items], [rows[i] for i in items])
        row_ids = self.row_ids[items.start : items.stop]
        return dataclasses.replace(self, prompts=part, row_ids=row_ids)


class Part(NamedTuple):
    """Consecutive prompts of one model, which are answered at one time.

    Attributes:
      model: the index of the model.
      items: the numbers of its prompts.
    """

    model: int
    items: range


def with_system_prompt(prompt: Prompt, text: str | None) -> Prompt:
    """The prompt with a system prompt, in place of its own; None leaves it as it is.

    >>> with_system_prompt(Prompt([{"role": "user", "content": "Hi"}]), "Be brief.")
    ... # doctest: +ELLIPSIS
    Prompt(messages=[{'role': 'system', 'content': 'Be brief.'}, {'role': 'user', ...
    """
    if text is None:
        return prompt
    rest = [m for m in prompt.messages if m["role"] != "system"]
    system = {"role": "system", "content": text}
    return dataclasses.replace(prompt, messages=[system, *rest])


def open_prompts(
    config: EvaluationConfig,
    model: str,
    prompts: Sequence[Prompt],
    params: SamplingParams,
    max_new_tokens: int | None,
) -> ModelPrompts:
    """Tokenize prompts for a model, before its weights are read.

    Args:
      model: a folder, as PATH or NAME=PATH.
      params: of the sampling, but for the length.
      max_new_tokens: of the longest answer; None for `MAX_NEW_TOKENS` or half of the
        context, whichever is less.

    Raises:
      ValueError, OSError: no such model, or no prompt leaves room for an answer.
    """
    name, folder = evaluation_models.split_name(model)
    opened = evaluation_models.open_model(config, folder)
    context = opened.context
    room = max_new_tokens or min(MAX_NEW_TOKENS, context // 2)
    conversations = [chat.Conversation(p.messages, p.tools) for p in prompts]
    encoded = chat.try_encode_prompts(opened.tokenizer, conversations)
    kept, left_out = [], []
    for prompt, one in zip(prompts, encoded, strict=True):
        reason = one.drop_reason
        if not reason and len(one.tokens) + room > context:
            reason = (
                f"{len(one.tokens)} tokens leave no room for {room} new tokens in a "
                f"context of {context}"
            )
        if reason:
            left_out.append(LeftOut(name, prompt.location, reason))
        else:
            kept.append((prompt, one.tokens))
    if not kept:
        raise ValueError(
            f"{name} can answer none of {len(prompts)} prompts: "
            f"{left_out[0].location}: {left_out[0].reason}"
        )
    records, rows = map(list, zip(*kept, strict=True))
    ids = [streams.prompt_id(prompt.messages) for prompt in records]
    row_ids = streams.answer_ids(ids, params.samples)
    return ModelPrompts(
        name,
        folder,
        TokenizedPrompts(records, rows),
        row_ids.reshape(len(ids), params.samples, 2),
        dataclasses.replace(params, max_new_tokens=room),
        left_out,
    )


def split_into_parts(models: Sequence[ModelPrompts], answers: int) -> list[Part]:
    """Parts of about so many answers, those of one model of nearly the same size.

    Equal sizes share a compiled program.
    """
    parts = []
    for i, model in enumerate(models):
        total = len(model.prompts)
        count = -(-total * model.params.samples // answers)
        size = -(-total // count)
        starts = range(0, total, size)
        parts += [Part(i, range(s, min(s + size, total))) for s in starts]
    return parts


class AnswerGenerator:
    """Samples the answers of parts; holds the weights of one model at a time.

    Attributes:
      speeds: (answer tokens, seconds) of each part that was sampled here, by model.
    """

    def __init__(
        self, config: EvaluationConfig, models: Sequence[ModelPrompts], mesh: Mesh
    ) -> None:
        self.config, self.models, self.mesh = config, models, mesh
        self.key = streams.key(jax.random.key(config.seed), ANSWER_STREAM)
        self.policy: Policy | None = None
        self.loaded = -1
        self.speeds: dict[int, list[tuple[float, float]]] = {}

    def rows(self, part: Part) -> list[dict[str, Any]]:
        """The answers of a part as rows, in the order of the prompts."""
        model = self.models[part.model]
        if self.policy is None or part.model != self.loaded:
            self.policy = None  # frees the weights of the model before
            self.policy = evaluation_models.load_policy(
                self.config, model.folder, self.mesh
            )
            self.loaded = part.model
        start = time.perf_counter()
        asked = model.part(part.items)
        answers = rollouts.sample_with_params(
            self.policy,
            asked.prompts,
            self.key,
            model.params,
            rows=self.config.rows,
            row_ids=asked.row_ids.reshape(-1, 2),
            width=min(model.width, self.policy.context - model.params.max_new_tokens),
        )
        seconds = time.perf_counter() - start
        speeds = self.speeds.setdefault(part.model, [])
        speeds.append((float(answers.lengths.sum()), seconds))
        settings = sampling_settings(model.params, self.config.seed)
        return [
            answer_rows.write_row(
                AnswerRow(
                    prompt,
                    answers.texts[i],
                    model.model,
                    int(answers.lengths[i]),
                    bool(answers.finished[i]),
                    settings | {"sample": i % model.params.samples},
                )
            )
            for i, prompt in enumerate(answers.prompts)
        ]

    def tokens_per_second(self, model: int) -> float | None:
        """Answer tokens a second of a model, without its first part, which compiles.

        Returns:
          None where fewer than two parts were sampled.
        """
        speeds = self.speeds.get(model, [])
        if len(speeds) < 2:
            return None
        tokens, seconds = np.sum(speeds[1:], axis=0)
        return float(tokens / seconds)


def sampling_settings(params: SamplingParams, seed: int) -> dict[str, Any]:
    """What the answers of a file were sampled with, without what is not in use."""
    settings = {
        "temperature": float(params.temperature),
        "top_p": params.top_p,
        "top_k": params.top_k,
        "max_new_tokens": params.max_new_tokens,
        "seed": seed,
    }
    return {name: value for name, value in settings.items() if value is not None}
