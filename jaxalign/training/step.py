"""The update: micro-batches are added up, divided once, and applied if finite."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxalign import sharding
from jaxalign.training.state import TrainState
from jaxalign.types import Array, Params

Metrics = Mapping[str, tuple[Array, Array]]  # each a sum and its weight
Total = tuple[Array, tuple[Array, Metrics]]
Objective = Callable[..., Total]  # (params, batch, and what a step is given besides)
Step = Callable[..., tuple[TrainState, dict[str, Array]]]
MergeFn = Callable[[Params], Params]  # what trains -> the parameters of the model


@dataclasses.dataclass(frozen=True)
class TwoPass:
    """An objective that must first know a mean over the whole batch, such as KTO's z0.

    Called like any objective, it takes that mean over the batch it is given; the step
    takes it over all micro-batches, so that their number changes nothing.

    Attributes:
      statistic: (params, batch) -> (sum, weight), never differentiated.
      terms: (params, batch, mean) -> (sum, (weight, metrics)).
    """

    statistic: Callable[[Params, Any], tuple[Array, Array]]
    terms: Callable[[Params, Any, Array], Total]

    def __call__(self, params: Params, batch: Any) -> Total:
        mean = divide(*self.statistic(params, batch))
        return self.terms(params, batch, lax.stop_gradient(mean))


def divide(total: Array, weight: Array, empty: float = 0.0) -> Array:
    """The mean, or `empty` where nothing was counted."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), empty)


def split_micro_batches(batch: Any, micro_batches: int) -> Any:
    """Cuts every leaf [B ...] into [M B/M ...]; micro-batch m has rows m, m + M, ...

    So each device's rows are spread over all micro-batches, and none has to move. A
    leaf of K * B rows keeps the K rows of a group together; scalars go to every
    micro-batch.

    Raises:
      ValueError: the rows are not divisible by the micro-batches.
    """
    rows = min(leaf.shape[0] for leaf in jax.tree.leaves(batch) if leaf.ndim)
    if rows % micro_batches:
        raise ValueError(
            f"batch of {rows} rows is not divisible by {micro_batches} micro-batches"
        )

    def cut(leaf: Array) -> Array:
        if not leaf.ndim:
            return jnp.broadcast_to(leaf, (micro_batches,))
        if leaf.shape[0] % rows:
            raise ValueError(f"{leaf.shape[0]} entries for a batch of {rows} rows")
        group, rest = leaf.shape[0] // rows, leaf.shape[1:]
        apart = jnp.reshape(leaf, (rows // micro_batches, micro_batches, group, *rest))
        micro = jnp.swapaxes(apart, 0, 1).reshape(micro_batches, -1, *rest)
        return sharding.constrain(micro, None, "batch", *[None] * len(rest))

    return jax.tree.map(cut, batch)


def accumulate(
    objective: Objective, params: Params, batch: Any, micro_batches: int
) -> tuple[Total, Params]:
    """The sums of an objective and of its gradient over a batch's micro-batches."""
    gradient = jax.value_and_grad(objective, has_aux=True)
    if micro_batches == 1:
        total, grads = gradient(params, batch)
        return total, grads
    micro = split_micro_batches(batch, micro_batches)
    if isinstance(objective, TwoPass):
        sums = lax.map(lambda part: objective.statistic(params, part), micro)
        total, weight = (jnp.sum(x, axis=0) for x in sums)
        mean = lax.stop_gradient(divide(total, weight))
        terms = objective.terms
        gradient = jax.value_and_grad(lambda p, b: terms(p, b, mean), has_aux=True)

    def add(grads: Params, part: Any) -> tuple[Params, Total]:
        total, more = gradient(params, part)
        return jax.tree.map(jnp.add, grads, more), total

    grads, totals = lax.scan(add, jax.tree.map(jnp.zeros_like, params), micro)
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), totals), grads


def on_trainable(objective: Objective, whole: MergeFn) -> Objective:
    """The objective as a function of what trains, rather than of all parameters."""
    if isinstance(objective, TwoPass):
        statistic, terms = objective.statistic, objective.terms
        return TwoPass(
            lambda trained, batch: statistic(whole(trained), batch),
            lambda trained, batch, mean: terms(whole(trained), batch, mean),
        )
    return lambda trained, batch: objective(whole(trained), batch)


def make_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    micro_batches: int = 1,
    merge: MergeFn | None = None,
) -> Step:
    """The compiled update `step(state, batch) -> (state, metrics)`; donates the state.

    What else a step is given, such as the parameters of a reference that runs in it,
    goes whole to the objective, with every micro-batch, and is not donated.

    loss = sum over micro-batches of the objective's sums / sum of its weights

    and the gradient likewise: the number of micro-batches, devices and padding tokens
    changes nothing, provided that the weight depends on the batch only. A step whose
    loss or gradient is not finite changes nothing, and says so by `finite` = False; nor
    does one that counts nothing, which momentum alone would move.

    Args:
      objective: (params, batch) -> (sum, (weight, metrics)), or a `TwoPass`.
      merge: where only some parameters train: from the state's parameters, which are
        those, to the model's. A `jax.tree_util.Partial` that holds the frozen ones, so
        that they are an argument of the compiled step: no constant, not donated, and
        without gradient or optimizer state.

    Returns:
      The step. Its metrics are scalars: loss, weight, grad_norm (before clipping),
      finite, and each metric of the objective as sum / weight, NaN if of weight 0.

    Raises:
      ValueError: while tracing, if the rows are not divisible by `micro_batches`.
    """

    def update(
        state: TrainState, batch: Any, *fixed: Any, merge: MergeFn | None
    ) -> tuple[TrainState, dict[str, Array]]:
        given = objective
        if fixed:
            given = lambda params, batch: objective(params, batch, *fixed)
        trained = given if merge is None else on_trainable(given, merge)
        total, grads = accumulate(trained, state.params, batch, micro_batches)
        loss_sum, (weight, parts) = total
        loss = divide(loss_sum, weight)
        grads = jax.tree.map(lambda g: divide(g, weight).astype(g.dtype), grads)
        grad_norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        new = dataclasses.replace(
            state,
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            opt_state=opt_state,
        )
        made = finite & (weight > 0)
        kept = jax.tree.map(lambda n, old: jnp.where(made, n, old), new, state)
        metrics = {name: divide(*part, jnp.nan) for name, part in parts.items()}
        metrics |= {"loss": loss, "weight": weight, "grad_norm": grad_norm}
        return kept, metrics | {"finite": finite}

    # to find a NaN, JAX runs the step once more, on the same arguments
    again = jax.config.jax_debug_nans  # type: ignore[attr-defined]
    given = () if again else (0,)
    return functools.partial(jax.jit(update, donate_argnums=given), merge=merge)
