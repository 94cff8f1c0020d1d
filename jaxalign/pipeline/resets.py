"""Answers of policies that may reset, and what they discard.

Discarded tokens cost as others do: lengths, limits, log-probs and KL count them, in
sampling as in training, while texts, and rewards of texts, are of what is visible.
"""

from typing import Any, NamedTuple

import numpy as np

from jaxalign.data import special_tokens
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.rollouts import Answers


class ResetCounts(NamedTuple):
    """Resets of answers.

    Attributes:
      resets: number of [RESET] in each answer, int [A].
      discarded: tokens up to the last [RESET], this included: the latency of the first
        visible token that stays, in tokens, int [A].
    """

    resets: np.ndarray
    discarded: np.ndarray


def count_resets(policy: Policy, answers: Answers) -> ResetCounts:
    """Counts resets and discarded tokens; 0 of a policy without the token."""
    rows = answer_tokens(answers)
    reset = special_tokens.reset_id(policy.tokenizer)
    visible = [len(special_tokens.discard_before_reset(row, reset)) for row in rows]
    return ResetCounts(
        np.array([int(np.sum(row == reset)) for row in rows]),
        np.array([len(row) for row in rows]) - np.array(visible),
    )


def answer_tokens(answers: Answers) -> list[np.ndarray]:
    """The sampled tokens of each answer, the discarded ones included [A]."""
    tokens = np.asarray(answers.sequences.tokens)
    masks = np.asarray(answers.sequences.loss_mask)
    return [row[mask] for row, mask in zip(tokens, masks, strict=True)]


def discarded_texts(policy: Policy, answers: Answers) -> list[str]:
    """The texts of what each answer took back; "" without a reset [A].

    With a forced beginning, what precedes the sampled tokens is no part of them.
    """
    rows = answer_tokens(answers)
    ends = count_resets(policy, answers).discarded
    texts = policy.tokenizer.batch_decode(
        [row[:end] for row, end in zip(rows, ends, strict=True)],
        skip_special_tokens=True,
    )
    return [text.strip() for text in texts]


def reset_options(policy: Policy, *, bias: float = 0.0) -> dict[str, Any]:
    """Fields of `SamplingParams`: a bias on [RESET], and one reset an answer at most.

    Empty for a policy without the token.

    Args:
      bias: added to the token's logit; -inf for no resets.
    """
    reset = special_tokens.reset_id(policy.tokenizer)
    if reset is None:
        return {}
    return {"logit_bias": {reset: float(bias)}, "once_tokens": (reset,)}
