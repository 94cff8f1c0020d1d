"""The training state: a frozen pytree that the step maps to the next one."""

import dataclasses
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jaxalign import lazy, sharding
from jaxalign.types import Array, Int, Key, Params

if TYPE_CHECKING:
    import chex
    import optax
else:
    chex = lazy.module("chex")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """The arrays that a step updates, and the key of its randomness.

    Attributes:
      step: number of updates done.
      params: the trained parameters; for PPO `{"policy": ..., "value": ...}`.
      opt_state: the optimizer's moments and counts, sharded like the parameters.
      key: the run's typed key, which never changes: fold `step` in.
    """

    step: Int[Array, ""]
    params: Params
    opt_state: Any
    key: Key


def create(
    params: Params,
    optimizer: "optax.GradientTransformation",
    key: Key,
    *,
    copy: bool = True,
) -> TrainState:
    """The state before the first step.

    On a mesh the moments are sharded like their parameters, and the rest is replicated,
    so that the first step has the input shardings of all later ones: one compilation.

    Args:
      key: a typed key, of `jax.random.key`.
      copy: copy `params`, since the step donates the state. Without a copy the first
        step deletes `params`, which then must not be the reference too.

    Raises:
      AssertionError: the optimizer changes the shape or dtype of its own state, so
        that every step would be compiled again.
    """
    if copy:
        params = jax.tree.map(jnp.copy, params)
    key = jnp.copy(key)
    # Eager zeros_like keeps its argument's sharding; under jit it would lose it.
    opt_state = optimizer.init(params)
    _, updated = jax.eval_shape(optimizer.update, params, opt_state, params)
    chex.assert_trees_all_equal_shapes_and_dtypes(updated, opt_state)
    state = TrainState(jnp.zeros((), jnp.int32), params, opt_state, key)
    mesh = sharding.mesh_of(params)
    if mesh is None:
        return state
    replicated = NamedSharding(mesh, PartitionSpec())

    def placed(leaf: Any) -> Any:
        on_mesh = isinstance(leaf.sharding, NamedSharding)
        return leaf if on_mesh else jax.device_put(leaf, replicated)

    return jax.tree.map(placed, state)
