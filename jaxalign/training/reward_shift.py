"""BCO's reward shift: the running mean of the rewards of all pairs trained on.

Rewards are beta * log-ratio, of chosen and rejected answers alike. A step is given the
mean over the steps before it, so that no pair's term depends on its own batch, and
neither micro-batches nor the mesh change it. The first step is given 0, which is the
reward of every answer while the policy is its reference. (TRL's trainer counts the
current micro-batch too: its shift is one micro-batch ahead, and depends on how a batch
is cut.)

Reference: Jung et al. 2024, arXiv:2404.04656, section 4 (the shift is the mean of both
kinds' rewards, estimated during training).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxalign.training.preference_loss import PreferenceLoss
from jaxalign.types import Array, Float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RewardShift:
    """A running mean of rewards.

    Attributes:
      count: answers so far.
      mean: the mean of their rewards.
    """

    count: Float[Array, ""]
    mean: Float[Array, ""]


def initial(loss: PreferenceLoss, mesh: Mesh) -> RewardShift | None:
    """The running mean before the first step; None for a loss that needs none."""
    return restore(mesh) if loss.needs_reward_shift else None


def restore(mesh: Mesh, saved: Sequence[float] = (0.0, 0.0)) -> RewardShift:
    """The running mean that `to_json` wrote; by default that of no rewards.

    It lies on the mesh as a step's metrics do, so that no step is compiled twice.
    """
    replicated = NamedSharding(mesh, PartitionSpec())
    numbers = [np.float32(x) for x in saved]
    return RewardShift(*(jax.device_put(x, replicated) for x in numbers))


def to_json(shift: RewardShift) -> list[float]:
    """The running mean as JSON values, exact to the last bit.

    >>> to_json(RewardShift(jnp.float32(4.0), jnp.float32(0.5)))
    [4.0, 0.5]
    """
    return [float(shift.count), float(shift.mean)]


@jax.jit
def update(shift: RewardShift, metrics: Mapping[str, Array]) -> RewardShift:
    """Adds a step's rewards; a step that was not applied changes nothing.

    mean = mean + (batch_mean - mean) * n / (count + n),   n = 2 * pairs

    Args:
      metrics: of the step: weight (its pairs), finite, rewards/chosen and
        rewards/rejected.

    >>> metrics = {"weight": 2.0, "finite": True}
    >>> metrics |= {"rewards/chosen": 2.0, "rewards/rejected": -1.0}
    >>> nothing = RewardShift(jnp.float32(0.0), jnp.float32(0.0))
    >>> to_json(update(nothing, metrics))
    [4.0, 0.5]
    """
    n = 2.0 * metrics["weight"]
    batch_mean = 0.5 * (metrics["rewards/chosen"] + metrics["rewards/rejected"])
    applied = metrics["finite"] & (n > 0)
    count = jnp.where(applied, shift.count + n, shift.count)
    change = (batch_mean - shift.mean) * n / jnp.maximum(count, 1.0)
    return RewardShift(count, jnp.where(applied, shift.mean + change, shift.mean))
