"""The objective of supervised finetuning."""

import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import TokenBatch
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.step import Objective, Total
from jaxalign.types import LanguageModel, Params


def sft(model: LanguageModel, *, chunk: int | None = None) -> Objective:
    """Supervised finetuning: the NLL of answer tokens, a mean over tokens.

    loss = -sum over answer tokens of logp / number of answer tokens

    Takes a `TokenBatch`. Metric: answer_length, in tokens.

    Args:
      chunk: as in `forward.token_logps`.
    """

    def objective(params: Params, batch: TokenBatch) -> Total:
        logp = forward.token_logps(model, params, batch, chunk=chunk)
        total = masked_sum(losses.nll(logp), batch.loss_mask)
        tokens = jnp.sum(batch.loss_mask)
        before = jnp.pad(batch.loss_mask[:, :-1], ((0, 0), (1, 0)))
        starts = batch.loss_mask & ~before  # of answers, in packed rows too
        return total, (tokens, {"answer_length": (tokens, jnp.sum(starts))})

    return objective
