"""Batches: frozen arrays that travel from the data to the objectives.

Rows are right-padded. Everything per token is aligned with `tokens`: entry t of a
mask, log-prob, value, reward or advantage is about the token at t, given the tokens
before it. So entry 0 is about the first token, which nothing predicts: its mask is
False.

Letters of shapes: R rows of tokens, T columns, A answers, B pairs (or rankings, or
unpaired answers), K answers of a prompt, N prompts of packed rows. How answers lie in
rows is the batch's own matter: objectives ask its `BatchLayout`.
"""

from jaxalign.batches.layout import (
    BRANCH_STRIDE,
    BatchLayout,
    Branches,
    PromptBatch,
    TokenBatch,
    deinterleave,
    from_lengths,
    interleave,
)
from jaxalign.batches.preferences import (
    AnswerBatch,
    PairBatch,
    PairReference,
    PreferenceBatch,
    RankingBatch,
    UnpairedBatch,
    UnpairedReference,
)
from jaxalign.batches.rollouts import GroupBatch, RolloutBatch

__all__ = [
    "BRANCH_STRIDE",
    "AnswerBatch",
    "BatchLayout",
    "Branches",
    "GroupBatch",
    "PairBatch",
    "PairReference",
    "PreferenceBatch",
    "PromptBatch",
    "RankingBatch",
    "RolloutBatch",
    "TokenBatch",
    "UnpairedBatch",
    "UnpairedReference",
    "deinterleave",
    "from_lengths",
    "interleave",
]
