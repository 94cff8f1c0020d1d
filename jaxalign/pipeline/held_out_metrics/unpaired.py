"""Held-out single answers under a policy: KTO's loss, accuracy and margin."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from jaxalign import losses
from jaxalign.data.examples import (
    Example,
    example_prompt_hashes,
    example_rows,
    example_values,
)
from jaxalign.data.records import Unpaired
from jaxalign.evaluation.by_field import RowMetric
from jaxalign.evaluation.unpaired import correctness, held_out_metrics, reference_point
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
from jaxalign.training import reference_cache


def unpaired(
    config: OfflineConfig,
    run: Run,
    policy: Policy,
    held_out: Sequence[Example],
    parameters: ParametersFn,
    *,
    weights: tuple[float, float] = (1.0, 1.0),
    beta: float,
) -> Measure | None:
    """The measure of KTO's loss and metrics on held-out answers.

    The reference point z0 is over all these answers at once. See
    `evaluation.unpaired.held_out_metrics` for the metrics beside `loss`.

    Args:
      policy: the policy before training, the reference.
      held_out: tokenized answers; at most --eval-rows of them are read. None are
        evaluated where they have fewer than two prompts, which z0 needs.
      parameters: trained parameters -> all parameters of the policy.
      weights: of the terms of desirable and of undesirable answers.
      beta: of the loss.
    """
    examples = evaluated_examples(config, run, held_out)
    if examples is None:
        return None
    prompts = example_prompt_hashes(examples)
    if len(np.unique(prompts)) < 2:
        run.evaluations.require_held_out(0)
        run.note("answers to fewer than two prompts are held out: no held-out numbers")
        return None
    groups = HeldOutGroups(config, examples, prompts)
    batch_size = rows_at_a_time(config, run)
    frozen = reference.compute_logps(
        policy,
        examples,
        run,
        kind=Unpaired,
        batch_size=batch_size,
        indices=np.arange(len(examples)),
    )
    score = reference_cache.reference_logp_fn(policy.model)
    desirable = example_values(examples) > 0
    before = frozen.find(example_rows(examples), np.ones(len(examples), bool))

    def measure(loop: LoopState) -> dict[str, float]:
        after = score_examples(
            score,
            parameters(loop.state.params),
            examples,
            run,
            kind=Unpaired,
            batch_size=batch_size,
        )
        ratios = after - before
        logratio = jnp.asarray(ratios[:, 0])
        terms = losses.kto(
            logratio,
            jnp.zeros_like(logratio),
            jnp.asarray(desirable),
            jnp.float32(reference_point(ratios)),
            beta=beta,
            desirable_weight=weights[0],
            undesirable_weight=weights[1],
        )
        correct = correctness(ratios, desirable)
        parts = groups.metrics(
            accuracy=RowMetric(correct, has_interval=True, share=True),
            loss=RowMetric(np.asarray(terms)),
        )
        metrics = held_out_metrics(
            ratios, desirable, prompts, beta=beta, seed=config.seed
        )
        return {"loss": mean(terms)} | metrics | parts

    return measure
