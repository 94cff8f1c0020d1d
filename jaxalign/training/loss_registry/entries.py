"""An entry of the registry of preference losses, and the inputs that losses share."""

from collections.abc import Callable, Mapping

from jaxalign.training.preference_loss import PairwiseLoss
from jaxalign.types import Array

TRL = "TRL 1.16"
UNVERIFIED = "not verified against the paper"

# Inputs: the policy's and the reference's log-probs, chosen and rejected each.
SUMS = (
    *("policy.chosen", "policy.rejected"),
    *("reference.chosen", "reference.rejected"),
)
MEANS = tuple(f"{path}_mean" for path in SUMS)
LENGTHS = ("length.chosen", "length.rejected")
SHARED_SUMS = (
    *("policy_shared.chosen", "policy_shared.rejected"),
    *("reference_shared.chosen", "reference_shared.rejected"),
)
WPO_WEIGHTS = ("wpo_weight.chosen", "wpo_weight.rejected")
KLS = ("kl.chosen", "kl.rejected")

# Inputs that are known only where there is a reference.
OF_REFERENCE = frozenset([*SUMS[2:], *MEANS[2:], *SHARED_SUMS[2:], *KLS])


def entry(
    fn: Callable[..., Array],
    inputs: tuple[str, ...],
    title: str,
    paper: str,
    default_source: str,
    *,
    name: str = "",
    couples_batch: bool = False,
    trl_name: str = "",
    trl_hyperparameters: Mapping[str, str] | None = None,
    proportional: tuple[str, ...] = (),
    **hyperparameters: float,
) -> PairwiseLoss:
    """A pairwise loss of the library; its inputs determine what it needs.

    Args:
      name: where it is not the function's.
      hyperparameters: defaults by name; the first is the strength.
      others: as in `PreferenceLoss`.
    """
    return PairwiseLoss(
        fn,
        inputs,
        hyperparameters,
        needs_reference=bool(OF_REFERENCE & set(inputs)),
        needs_reference_distribution=bool(set(KLS) & set(inputs)),
        couples_batch=couples_batch,
        name=name or fn.__name__,
        title=title,
        paper=paper,
        default_source=default_source,
        trl_name=trl_name,
        trl_hyperparameters=trl_hyperparameters or {},
        proportional=proportional,
    )
