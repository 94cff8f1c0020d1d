"""The pretraining term of PPO-ptx: text to imitate beside a rollout."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import TokenBatch
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, Float, LanguageModel, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MixedBatch:
    """A rollout, and text to imitate beside it.

    Attributes:
      rollout: a batch with `sequences`, such as a `RolloutBatch`.
      text: `loss_mask` is True on the tokens to imitate.
      token_ratio: tokens that count in the rollout / tokens that count in the text. Of
        the whole batch, so that micro-batches change nothing.
    """

    rollout: Any
    text: TokenBatch
    token_ratio: Float[Array, ""]


def mix_batches(rollout: Any, text: TokenBatch) -> MixedBatch:
    """A rollout and a text batch as one."""
    counted = jnp.sum(rollout.sequences.loss_mask)
    return MixedBatch(rollout, text, counted / jnp.maximum(text.loss_mask.sum(), 1))


def with_ptx(
    objective: Objective, policy: LanguageModel, *, ptx_coef: float
) -> Objective:
    """Adds the NLL of text to an objective that is a mean over a rollout's tokens.

    loss = objective(rollout) + ptx_coef * mean over text tokens of -logp

    Takes `{"policy": ..., ...}` and a `MixedBatch`. Metric, beside the objective's:
    ptx_nll, nats per token.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 2 (PPO-ptx; its gamma weighs an
    expectation over texts, `ptx_coef` a mean over their tokens).
    """

    def mixed(params: Params, batch: MixedBatch) -> Total:
        total, (count, metrics) = objective(params, batch.rollout)
        logp = forward.token_logps(policy, params["policy"], batch.text)
        nll = masked_sum(losses.nll(logp), batch.text.loss_mask)
        ptx_nll = (nll, jnp.sum(batch.text.loss_mask))
        total = total + ptx_coef * batch.token_ratio * nll
        return total, (count, {**metrics, "ptx_nll": ptx_nll})

    return mixed
