"""Which texts fit the context of a learned reward."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from transformers import PreTrainedTokenizerFast

from jaxalign import messages
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Prompt
from jaxalign.models.pretrained_folder import open_folder
from jaxalign.pipeline import policies, reward_functions
from jaxalign.pipeline.evaluation.answer_scorers import encode_answers
from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config
from jaxalign.runtime import defaults


class AnswerTokens(NamedTuple):
    """How long answers are to a learned reward.

    Attributes:
      lengths: tokens of each answer with its prompt [A]; 0 where it cannot be encoded.
      limit: the most tokens that the reward reads.
      error: why the first answer that cannot be encoded cannot; "" where all can.
    """

    lengths: np.ndarray
    limit: int
    error: str


def answer_tokens(
    reward: str,
    config: EvaluationConfig,
    prompts: Sequence[Prompt],
    answers: Sequence[str],
) -> AnswerTokens | None:
    """Tokens of each answer with its prompt, and how many the reward reads.

    Returns:
      None for a reward that is not learned, which reads texts of any length.

    Raises:
      ValueError, OSError: as `answer_scorers.load_scorer`.
    """
    folders = reward_functions.reward_model_folders(reward)
    if not folders:
        return None
    tokenizer = policies.configure_tokenizer(
        run_config(config), tokenizers.load(folders[0])
    )
    contexts = [
        open_folder(folder, dtype=config.dtype, reward=True).config.context
        for folder in folders
    ]
    limit = min([*contexts, config.context or defaults.CONTEXT])
    lengths, error = encoded_lengths(tokenizer, prompts, answers)
    return AnswerTokens(np.array(lengths), limit, error)


def encoded_lengths(
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Prompt],
    answers: Sequence[str],
) -> tuple[list[int], str]:
    """Tokens of each answer with its prompt, and the first error; 0 where one is.

    An error of one answer is found by halving: most batches have none.
    """
    try:
        rows = encode_answers(tokenizer, prompts, answers)
        return [len(row.tokens) for row in rows], ""
    except ValueError as error:
        if len(answers) == 1:
            message = messages.one_line(error)
            location = prompts[0].location
            named = message if location in message else f"{location}: {message}"
            return [0], named
    half = len(answers) // 2
    first, reason = encoded_lengths(tokenizer, prompts[:half], answers[:half])
    second, later = encoded_lengths(tokenizer, prompts[half:], answers[half:])
    return first + second, reason or later
