"""Batches of sampled answers, for PPO and for group methods."""

import dataclasses

from jaxalign.batches.layout import BatchLayout, TokenBatch, pytree_dataclass
from jaxalign.types import Array, Float


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class RolloutBatch:
    """Sampled answers with what PPO needs, all fixed while the policy trains on them.

    Attributes:
      sequences: prompt and answer; `loss_mask` is True on the answer, EOS included.
      old_logp: log-prob of each token under the policy that sampled it.
      old_value: value of the state before each token.
      advantage: estimated (and whitened) advantage of each token.
      returns: value target of each token.
    """

    sequences: TokenBatch
    old_logp: Float[Array, "B T"]
    old_value: Float[Array, "B T"]
    advantage: Float[Array, "B T"]
    returns: Float[Array, "B T"]


@pytree_dataclass
@dataclasses.dataclass(frozen=True)
class GroupBatch:
    """Sampled answers with what group methods need, fixed while the policy trains.

    Attributes:
      sequences: prompts and answers, one a row (`TokenBatch`) or several after their
        prompt (`AnswerBatch`); `loss_mask` is True on the answers, EOS included, and
        nowhere in answers that do not count.
      old_logp: log-prob of each token under the policy that sampled it.
      ref_logp: log-prob of each token under the reference.
      advantage: of each answer [A]; or of each token [A T] where every answer has a row
        of its own.
    """

    sequences: BatchLayout
    old_logp: Float[Array, "R T"]
    ref_logp: Float[Array, "R T"]
    advantage: Float[Array, "A *T"]
