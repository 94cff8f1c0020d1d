"""Held-out metrics of a preference loss: of pairs, or of single answers."""

from collections.abc import Sequence

from jaxalign.data.examples import Example
from jaxalign.pipeline.held_out_metrics.pairs import pairs
from jaxalign.pipeline.held_out_metrics.rows import ParametersFn
from jaxalign.pipeline.held_out_metrics.unpaired import unpaired
from jaxalign.pipeline.policies import Policy
from jaxalign.runtime.evaluations import Measure
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training.preference_loss import PairwiseLoss, UnpairedLoss


def of_loss(
    config: OfflineConfig,
    run: Run,
    policy: Policy,
    held_out: Sequence[Example],
    loss: PairwiseLoss | UnpairedLoss,
    parameters: ParametersFn,
    *,
    reference_metrics: bool = False,
) -> Measure | None:
    """The measure of a loss: `pairs`, or `unpaired` for an `UnpairedLoss`.

    Args:
      held_out: tokenized pairs, or for an `UnpairedLoss` single answers.
      reference_metrics: compare pairs with the reference although the loss does not.
    """
    if isinstance(loss, PairwiseLoss):
        return pairs(
            *(config, run, policy, held_out, loss, parameters),
            reference_metrics=reference_metrics,
        )
    hyperparameters = dict(loss.hyperparameters)
    weights = (
        hyperparameters.pop("desirable_weight", 1.0),
        hyperparameters.pop("undesirable_weight", 1.0),
    )
    return unpaired(
        *(config, run, policy, held_out, parameters),
        weights=weights,
        beta=hyperparameters["beta"],
    )
