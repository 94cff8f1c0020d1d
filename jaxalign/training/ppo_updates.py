"""PPO's two compiled updates: of both models, and of the value model alone."""

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax

from jaxalign.batches import RolloutBatch
from jaxalign.training import optimizer
from jaxalign.training.objectives.ptx import with_ptx
from jaxalign.training.step import MergeFn, Objective, Step, Total, make_step
from jaxalign.types import LanguageModel, Params

if TYPE_CHECKING:
    import optax


def make_updates(
    objective: Objective,
    policy: LanguageModel,
    optimizers: "Mapping[str, optax.GradientTransformation]",
    *,
    ptx_coef: float = 0.0,
    merge: MergeFn | None = None,
    donate: bool = True,
) -> tuple[Step, Step]:
    """Compiles PPO's updates of `{"policy": ..., "value": ...}`.

    Both take and return a state whose optimizer is that of
    `optimizer.partition_by_role(optimizers)`.

    Args:
      objective: of both models' parameters and a `RolloutBatch`, such as `ppo`.
      policy: the policy's model, for the NLL of text.
      optimizers: of the policy and of the value model, by role.
      ptx_coef: weight of the NLL of text, per token; unless 0, the first update takes
        a `MixedBatch` (PPO-ptx).
      merge, donate: see `step.make_step`.

    Returns:
      The update of both models; and that of the value model alone, which leaves the
      policy and its optimizer's state as they are, and mixes in no text.
    """

    def value_objective(params: Params, batch: RolloutBatch) -> Total:
        fixed = jax.lax.stop_gradient(params["policy"])
        return objective({**params, "policy": fixed}, batch)

    compiled = functools.partial(make_step, merge=merge, donate=donate)
    both = with_ptx(objective, policy, ptx_coef=ptx_coef) if ptx_coef else objective
    frozen = {**optimizers, "policy": optimizer.freeze(optimizers["policy"])}
    return (
        compiled(both, optimizer.partition_by_role(optimizers)),
        compiled(value_objective, optimizer.partition_by_role(frozen)),
    )
