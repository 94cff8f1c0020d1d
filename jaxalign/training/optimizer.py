"""AdamW with warmup, a learning rate schedule, clipping and a weight decay mask."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from jaxalign import lazy, messages
from jaxalign.types import Array, Params

if TYPE_CHECKING:
    import optax
else:
    optax = lazy.module("optax")

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
    """The learning rate as a function of the number of earlier updates.

    rate(n) = learning_rate * min(1, (n + 1) / warmup) * decay(x)
    x = (n - warmup) / (steps - warmup), clipped to [0, 1]
    decay(x) = 1                                              (constant)
             = 1 - (1 - final_fraction) * x                   (linear)
             = final + (1 - final) * (1 + cos(pi * x)) / 2    (cosine)

    The first update has 1 / warmup of the rate, not 0.

    Args:
      learning_rate: the peak, after warmup.
      steps: updates of the whole run, warmup included.
      warmup: updates of the linear warmup, from 0 to `steps`.
      schedule: "constant", "linear" or "cosine".
      final_fraction: the final rate over the peak, in [0, 1].
      start: updates before the schedule begins; n counts from there.

    Returns:
      A function of the number of earlier updates, which may be traced.

    Raises:
      ValueError: an unknown schedule, or a warmup that is longer than the run.
    """
    if schedule not in SCHEDULES:
        raise messages.unknown_name("schedule", schedule, SCHEDULES)
    if not 0 <= warmup <= steps:
        raise ValueError(
            f"warmup of {warmup} steps in a run of {steps}; expected 0 to {steps}"
        )

    def rate(count: Any) -> Array:
        count = jnp.maximum(count - start, 0)
        ramp = jnp.minimum(1.0, (count + 1) / max(warmup, 1))
        progress = jnp.clip((count - warmup) / max(steps - warmup, 1), 0.0, 1.0)
        decay = {
            "constant": jnp.ones_like(progress),
            "linear": 1.0 - progress,
            "cosine": 0.5 * (1.0 + jnp.cos(jnp.pi * progress)),
        }[schedule]
        floor = 0.0 if schedule == "constant" else final_fraction
        return learning_rate * ramp * (floor + (1.0 - floor) * decay)

    return rate


def decay_mask(params: Params) -> Any:
    """The mask of weight decay: True for matrices, not for norms, scales and biases.

    By name as well as rank, since the norms of stacked layers are [layers, width].
    """

    def is_matrix(path: tuple[Any, ...], leaf: Any) -> bool:
        name = jax.tree_util.keystr(path).lower()
        return leaf.ndim >= 2 and not any(n in name for n in ("norm", "scale", "bias"))

    return jax.tree_util.tree_map_with_path(is_matrix, params)


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
    adam: "Callable[..., optax.GradientTransformation] | None" = None,
) -> "optax.GradientTransformation":
    """AdamW after clipping of the gradient by its global norm.

    Args:
      learning_rate, steps, warmup, schedule, final_fraction, start: arguments of
        `learning_rate_schedule`.
      weight_decay: coefficient, on matrices only, see `decay_mask`.
      clip_norm: largest global norm; None disables clipping.
      eps: added outside the square root; replications of PPO use 1e-5.
      adam: (b1=, b2=, eps=) -> the transformation that tracks the moments, such as
        `scale_by_tensorflow_adam`; by default `optax.scale_by_adam`.

    Reference: Loshchilov and Hutter 2019, arXiv:1711.05101, algorithm 2.
    """
    adam = adam or optax.scale_by_adam
    rate = learning_rate_schedule(
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
    update: "optax.GradientTransformation", norm: float | None
) -> "optax.GradientTransformation":
    """The optimizer after clipping by the global norm; None disables clipping."""
    if norm is None:
        return update
    return optax.chain(optax.clip_by_global_norm(norm), update)


def scale_by_tensorflow_adam(
    b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8
) -> "optax.GradientTransformation":
    """Adam with epsilon added before bias correction (epsilon hat).

    update = sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + eps)

    In early updates, where v is near 0, eps has more weight than in `optax.adam`, and
    updates are smaller.

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
    optimizers: "Mapping[str, optax.GradientTransformation]",
) -> "optax.GradientTransformation":
    """One optimizer per role of `{"policy": ..., "value": ...}`.

    Each clips the gradient of its own role only.
    """
    return optax.partition(optimizers, {role: role for role in optimizers})


def set_schedule_count(opt_state: Any, count: int) -> Any:
    """The optimizer state with the counts of its schedules set.

    For loops that skip updates: the learning rate then follows the loop, not the number
    of updates. Moments and Adam's own count are unchanged.
    """
    is_schedule = lambda x: isinstance(x, optax.ScaleByScheduleState)

    def place(x: Any) -> Any:
        return x._replace(count=jnp.full_like(x.count, count)) if is_schedule(x) else x

    return jax.tree.map(place, opt_state, is_leaf=is_schedule)


def freeze(optimizer: "optax.GradientTransformation") -> "optax.GradientTransformation":
    """Zero updates; the optimizer state is unchanged."""

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return jax.tree.map(jnp.zeros_like, grads), state

    return optax.GradientTransformation(optimizer.init, update)
