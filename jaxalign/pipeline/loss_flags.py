"""Command-line flags of preference losses, and the loss that they select.

The flags are hyperparameters of the losses in `training.loss_registry`, which
have their defaults.
"""

import dataclasses
from typing import Annotated, ClassVar

import tyro

from jaxalign.runtime import flags
from jaxalign.training import loss_names, objectives
from jaxalign.training.loss_registry import HYPERPARAMETERS
from jaxalign.training.preference_loss import PairwiseLoss, UnpairedLoss


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossFlags(flags.ValidatedConfig):
    """Flags of a preference loss; one that the loss does not take is refused."""

    RANGES: ClassVar = {"beta": flags.POSITIVE}
    loss: Annotated[str, tyro.conf.arg(help=loss_names.help_text())] = "dpo"
    """The preference loss, by name; docs/losses.md has their sources."""
    beta: float | None = None
    """Strength of the hold on the reference, or scale of the margin."""
    tau: float | None = None
    """IPO's regularization."""
    gamma: float | None = None
    """SimPO's target margin."""
    lam: float | None = None
    """Weight of ORPO's odds-ratio term, or of DPO-Positive's penalty."""
    delta: float | None = None
    """SLiC's target margin, or bco_pair's constant shift."""
    label_smoothing: float | None = None
    """Share of labels assumed to be flipped (dpo, cdpo, exo, aot)."""
    flip_rate: float | None = None
    """Share of labels that are flipped (robust_dpo)."""
    alpha: float | None = None
    """Weight of the chosen answers' NLL per token (rpo, cpo, slic), of the KL (tdpo2),
    of the rejected answers' unlikelihood (unlikelihood), or of the longer answer's tail
    (ld_dpo); price of a token (r_dpo); or the divergence (alpha_dpo)."""
    reference_metrics: bool = False
    """Compare with the reference for the metrics alone, where the loss needs none."""

    def hyperparameters(self) -> dict[str, float]:
        """The hyperparameters that are set, by name."""
        return set_hyperparameters(self, LossFlags)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfflineLossFlags(LossFlags):
    """`LossFlags`, and those of losses that only experiments.dpo has."""

    RANGES: ClassVar = {"temperature": flags.POSITIVE}
    temperature: float | None = None
    """DiscoPOP's."""
    desirable_weight: float | None = None
    """KTO's weight of the terms of desirable answers."""
    undesirable_weight: float | None = None
    """KTO's weight of the terms of undesirable answers."""

    def hyperparameters(self) -> dict[str, float]:
        """The hyperparameters that are set, by name."""
        return set_hyperparameters(self, OfflineLossFlags)


def set_hyperparameters(config: LossFlags, group: type[LossFlags]) -> dict[str, float]:
    """The hyperparameters of losses that a configuration sets, by name.

    Args:
      group: the class whose flags count; a subclass may have flags of the same names
        that mean something else, such as the temperature of sampling.
    """
    names = [x.name for x in dataclasses.fields(group) if x.name in HYPERPARAMETERS]
    values = {name: getattr(config, name) for name in names}
    return {name: x for name, x in values.items() if x is not None}


def configured_loss(
    config: LossFlags, loss: objectives.PairLoss | UnpairedLoss | None = None
) -> PairwiseLoss | UnpairedLoss:
    """The loss given, or that of the configuration's name, with its hyperparameters.

    Raises:
      ValueError: no loss of that name (similar names are suggested), or a
        hyperparameter that the loss does not take.
    """
    selected: PairwiseLoss | UnpairedLoss
    if loss is None:
        with flags.prefix_errors("--loss"):
            selected = objectives.get_loss(config.loss)
    elif isinstance(loss, UnpairedLoss):
        selected = loss
    else:
        selected = objectives.as_loss(loss)
    return selected.bind(**config.hyperparameters())


def check_micro_batches(micro_batches: int, loss: PairwiseLoss | UnpairedLoss) -> None:
    """Refuses micro-batches for a loss that may couple the pairs of a batch.

    Raises:
      ValueError: the loss couples the batch, or does not say that it does not.
    """
    if micro_batches == 1 or loss.couples_batch is False:
        return
    if loss.couples_batch:
        raise ValueError(
            f"the loss {loss.name} sorts all pairs of a batch: with --micro-batches "
            f"{micro_batches} it would sort each part by itself; leave it at 1"
        )
    raise ValueError(
        f"a custom loss may compare the pairs of a batch, which --micro-batches "
        f"{micro_batches} would cut: leave it at 1, or pass "
        "PairwiseLoss(fn, couples_batch=False)"
    )
