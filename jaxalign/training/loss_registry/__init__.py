"""The preference losses of the library, by name: each one a `PreferenceLoss`.

This table is the only one: the command line, the benchmark and docs/losses.md read
names, hyperparameters, defaults and needs from it. A name is that of the loss function.
"""

from jaxalign import losses
from jaxalign.training.loss_registry.dpo_family import DPO_FAMILY
from jaxalign.training.loss_registry.other_losses import OTHER_LOSSES
from jaxalign.training.preference_loss import UnpairedLoss

PAIRWISE_LOSSES = {loss.name: loss for loss in [*DPO_FAMILY, *OTHER_LOSSES]}
UNPAIRED_LOSSES = {
    "kto": UnpairedLoss(
        losses.kto,
        hyperparameters={
            "beta": 0.1,
            "desirable_weight": 1.0,
            "undesirable_weight": 1.0,
        },
        couples_batch=False,  # z0, the mean over the batch, is computed beforehand
        name="kto",
        title="KTO",
        paper="Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8",
        default_source="TRL 1.16 and HALOs",
    )
}

# Names of TRL that differ from ours, and ours.
TRL_NAMES = {
    loss.trl_name: loss.name
    for loss in PAIRWISE_LOSSES.values()
    if loss.trl_name not in ("", loss.name)
}
HYPERPARAMETERS = frozenset(
    name
    for loss in [*PAIRWISE_LOSSES.values(), *UNPAIRED_LOSSES.values()]
    for name in loss.hyperparameters
)
