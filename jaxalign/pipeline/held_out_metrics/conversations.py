"""Held-out conversations under a policy: NLL per token and perplexity."""

from collections.abc import Sequence

import jax
import numpy as np

from jaxalign import losses
from jaxalign.batches import TokenBatch
from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.data.records import Demonstration
from jaxalign.evaluation.by_field import RowMetric
from jaxalign.pipeline.held_out_groups import HeldOutGroups
from jaxalign.pipeline.held_out_metrics.rows import (
    ParametersFn,
    evaluated_examples,
    rows_at_a_time,
    score_examples,
)
from jaxalign.runtime.evaluations import Measure
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import forward
from jaxalign.types import Array, LanguageModel, Params


def conversations(
    config: OfflineConfig,
    run: Run,
    model: LanguageModel,
    held_out: Sequence[Example],
    parameters: ParametersFn,
) -> Measure | None:
    """The measure of `loss` and `perplexity` on held-out conversations.

    loss = -sum over answer tokens of logp / number of answer tokens
    perplexity = exp(loss)

    Args:
      held_out: tokenized conversations; at most --eval-rows of them are read.
      parameters: trained parameters -> all parameters of the policy.
    """
    examples = evaluated_examples(config, run, held_out)
    if examples is None:
        return None
    groups = HeldOutGroups(config, examples, example_prompt_hashes(examples))

    @jax.jit
    def score(params: Params, batch: TokenBatch) -> tuple[Array, Array]:
        logp = forward.token_logps(model, params, batch)
        return forward.row_sums(losses.nll(logp), batch.loss_mask)

    def measure(loop: LoopState) -> dict[str, float]:
        nll, tokens = score_examples(
            score,
            parameters(loop.state.params),
            examples,
            run,
            kind=Demonstration,
            batch_size=rows_at_a_time(config, run, scale=2),  # training packs them
        )
        count = np.sum(tokens, dtype=np.float64)
        loss = float(np.sum(nll, dtype=np.float64) / count)
        return {
            "loss": loss,
            "perplexity": float(np.exp(loss)),
            "tokens": int(count),
            "rows": len(examples),
            **groups.metrics(
                loss=RowMetric(nll / np.maximum(tokens, 1), weights=tokens)
            ),
            **groups.sums(tokens=tokens),
        }

    return measure
