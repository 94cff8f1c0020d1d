"""An objective on rollouts with text mixed in, as PPO-ptx has it."""

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
    """A rollout, and text to go on imitating.

    Attributes:
      rollout: has `sequences`.
      text: `loss_mask` is True on the tokens to imitate.
      share: counted tokens of the rollout over those of the text. Of the whole batch:
        so that micro-batches change nothing.
    """

    rollout: Any
    text: TokenBatch
    share: Float[Array, ""]


def mix_batches(rollout: Any, text: TokenBatch) -> MixedBatch:
    """Both, with their share."""
    counted = jnp.sum(rollout.sequences.loss_mask)
    return MixedBatch(rollout, text, counted / jnp.maximum(text.loss_mask.sum(), 1))


def with_ptx(
    objective: Objective, policy: LanguageModel, *, ptx_coef: float
) -> Objective:
    """Adds the NLL of text to an objective that is a mean over a rollout's tokens.

    loss = objective(rollout) + weight * mean over text tokens of -logp

    Takes `{"policy": ..., ...}` and a `MixedBatch`. Metric, beside the objective's:
    ptx_nll, per token.

    Reference: Ouyang et al. 2022, arXiv:2203.02155, eq. 2 (PPO-ptx; gamma there weighs
    an expectation over text, here a mean over its tokens).
    """

    def mixed(params: Params, batch: MixedBatch) -> Total:
        total, (count, metrics) = objective(params, batch.rollout)
        logp = forward.token_logps(policy, params["policy"], batch.text)
        nll = masked_sum(losses.nll(logp), batch.text.loss_mask)
        told = {**metrics, "ptx_nll": (nll, jnp.sum(batch.text.loss_mask))}
        return total + ptx_coef * batch.share * nll, (count, told)

    return mixed
