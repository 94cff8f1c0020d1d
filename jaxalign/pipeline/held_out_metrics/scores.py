"""Held-out preference pairs under a reward model: loss, accuracy and margin."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.batches import PreferenceBatch
from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.data.records import Preference
from jaxalign.evaluation import preference
from jaxalign.evaluation.by_field import RowMetric
from jaxalign.pipeline.held_out_groups import HeldOutGroups
from jaxalign.pipeline.held_out_metrics.rows import (
    ParametersFn,
    evaluated_examples,
    mean,
    rows_at_a_time,
    score_examples,
)
from jaxalign.rewards import reward_model
from jaxalign.runtime.evaluations import Measure
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training.objectives.reward_models import RewardLoss
from jaxalign.types import Array, Params, ScalarModel


def scores(
    config: OfflineConfig,
    run: Run,
    model: ScalarModel,
    held_out: Sequence[Example],
    loss: RewardLoss,
    parameters: ParametersFn,
    *,
    center: float = 0.0,
) -> Measure | None:
    """The measure of a reward model's loss, accuracy and margin on held-out pairs.

    loss = mean over pairs of loss(chosen, rejected) + center * (chosen + rejected)^2

    `accuracy` is the share of pairs with the higher score for the chosen answer (a tie
    is half right), with its 95 % interval over prompts, not pairs; `margin` is the mean
    of chosen - rejected.

    Args:
      held_out: tokenized pairs; at most --eval-rows of them are read.
      loss: as in `objectives.reward`, of pairs also where rankings train.
      parameters: trained parameters -> all parameters of the reward model.
    """
    examples = evaluated_examples(config, run, held_out)
    if examples is None:
        return None
    prompts = example_prompt_hashes(examples)
    groups = HeldOutGroups(config, examples, prompts)

    @jax.jit
    def score(params: Params, batch: PreferenceBatch) -> dict[str, Array]:
        pair = reward_model.answer_scores(model, params, batch).reshape(-1, 2)
        chosen, rejected = pair[:, 0], pair[:, 1]
        terms = loss(chosen, rejected, batch)
        terms = terms + center * jnp.square(chosen + rejected)
        return {"chosen": chosen, "rejected": rejected, "loss": terms}

    def measure(loop: LoopState) -> dict[str, float]:
        pairs = score_examples(
            score,
            parameters(loop.state.params),
            examples,
            run,
            kind=Preference,
            batch_size=rows_at_a_time(config, run),
        )
        chosen, rejected = pairs["chosen"], pairs["rejected"]
        accuracy = preference.accuracy(
            chosen, rejected, units=prompts, seed=config.seed
        )
        correct = preference.agreement(chosen, rejected)
        by_group = groups.metrics(
            accuracy=RowMetric(correct, has_interval=True, share=True),
            margin=RowMetric(chosen - rejected),
            loss=RowMetric(pairs["loss"]),
        )
        return {
            "loss": mean(pairs["loss"]),
            **accuracy.to_dict("accuracy"),
            "margin": mean(chosen) - mean(rejected),
            "pairs": len(examples),
            "prompts": len(np.unique(prompts)),
            "score/chosen": mean(chosen),
            "score/rejected": mean(rejected),
            **by_group,
        }

    return measure
