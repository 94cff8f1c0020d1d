"""What a loss does in an exact world: its expectation, and where that leads.

A pairwise loss is given infinitely many preferences, a policy-gradient loss all that it
could have drawn; then each is minimised, and the policy compared with the optimum.

>>> from jaxalign.losses.preference import dpo
>>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
>>> half = lambda *logps: dpo(*logps, beta=0.5)
>>> learnt = minimize(lambda x: expected_loss(world, x, half), world.reference)
>>> best = exact.optimum(world, beta=0.5)
>>> bool(jnp.allclose(exact.log_policy(learnt), best, atol=1e-2))
True
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxalign.evaluation import tabular
from jaxalign.types import Array, Float, typed

# (chosen, rejected, ref_chosen, ref_rejected), [B] each -> [B]
PairLoss = Callable[[Array, Array, Array, Array], Array]
# (logp, old_logp, rewards), [B N] each: N samples of each of B prompts -> [B N]
GroupLoss = Callable[[Array, Array, Array], Array]


class Pairs(NamedTuple):
    """Log-probs of every pair, as pairwise losses take them, and its weight [B]."""

    chosen: Array
    rejected: Array
    ref_chosen: Array
    ref_rejected: Array
    weight: Array


@typed
def pair_logps(
    world: tabular.Bandit,
    logits: Float[Array, "P A"],
    *,
    sampling: Float[Array, "P A"] | None = None,
    preference: Float[Array, "P A A"] | None = None,
) -> Pairs:
    """Every labelled pair there can be, P * A * A of them.

    weight = p(x) * 2 * mu(a) * mu(b) * P(a preferred to b),   chosen a, rejected b

    Two answers are drawn from mu and labelled; 2, since they may come in either order.
    Weights sum to 1; a pair of an answer and itself is among them.

    Args:
      sampling: the logits of mu; by default the reference's. They get no gradient.
      preference: P, by default `preference_probability`.

    >>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
    >>> bool(jnp.isclose(pair_logps(world, world.reference).weight.sum(), 1.0))
    True
    """
    sampling = world.reference if sampling is None else sampling
    if preference is None:
        preference = tabular.preference_probability(world)
    mu = jnp.exp(tabular.log_policy(jax.lax.stop_gradient(sampling)))
    both = mu[:, :, None] * mu[:, None, :]
    weight = world.prompts[:, None, None] * 2.0 * both * preference
    first = lambda x: jnp.broadcast_to(x[:, :, None], weight.shape).ravel()
    second = lambda x: jnp.broadcast_to(x[:, None, :], weight.shape).ravel()
    logp, ref_logp = tabular.log_policy(logits), tabular.log_policy(world.reference)
    pairs = first(logp), second(logp), first(ref_logp), second(ref_logp)
    return Pairs(*pairs, weight=weight.ravel())


@typed
def expected_loss(
    world: tabular.Bandit,
    logits: Float[Array, "P A"],
    loss: PairLoss,
    *,
    sampling: Float[Array, "P A"] | None = None,
    preference: Float[Array, "P A A"] | None = None,
) -> Float[Array, ""]:
    """A pairwise loss on infinitely many preferences: its mean over `pair_logps`.

    >>> from jaxalign.losses.preference import ipo
    >>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
    >>> loss = lambda *logps: ipo(*logps, tau=0.5)
    >>> bool(jnp.isclose(expected_loss(world, world.reference, loss), 1.0))
    True
    """
    pairs = pair_logps(world, logits, sampling=sampling, preference=preference)
    *logps, weight = pairs
    return jnp.sum(weight * loss(*logps))


@typed
def expected_group_loss(
    world: tabular.Bandit,
    logits: Float[Array, "P A"],
    loss: GroupLoss,
    *,
    samples: int,
    sampling: Float[Array, "P A"] | None = None,
) -> Float[Array, ""]:
    """A policy-gradient loss, averaged over every group of samples it could draw.

    Its gradient is the expectation of the estimator's: what is drawn is held fixed.

    Args:
      loss: of (logp, old_logp, rewards) of whole answers.
      samples: N, answers to a prompt; there are A^N groups.
      sampling: logits that the answers and old_logp are of; by default the policy's.

    >>> from jaxalign.estimators.baselines import leave_one_out
    >>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
    >>> rloo = lambda logp, old_logp, rewards: -leave_one_out(rewards) * logp
    >>> by = jax.grad(expected_group_loss, 1)(world, world.reference, rloo, samples=2)
    >>> true = exact.policy_gradient(world, world.reference)
    >>> bool(jnp.allclose(-by, true, atol=1e-6))
    True
    """
    old = tabular.log_policy(
        jax.lax.stop_gradient(logits if sampling is None else sampling)
    )
    groups = np.indices((logits.shape[1],) * samples).reshape(samples, -1).T
    drawn = lambda x: x[:, groups].reshape(-1, samples)  # [P A] -> [P * A^N, N]
    old_logp = drawn(old)
    weight = jnp.repeat(world.prompts, len(groups)) * jnp.exp(old_logp.sum(axis=1))
    terms = loss(drawn(tabular.log_policy(logits)), old_logp, drawn(world.reward))
    return jnp.sum(weight * jnp.mean(terms, axis=1))


def fit(
    loss: Callable[[Array], Array],
    start: Array,
    *,
    steps: int,
    learning_rate: float,
) -> Array:
    """Where Adam ends, its rate falling to 0 as a cosine: how training goes.

    >>> parabola = lambda x: jnp.sum((x - 3.0) ** 2)
    >>> found = fit(parabola, jnp.zeros(2), steps=300, learning_rate=0.1)
    >>> bool(jnp.allclose(found, 3.0, atol=1e-3))
    True
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    return run_optimizer(optax.adam(schedule), loss, start, steps)


def minimize(
    loss: Callable[[Array], Array], start: Array, *, steps: int = 100
) -> Array:
    """Where L-BFGS ends: a smooth loss's minimum, to most digits of its dtype.

    >>> parabola = lambda x: jnp.sum((x - 3.0) ** 2)
    >>> bool(jnp.allclose(minimize(parabola, jnp.zeros(2), steps=5), 3.0))
    True
    """
    return run_optimizer(optax.lbfgs(), loss, start, steps)


def run_optimizer(
    optimizer: optax.GradientTransformationExtraArgs,
    loss: Callable[[Array], Array],
    start: Array,
    steps: int,
) -> Array:
    """Where any optimizer ends; what a line search needs is passed to all."""
    optimizer = optax.with_extra_args_support(optimizer)
    loss = jax.jit(loss)  # traced once, however often a line search calls it

    def step(carry: tuple[Array, Any], _: None) -> tuple[tuple[Array, Any], None]:
        at, state = carry
        value, grad = jax.value_and_grad(loss)(at)
        updates, state = optimizer.update(
            grad, state, at, value=value, grad=grad, value_fn=loss
        )
        return (optax.apply_updates(at, updates), state), None

    start = jnp.asarray(start)
    return jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[0][0]
