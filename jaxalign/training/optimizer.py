"""AdamW with what aligning asks of it: warmup, a schedule, clipping, a decay mask."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jaxalign.types import Array, Params

SCHEDULES = ("constant", "linear", "cosine")


def learning_rate_schedule(
    learning_rate: float,
    *,
    steps: int,
    warmup: int = 0,
    schedule: str = "constant",
    final_fraction: float = 0.0,
    start: int = 0,
) -> Callable[[Any], Array]:
    """The learning rate as a function of the number of updates done before.

    rate(n) = learning_rate * min(1, (n + 1) / warmup) * decay(x)
    x = (n - warmup) / (steps - warmup), within 0 and 1
    decay(x) = 1                                              (constant)
             = 1 - (1 - final_fraction) * x                   (linear)
             = final + (1 - final) * (1 + cos(pi * x)) / 2    (cosine)

    The first update already moves, at 1 / warmup of the rate.

    Args:
      steps: updates of the whole run, warmup included.
      final_fraction: what remains of the rate after `steps`.
      start: updates before the schedule begins; n counts from there.

    Raises:
      ValueError: an unknown schedule, or a warmup that is not within the run.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"unknown schedule {schedule!r}; there are {SCHEDULES}")
    if not 0 <= warmup <= steps:
        raise ValueError(f"warmup of {warmup} steps in a run of {steps}")

    def rate(count: Any) -> Array:
        count = jnp.maximum(count - start, 0)
        ramp = jnp.minimum(1.0, (count + 1) / max(warmup, 1))
        progress = jnp.clip((count - warmup) / max(steps - warmup, 1), 0.0, 1.0)
        left = {
            "constant": jnp.ones_like(progress),
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
        }[schedule]
        floor = 0.0 if schedule == "constant" else final_fraction
        return learning_rate * ramp * (floor + (1.0 - floor) * left)

    return rate


def decay_mask(params: Params) -> Any:
    """Which parameters weight decay shrinks: matrices, but no norm, scale or bias.

    Names decide beside ranks, since the norms of stacked layers are [layers, width].
    """

    def is_matrix(path: tuple[Any, ...], leaf: Any) -> bool:
        name = jax.tree_util.keystr(path).lower()
        return leaf.ndim >= 2 and not any(n in name for n in ("norm", "scale", "bias"))

    return jax.tree_util.tree_map_with_path(is_matrix, params)


make_schedule = learning_rate_schedule


def adamw(
    learning_rate: float,
    *,
    steps: int,
    warmup: int = 0,
    schedule: str = "constant",
    final_fraction: float = 0.0,
    start: int = 0,
    weight_decay: float = 0.0,
    clip_norm: float | None = 1.0,
    b1: float = 0.9,
    b2: float = 0.999,
    eps: float = 1e-8,
    adam: Callable[..., optax.GradientTransformation] = optax.scale_by_adam,
) -> optax.GradientTransformation:
    """AdamW after clipping by the global norm.

    Args:
      learning_rate, steps, warmup, schedule, final_fraction, start: see `learning_rate_schedule`.
      weight_decay: of matrices only, see `decay_mask`.
      clip_norm: None clips nothing.
      eps: outside the root; PPO's replications use 1e-5.
      adam: what follows the moments, given b1, b2 and eps; `scale_by_tensorflow_adam`
        is the other.

    Reference: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
    """
    rate = make_schedule(
        learning_rate,
        steps=steps,
        warmup=warmup,
        schedule=schedule,
        final_fraction=final_fraction,
        start=start,
    )
    update = optax.chain(
        adam(b1=b1, b2=b2, eps=eps),
        optax.add_decayed_weights(weight_decay, decay_mask),
        optax.scale_by_learning_rate(rate),
    )
    return with_clipping(update, clip_norm)


def with_clipping(
    update: optax.GradientTransformation, norm: float | None
) -> optax.GradientTransformation:
    """An optimizer after clipping by the global norm; None clips nothing."""
    if norm is None:
        return update
    return optax.chain(optax.clip_by_global_norm(norm), update)


def scale_by_tensorflow_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> optax.GradientTransformation:
    """Adam with its epsilon beside the root of the moment as it is, not as corrected.

    update = sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

    In early updates, where v is still near 0, eps weighs more than in `optax.adam`, and
    steps are smaller.

    Reference: Kingma and Ba 2015, arXiv:1412.6980, section 2 ("epsilon hat"), as in
    TensorFlow and lm-human-preferences.
    """
    adam = optax.scale_by_adam(b1=b1, b2=b2, eps=eps)

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        _, state = adam.update(grads, state, params)
        rate = jnp.sqrt(1.0 - b2**state.count) / (1.0 - b1**state.count)
        scaled = lambda m, v: rate * m / (jnp.sqrt(v) + eps)
        return jax.tree.map(scaled, state.mu, state.nu), state

    return optax.GradientTransformation(adam.init, update)


def partition_by_role(
    optimizers: Mapping[str, optax.GradientTransformation],
) -> optax.GradientTransformation:
    """An optimizer for each role of `{"policy": ..., "value": ...}`.

    Each clips the gradient of its own role, so that none scales another's.
    """
    return optax.partition(optimizers, {role: role for role in optimizers})


def set_schedule_count(opt_state: Any, count: int) -> Any:
    """An optimizer's state, whose schedules stand where so many updates are done.

    For loops that leave updates out: the rate then follows the loop, and falls to its
    end however few there were. Moments and their own counts stay as they are.
    """
    is_schedule = lambda x: isinstance(x, optax.ScaleByScheduleState)

    def place(x: Any) -> Any:
        return x._replace(count=jnp.full_like(x.count, count)) if is_schedule(x) else x

    return jax.tree.map(place, opt_state, is_leaf=is_schedule)


def freeze(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer that waits: it moves nothing, and its state stays as it is."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(jnp.zeros_like, grads), state

    return optax.GradientTransformation(optimizer.init, update)
