"""The state of a run: a frozen tree that the step takes and gives back."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding, PartitionSpec

from jaxalign.types import Array, Int, Key, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """What a step changes, and the key from which its randomness is derived.

    Attributes:
      step: updates done.
      params: the trained parameters; for PPO `{"policy": ..., "value": ...}`.
      opt_state: the optimizer's moments and counters, cut like the parameters.
      key: the run's typed key, never replaced: fold `step` in.
    """

    step: Int[Array, ""]
    params: Params
    opt_state: Any
    key: Key


def create(
    params: Params,
    optimizer: optax.GradientTransformation,
    key: Key,
    *,
    copy: bool = True,
) -> TrainState:
    """The state before the first step.

    On a mesh the moments are cut like the parameters they belong to, and the rest is
    replicated, so that the first step's input lies as every later one's.

    Args:
      key: a typed key, of `jax.random.key`.
      copy: the step donates the state, so it owns its arrays; without a copy the first
        step deletes `params`, which then must not be the reference too.
    """
    if copy:
        params = jax.tree.map(jnp.copy, params)
    key = jnp.copy(key)
    # Eager zeros_like keeps its argument's sharding; under jit it would lose it.
    opt_state = optimizer.init(params)
    state = TrainState(jnp.zeros((), jnp.int32), params, opt_state, key)
    meshes = {
        leaf.sharding.mesh
        for leaf in jax.tree.leaves(params)
        if isinstance(getattr(leaf, "sharding", None), NamedSharding)
    }
    if not meshes:
        return state
    replicated = NamedSharding(meshes.pop(), PartitionSpec())

    def placed(leaf: Any) -> Any:
        on_mesh = isinstance(leaf.sharding, NamedSharding)
        return leaf if on_mesh else jax.device_put(leaf, replicated)

    return jax.tree.map(placed, state)
