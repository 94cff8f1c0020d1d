"""Scores of given texts by any reward that `--reward` names.

In training rewards score the tokens that a policy sampled; here answers are texts of
any origin, so a reward model reads them with its own tokenizer and chat template.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerFast

from jaxalign import sharding
from jaxalign.batches import TokenBatch
from jaxalign.data import chat, collate
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.examples import TokenRow
from jaxalign.data.records import Prompt, assistant_message
from jaxalign.models.pretrained_folder import open_folder
from jaxalign.pipeline import (
    answer_scores,
    datasets,
    policies,
    reward_functions,
)
from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config
from jaxalign.runtime import hub
from jaxalign.runtime.defaults import CONTEXT as MAX_CONTEXT

# (prompts [A], answers [A]) -> the score of each answer, float [A]
Scorer = Callable[[Sequence[Prompt], Sequence[str]], np.ndarray]


def load_scorer(
    reward: str,
    config: EvaluationConfig,
    mesh: Mesh | None,
    *,
    source: datasets.Dataset | None = None,
    ensemble: str = "mean",
    skip_long: bool = False,
) -> Scorer:
    """The scores of a reward: its folder or name, as `--reward` has them.

    Args:
      reward: see `jaxalign.pipeline.reward_functions`; also ORG/NAME of a hub.
      source: the data set of the prompts, whose reward is "programmed"; by default the
        toy world's.
      ensemble: how several reward models are combined.
      skip_long: give a conversation that is longer than a reward model's context the
        score NaN, rather than refuse it.

    Returns:
      A function that raises ValueError where a score is not finite (names the prompt),
      or a conversation is longer than the reward model's context.
    """
    if "/" in reward and not Path(reward.split(",")[0]).exists():
        reward = str(hub.model_folder(reward))
    folders = reward_functions.reward_model_folders(reward)
    if folders:
        score = reward_functions.load_ensemble(
            folders, config.dtype, reward_functions.combination(ensemble), mesh
        )
        return learned_scorer(reward, folders, score, config, mesh, skip_long=skip_long)
    source = source or datasets.load(run_config(config, data="toy"))
    text_reward = reward_functions.text_reward(reward, source, config.dtype, mesh=mesh)

    def rule_based(prompts: Sequence[Prompt], answers: Sequence[str]) -> np.ndarray:
        ended = np.ones(len(answers), bool)
        values = text_reward(list(prompts), list(answers), ended)
        return np.asarray(values["reward"], np.float64)

    return rule_based


def learned_scorer(
    reward: str,
    folders: Sequence[Path],
    score: Callable[[TokenBatch], jax.Array],
    config: EvaluationConfig,
    mesh: Mesh | None,
    *,
    skip_long: bool = False,
) -> Scorer:
    """The scores of reward models that read texts with the first one's tokenizer."""
    tokenizer = policies.configure_tokenizer(
        run_config(config), tokenizers.load(folders[0])
    )
    shapes = [
        open_folder(folder, dtype=config.dtype, reward=True).config
        for folder in folders
    ]
    limit = min([shape.context for shape in shapes] + [config.context or MAX_CONTEXT])
    place = partial(sharding.shard_from_replicated, mesh=mesh)

    def learned(prompts: Sequence[Prompt], answers: Sequence[str]) -> np.ndarray:
        rows = encode_answers(tokenizer, prompts, answers)
        fits = np.array([len(row.tokens) <= limit for row in rows], bool)
        if not fits.all() and not skip_long:
            first = int(np.argmin(fits))
            raise ValueError(
                f"{prompts[first].location or 'an answer'}: {len(rows[first].tokens)} "
                f"tokens with its prompt, more than the {limit} of {reward}"
            )
        scores = np.full(len(rows), np.nan)
        # answers of similar lengths are scored together, in a few shapes
        order = np.argsort([len(row.tokens) for row in rows], kind="stable")
        order = order[fits[order]]
        size = answer_scores.round_up_to_devices(min(config.rows, len(order)), mesh)
        for start in range(0, len(order), max(size, 1)):
            # the last batch is filled up with its own rows
            indices = np.resize(order[start : start + size], size)
            longest = max(len(rows[i].tokens) for i in indices)
            width = min(max(64, 1 << (longest - 1).bit_length()), limit)
            batch = collate.pad_sequences([rows[i] for i in indices], width)
            scores[indices] = sharding.to_host(score(place(batch)))
        fitting = [p for p, is_short in zip(prompts, fits, strict=True) if is_short]
        datasets.check_finite(reward, fitting, scores[fits])
        return scores

    return learned


def encode_answers(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    answers: Sequence[str],
) -> list[TokenRow]:
    """Conversations as tokens, the answers marked.

    Raises:
      ValueError: the chat template changes or leaves out a part (names the prompt).
    """
    conversations = [
        chat.Conversation([*prompt.messages, assistant_message(answer)], prompt.tools)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    last = [[len(c.messages) - 1] for c in conversations]
    encoded = chat.encode_batch(tokenizer, conversations, last)
    for prompt, row in zip(prompts, encoded, strict=True):
        if row.drop_reason:
            raise ValueError(f"{prompt.location or 'an answer'}: {row.drop_reason}")
    return [TokenRow(*row[:2]) for row in encoded]
