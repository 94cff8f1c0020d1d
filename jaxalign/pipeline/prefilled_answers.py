"""Answers whose first tokens are given: the assistant's turn begins with them.

A model that is aligned in the first tokens of its answers alone goes on as it did
before its alignment once these are given: the prefilling attack.

Reference: Qi et al. 2024, arXiv:2406.05946, section 2 (shallow safety alignment).
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxalign.data import chat, special_tokens
from jaxalign.data.records import Prompt, assistant_message
from jaxalign.pipeline import rollouts
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import TokenizedPrompts
from jaxalign.pipeline.rollouts import Answers
from jaxalign.sampling import SamplingParams
from jaxalign.types import Key


class PrefilledPrompts(NamedTuple):
    """Prompts whose answers have begun.

    Attributes:
      prompts: the prompts, their token ids followed by those of the given tokens [P].
      given: the first tokens of each answer, int32 [P] of [k].
    """

    prompts: TokenizedPrompts
    given: list[np.ndarray]


def prefill_answers(
    policy: Policy, prompts: Sequence[Prompt], answers: Sequence[str], tokens: int
) -> PrefilledPrompts:
    """Prompts followed by the first tokens of an answer each.

    Prompt and answer are tokenized together, as in training. The token that ends a turn
    is never given: of an answer with fewer tokens all are.

    Args:
      answers: the answer that each prompt's begins with [P].
      tokens: how many of its tokens are given, 0 or more.

    Raises:
      ValueError: unequal numbers, or a conversation that the chat template refuses.
    """
    if len(prompts) != len(answers):
        raise ValueError(f"{len(prompts)} prompts, but {len(answers)} answers")
    if tokens < 0:
        raise ValueError(f"{tokens} tokens of an answer: it should be 0 or more")
    asked = [chat.Conversation(p.messages, p.tools) for p in prompts]
    rows = chat.encode_prompts(policy.tokenizer, asked) if asked else []
    given = [np.zeros(0, np.int32)] * len(rows)
    if tokens:
        given = [
            answer_tokens(policy, prompt, len(row), answer)[:tokens]
            for prompt, row, answer in zip(prompts, rows, answers, strict=True)
        ]
    joined = [np.concatenate(both) for both in zip(rows, given, strict=True)]
    return PrefilledPrompts(TokenizedPrompts(list(prompts), joined), given)


def answer_tokens(
    policy: Policy, prompt: Prompt, prompt_tokens: int, answer: str
) -> np.ndarray:
    """The tokens of an answer to a prompt, without the one that ends the turn [k].

    Args:
      prompt_tokens: tokens of the prompt.
    """
    messages = [*prompt.messages, assistant_message(answer)]
    tokens = chat.encode(policy.tokenizer, messages, prompt.tools).tokens
    return tokens[prompt_tokens:-1]


def sample_prefilled(
    policy: Policy,
    prefilled: PrefilledPrompts,
    key: Key,
    params: SamplingParams,
    *,
    rows: int = 256,
    width: int = 0,
) -> Answers:
    """Samples the rest of answers that have begun.

    The noise of an answer depends on its prompt alone, not on the tokens given.

    Args:
      params: of the sampling; its length is that of the longest rest.
      rows, width: as in `rollouts.sample_with_params`.

    Returns:
      Answers whose texts have the given tokens and the sampled ones, but for what they
      took back with [RESET]. The given tokens are part of the prompt in `sequences`,
      and count in no length.

    Raises:
      ValueError: as `rollouts.sample_with_params`.
    """
    sampled = rollouts.sample_with_params(
        policy, prefilled.prompts, key, params, rows=rows, width=width
    )
    if not any(map(len, prefilled.given)):
        return sampled
    given = [tokens for tokens in prefilled.given for _ in range(params.samples)]
    masks = np.asarray(sampled.sequences.loss_mask)
    whole = [
        np.concatenate([first, row[mask]])
        for first, row, mask in zip(
            given, np.asarray(sampled.sequences.tokens), masks, strict=True
        )
    ]
    texts = special_tokens.decode_answers(policy.tokenizer, whole)
    return dataclasses.replace(sampled, texts=[text.strip() for text in texts])
