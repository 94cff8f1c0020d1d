"""Which texts fit the context of a learned reward."""

from collections.abc import Sequence

import numpy as np

from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Prompt
from jaxalign.models.pretrained_folder import open_folder
from jaxalign.pipeline import policies, reward_functions
from jaxalign.pipeline.answer_scorers import encode_answers
from jaxalign.pipeline.evaluation_models import EvaluationConfig, run_config
from jaxalign.runtime import defaults


def answer_tokens(
    reward: str,
    config: EvaluationConfig,
    prompts: Sequence[Prompt],
    answers: Sequence[str],
) -> tuple[np.ndarray, int] | None:
    """Tokens of each answer with its prompt [A], and the longest that the reward reads.

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
    rows = encode_answers(tokenizer, prompts, answers)
    return np.array([len(row.tokens) for row in rows]), limit
