"""Language and reward models on text, for notebooks and scripts.

    model = jaxalign.load("runs/sft/policy")
    model.generate(["What is 2 + 2?"])
    model.logprobs(["What is 2 + 2?"], ["4"])
    jaxalign.load_reward("runs/reward_model/reward").score(["What is 2 + 2?"], ["4"])

Texts are tokenized by the model's chat template, as in training. A prompt is a string,
which is one message of the user, or a list of messages.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxalign.batches import PreferenceBatch, TokenBatch
from jaxalign.data import chat, collate, records
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.examples import TokenRow
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.models import pretrained
from jaxalign.models.pretrained_folder import open_folder
from jaxalign.pipeline import answer_scores, policies, rollouts
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.rewards import reward_model
from jaxalign.runtime import hub
from jaxalign.sampling.next_token import next_logits
from jaxalign.training import forward
from jaxalign.types import Array, LanguageModel, Params, ScalarModel

Prompt = str | Sequence[Mapping[str, Any]]


def load(path: str | os.PathLike[str], *, dtype: str = "float32") -> "TextModel":
    """Load the language model of a Hugging Face folder, or of ORG/NAME on a hub.

    Args:
      dtype: "float32" or "bfloat16", of the computation; parameters are float32.

    Raises:
      ValueError, OSError: the folder does not hold a model that can be read.
    """
    folder = hub.model_folder(str(path))
    opened = open_folder(folder, dtype=dtype)
    model, params = opened.load_language_model(mesh=None)
    policy = policies.Policy(
        model,
        params,
        tokenizers.load(folder),
        model.config.context,
        opened.settings,
    )
    return TextModel(policy)


def load_reward(
    path: str | os.PathLike[str], *, dtype: str = "float32"
) -> "TextReward":
    """Load the reward model of a folder: a sequence classifier with one label.

    Raises:
      ValueError, OSError: the folder does not hold a reward model.
    """
    folder = hub.model_folder(str(path))
    model, params = pretrained.load_reward(folder, dtype=dtype)
    return TextReward(model, params, tokenizers.load(folder))


@dataclasses.dataclass(frozen=True)
class TextModel:
    """A language model with its tokenizer, on text.

    Attributes:
      policy: model, parameters and tokenizer, as experiments use them.
    """

    policy: policies.Policy

    @property
    def model(self) -> LanguageModel:
        """The model: pure functions over a parameter tree."""
        return self.policy.model

    @property
    def params(self) -> Params:
        """The parameter tree."""
        return self.policy.params

    def with_params(self, params: Params) -> "TextModel":
        """The same model with other parameters, such as trained ones."""
        return TextModel(dataclasses.replace(self.policy, params=params))

    def logits(
        self, prompts: Sequence[Prompt], answers: Sequence[str] | None = None
    ) -> Array:
        """Next-token logits of each position [B T V] in float32, rows right-padded."""
        if answers is None:
            rows = [
                chat.encode_prompt(self.policy.tokenizer, m) for m in messages(prompts)
            ]
            batch = pad([TokenRow(ids, np.zeros(len(ids), bool)) for ids in rows])
        else:
            batch = encode(self.policy.tokenizer, prompts, answers)
        return all_logits(self.model, self.params, batch)

    def logprobs(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> Array:
        """Log-probs of answers [B], summed over their tokens and end token, in nats."""
        batch = encode(self.policy.tokenizer, prompts, answers)
        return answer_scores.answer_logp(self.model, self.params, batch)

    def generate(
        self,
        prompts: Sequence[Prompt],
        *,
        max_new_tokens: int = 128,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> list[str]:
        """One sampled answer to each prompt.

        Args:
          max_new_tokens: tokens of the longest answer.
          temperature: of the sampling, at least 0; 0 is greedy.
          seed: of the sampling; an answer depends on it and on its prompt alone.
        """
        answers = rollouts.sample_answers(
            self.policy,
            tokenize_prompts(
                self.policy, [records.Prompt(m) for m in messages(prompts)]
            ),
            jax.random.key(seed),
            max_new_tokens=max_new_tokens,
            temperature=temperature,
        )
        return answers.texts

    def pairs(
        self, prompts: Sequence[Prompt], chosen: Sequence[str], rejected: Sequence[str]
    ) -> PreferenceBatch:
        """A batch of preference pairs, for the objectives of `jaxalign.training`."""
        count = len(prompts)
        both = encode(self.policy.tokenizer, [*prompts, *prompts], [*chosen, *rejected])
        return PreferenceBatch(
            jax.tree.map(lambda x: x[:count], both),
            jax.tree.map(lambda x: x[count:], both),
            margin=np.zeros(count, np.float32),
            row=np.arange(count),
            valid=np.ones(count, bool),
        )


@dataclasses.dataclass(frozen=True)
class TextReward:
    """A reward model with its tokenizer, on text."""

    model: ScalarModel
    params: Params
    tokenizer: PreTrainedTokenizerFast

    def score(
        self, prompts: Sequence[Prompt], answers: Sequence[str] | None = None
    ) -> Array:
        """The rewards of answers [B].

        Args:
          prompts: without `answers`, whole conversations that end with an answer.
        """
        batch = encode(self.tokenizer, prompts, answers)
        return jax.jit(reward_model.score, static_argnums=0)(
            self.model, self.params, batch
        )


def messages(prompts: Sequence[Prompt]) -> list[list[Any]]:
    """Convert each prompt to a list of messages.

    Raises:
      TypeError: one string in place of a list of them.
    """
    if isinstance(prompts, str):
        raise TypeError(f"prompts is a string; expected a list, such as [{prompts!r}]")
    return [
        [{"role": "user", "content": p}] if isinstance(p, str) else list(p)
        for p in prompts
    ]


def pad(rows: Sequence[TokenRow]) -> TokenBatch:
    """Rows of tokens, right-padded to a multiple of 16."""
    longest = max(len(row.tokens) for row in rows)
    return collate.pad_sequences(rows, -(-longest // 16) * 16)


def encode(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    answers: Sequence[str] | None,
) -> TokenBatch:
    """Conversations as one right-padded batch; `loss_mask` is True on the last answers.

    Raises:
      ValueError: unequal numbers of prompts and answers, or a conversation that the
        chat template refuses.
    """
    conversations = messages(prompts)
    if answers is not None:
        if len(conversations) != len(answers):
            raise ValueError(
                f"{len(conversations)} prompts, but {len(answers)} answers"
            )
        replies = [{"role": "assistant", "content": text} for text in answers]
        conversations = [[*c, m] for c, m in zip(conversations, replies, strict=True)]
    return pad([TokenRow(*chat.encode(tokenizer, c)[:2]) for c in conversations])


@partial(jax.jit, static_argnums=0)
def all_logits(model: LanguageModel, params: Params, batch: TokenBatch) -> Array:
    """Logits of every position [B T V], with the model's logit cap."""
    hidden, unembed = forward.hidden_and_unembed(model, params, batch)
    rows = hidden.reshape(-1, hidden.shape[-1])
    logits = next_logits(rows, unembed, model.config.logit_cap)
    return logits.reshape(*hidden.shape[:2], -1)
