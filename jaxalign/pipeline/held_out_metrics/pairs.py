"""Held-out preference pairs under a policy: loss, accuracy, margin, log-ratios."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.batches import PreferenceBatch
from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.data.records import Preference
from jaxalign.evaluation import intervals
from jaxalign.evaluation.by_field import RowMetric
from jaxalign.pipeline import reference
from jaxalign.pipeline.held_out_groups import HeldOutGroups
from jaxalign.pipeline.held_out_metrics.rows import (
    ParametersFn,
    evaluated_examples,
    mean,
    rows_at_a_time,
    score_examples,
)
from jaxalign.pipeline.policies import Policy
from jaxalign.runtime.evaluations import Measure
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives
from jaxalign.training.objectives.preferences import pair_metrics
from jaxalign.training.preference_loss import PairLogps, PairwiseLoss
from jaxalign.types import Params


def pairs(
    config: OfflineConfig,
    run: Run,
    policy: Policy,
    held_out: Sequence[Example],
    loss: PairwiseLoss,
    parameters: ParametersFn,
    *,
    reference_metrics: bool = False,
) -> Measure | None:
    """The measure of a pairwise loss and its metrics on held-out pairs.

    `loss` is the loss on all pairs at once, so that it depends on no batch, also where
    a pair's term depends on other pairs; `accuracy` the share of pairs with a margin
    above 0 (a tie is half right), with its 95 % interval over prompts; `margin` the
    mean difference of log-ratios to the reference or, for a loss without a reference,
    of log-probs per token. The others are those of `objectives.preference`.

    Args:
      policy: the policy before training, the reference.
      held_out: tokenized pairs; at most --eval-rows of them are read.
      parameters: trained parameters -> all parameters of the policy.
      reference_metrics: compare with the reference although the loss does not.
    """
    examples = evaluated_examples(config, run, held_out)
    if examples is None:
        return None
    groups = HeldOutGroups(config, examples, example_prompt_hashes(examples))
    batch_size = rows_at_a_time(config, run)
    ref = reference.reference_for(
        loss,
        policy,
        examples,
        run,
        kind=Preference,
        batch_size=batch_size,
        indices=np.arange(len(examples)),
        for_metrics=reference_metrics,
    )

    @jax.jit
    def score(params: Params, batch: PreferenceBatch, frozen: Params | None) -> Any:
        return objectives.pair_logps(
            policy.model, params, batch, loss, reference=frozen
        )

    def measure(loop: LoopState) -> dict[str, float]:
        logps = score_examples(
            score,
            parameters(loop.state.params),
            examples,
            run,
            kind=Preference,
            batch_size=batch_size,
            attach=ref.attach,
            inputs=(ref.params,),
        )
        logps = jax.tree.map(jnp.asarray, logps)
        shift = loop.extras.get("shift")
        shift = None if shift is None else jnp.float32(float(shift.mean))
        return summarize_pairs(
            logps._replace(reward_shift=shift),
            loss,
            groups,
        )

    return measure


def summarize_pairs(
    pair: PairLogps, loss: PairwiseLoss, groups: HeldOutGroups
) -> dict[str, float]:
    """The held-out metrics of pairs; see `pairs`.

    Args:
      pair: log-probs of all pairs, [R] each.
      groups: of the pairs, with the prompt of each, the unit of the interval.
    """
    beta = loss.hyperparameters.get("beta") if loss.needs_reference else None
    metrics = pair_metrics(pair, beta)
    correct, prompts = np.asarray(metrics.pop("accuracy")), groups.units
    accuracy = intervals.bootstrap(correct, units=prompts, seed=groups.seed, share=True)
    margin = metrics.get("logratio/margin", metrics.get("mean_logp/margin"))
    return {
        "loss": mean(loss(pair)),
        **accuracy.to_dict("accuracy"),
        "margin": mean(margin),
        "pairs": len(prompts),
        "prompts": len(np.unique(prompts)),
        **{name: mean(values) for name, values in metrics.items()},
        **groups.metrics(
            accuracy=RowMetric(correct, has_interval=True, share=True),
            margin=RowMetric(np.asarray(margin)),
        ),
    }
