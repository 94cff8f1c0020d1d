"""The optimizer step: sums over micro-batches, one division, one update if finite.

    loss = sum over micro-batches of the objective's sums / sum of its weights

The gradient is divided likewise, so that the number of micro-batches, devices and
padding tokens changes nothing, provided that the weight depends on the batch only.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from jaxalign import lazy, sharding
from jaxalign.training.state import TrainState
from jaxalign.types import Array, Params

if TYPE_CHECKING:
    import optax
else:
    optax = lazy.module("optax")

Metrics = Mapping[str, tuple[Array, Array]]  # name -> (sum, weight)
Total = tuple[Array, tuple[Array, Metrics]]  # (sum, (weight, metrics))
StepOutput = tuple[TrainState, dict[str, Array]]  # (new state, scalar metrics)
MergeFn = Callable[[Params], Params]  # trainable parameters -> the model's parameters


class Objective(Protocol):
    """A loss over a batch as a sum and its weight, which the step divides once.

    `objective(params, batch, *inputs) -> (sum, (weight, metrics))`. The inputs are
    what a step is given beside the batch, such as the parameters of a reference model.
    """

    def __call__(
        self, params: Params, batch: Any, /, *inputs: Any, **options: Any
    ) -> Total: ...


class Step(Protocol):
    """A compiled update `step(state, batch, *inputs) -> (state, metrics)`.

    The inputs go to the objective with every micro-batch, uncut and not donated.
    """

    def __call__(self, state: TrainState, batch: Any, *inputs: Any) -> StepOutput:
        """The state after one update, and scalar metrics."""

    def trace(self, state: TrainState, batch: Any, *inputs: Any) -> jax.stages.Traced:
        """The traced update, of arrays or of their shapes: has its `jaxpr`."""

    def lower(self, state: TrainState, batch: Any, *inputs: Any) -> jax.stages.Lowered:
        """The lowered update, of arrays or of their shapes: to be compiled."""


@dataclasses.dataclass(frozen=True)
class TwoPass:
    """An objective that needs a mean over the whole batch first, such as KTO's z0.

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


@dataclasses.dataclass(frozen=True)
class JittedStep:
    """The `Step` that `make_step` returns.

    Attributes:
      update: (state, batch, *inputs, merge=...) -> (state, metrics), jitted.
      merge: an argument of `update`, so that the arrays which it holds are no constants
        of the compiled program.
    """

    update: Any
    merge: MergeFn | None

    def __call__(self, state: TrainState, batch: Any, *inputs: Any) -> StepOutput:
        output: StepOutput = self.update(state, batch, *inputs, merge=self.merge)
        return output

    def trace(self, state: TrainState, batch: Any, *inputs: Any) -> jax.stages.Traced:
        return self.update.trace(state, batch, *inputs, merge=self.merge)

    def lower(self, state: TrainState, batch: Any, *inputs: Any) -> jax.stages.Lowered:
        return self.update.lower(state, batch, *inputs, merge=self.merge)


def make_step(
    objective: Objective,
    optimizer: "optax.GradientTransformation",
    *,
    micro_batches: int = 1,
    merge: MergeFn | None = None,
    donate: bool = True,
) -> Step:
    """Compiles the update of an objective by an optimizer.

    An update changes nothing, and its metric `finite` is False, where the loss or the
    gradient is not finite; nor where the weight is 0, since momentum alone would move
    the parameters.

    Args:
      objective: (params, batch, *inputs) -> (sum, (weight, metrics)), or a `TwoPass`.
      micro_batches: parts of a batch whose gradients are computed one after another.
      merge: where only some parameters train: from those (the state's) to all of the
        model's. A `jax.tree_util.Partial` that holds the frozen ones, which then are
        an argument of the compiled step: no constant, not donated, without gradient
        or optimizer state.
      donate: reuse the memory of the state that a step is given, which is deleted.
        `jax.debug_nans` needs False: it runs a step again on the same arguments.

    Returns:
      The step. Its metrics are scalars: loss, weight, grad_norm (before clipping),
      finite, and each metric of the objective as sum / weight, NaN if of weight 0.

    Raises:
      ValueError: while tracing, if the rows are not divisible by `micro_batches`.
    """

    def update(
        state: TrainState, batch: Any, *inputs: Any, merge: MergeFn | None
    ) -> StepOutput:
        loss_fn = on_trainable(with_inputs(objective, inputs), merge)
        total, grads = accumulate(loss_fn, state.params, batch, micro_batches)
        loss_sum, (weight, metric_sums) = total
        loss = divide(loss_sum, weight)
        grads = jax.tree.map(lambda g: divide(g, weight).astype(g.dtype), grads)
        grad_norm = optax.tree.norm(grads)

        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        new_state = dataclasses.replace(
            state, step=state.step + 1, params=params, opt_state=opt_state
        )
        finite = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
        applied = finite & (weight > 0)
        state = jax.tree.map(lambda n, o: jnp.where(applied, n, o), new_state, state)

        metrics = {name: divide(*x, jnp.nan) for name, x in metric_sums.items()}
        metrics |= {"loss": loss, "weight": weight, "grad_norm": grad_norm}
        return state, metrics | {"finite": finite}

    return JittedStep(jax.jit(update, donate_argnums=(0,) if donate else ()), merge)


def accumulate(
    objective: Objective, params: Params, batch: Any, micro_batches: int
) -> tuple[Total, Params]:
    """The sums of an objective and of its gradient over a batch's micro-batches.

    Returns:
      (sum, (weight, metrics)) and the gradient of the sum, like `params`.
    """
    value_and_grad = jax.value_and_grad(objective, has_aux=True)
    if micro_batches == 1:
        total, grads = value_and_grad(params, batch)
        return total, grads
    micro = split_micro_batches(batch, micro_batches)
    if isinstance(objective, TwoPass):
        sums, weights = lax.map(lambda part: objective.statistic(params, part), micro)
        mean = lax.stop_gradient(
            divide(jnp.sum(sums, axis=0), jnp.sum(weights, axis=0))
        )
        terms = objective.terms
        value_and_grad = jax.value_and_grad(
            lambda params, part: terms(params, part, mean), has_aux=True
        )

    def add(grads: Params, part: Any) -> tuple[Params, Total]:
        total, part_grads = value_and_grad(params, part)
        return jax.tree.map(jnp.add, grads, part_grads), total

    grads, totals = lax.scan(add, jax.tree.map(jnp.zeros_like, params), micro)
    return jax.tree.map(lambda x: jnp.sum(x, axis=0), totals), grads


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

    def split(leaf: Array) -> Array:
        if not leaf.ndim:
            return jnp.broadcast_to(leaf, (micro_batches,))
        if leaf.shape[0] % rows:
            raise ValueError(f"{leaf.shape[0]} entries for a batch of {rows} rows")
        group, rest = leaf.shape[0] // rows, leaf.shape[1:]
        strided = jnp.reshape(
            leaf, (rows // micro_batches, micro_batches, group, *rest)
        )
        micro = jnp.swapaxes(strided, 0, 1).reshape(micro_batches, -1, *rest)
        return sharding.constrain(micro, None, "batch", *[None] * len(rest))

    return jax.tree.map(split, batch)


def on_trainable(objective: Objective, merge: MergeFn | None) -> Objective:
    """The objective as a function of the trainable parameters alone."""
    if merge is None:
        return objective
    if isinstance(objective, TwoPass):
        statistic, terms = objective.statistic, objective.terms
        return TwoPass(
            lambda params, batch: statistic(merge(params), batch),
            lambda params, batch, mean: terms(merge(params), batch, mean),
        )
    return lambda params, batch: objective(merge(params), batch)


def with_inputs(objective: Objective, inputs: tuple[Any, ...]) -> Objective:
    """The objective as a function of parameters and batch alone."""
    if not inputs:
        return objective
    return lambda params, batch: objective(params, batch, *inputs)


def divide(total: Array, weight: Array, empty: float = 0.0) -> Array:
    """total / weight, or `empty` where the weight is 0."""
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), empty)
