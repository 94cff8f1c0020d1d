"""BCO's reward shift: the running mean of the rewards of all pairs trained on.

Rewards are beta * log-ratio, of chosen and rejected answers alike. A step is given the
mean over the steps before it, so that no pair's term depends on its own batch, and
neither micro-batches nor the mesh change it; the first is given 0, which the rewards of
a policy that begins at its reference are. (TRL's trainer counts the micro-batch at hand
too: its shift is one micro-batch ahead, and depends on how a batch is cut.)

Reference: Jung et al. 2024, arXiv:2404.04656, section 4 (the shift is the mean of both
kinds' rewards, estimated while training).
"""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxalign.types import Array, Float


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RewardShift:
    """A running mean.

    Attributes:
      count: answers seen.
      mean: of their rewards.
    """

    count: Float[Array, ""]
    mean: Float[Array, ""]


def restore(mesh: Mesh, saved: Sequence[float] = (0.0, 0.0)) -> RewardShift:
    """The running mean from what `to_json` made of it; of nothing by default.

    It lies on the mesh as a step's metrics do, so that no step is compiled twice.
    """
    replicated = NamedSharding(mesh, PartitionSpec())
    numbers = [np.float32(x) for x in saved]
    return RewardShift(*(jax.device_put(x, replicated) for x in numbers))


def to_json(shift: RewardShift) -> list[float]:
    """The running mean as JSON-able numbers, to the last bit.

    >>> to_json(RewardShift(jnp.float32(4.0), jnp.float32(0.5)))
    [4.0, 0.5]
    """
    return [float(shift.count), float(shift.mean)]


@jax.jit
def update(shift: RewardShift, metrics: Mapping[str, Array]) -> RewardShift:
    """The running mean with a step's rewards; as it was, if the step was not made.

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
    made = metrics["finite"] & (n > 0)
    count = jnp.where(made, shift.count + n, shift.count)
    step = (batch_mean - shift.mean) * n / jnp.maximum(count, 1.0)
    return RewardShift(count, jnp.where(made, shift.mean + step, shift.mean))
