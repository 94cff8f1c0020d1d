"""Exact expectations of losses in a tabular bandit, and their minimizers.

A pairwise loss is averaged over all preferences, a policy-gradient loss over all groups
of samples; the minimizer of each can be compared with the optimal policy.

>>> from jaxalign.losses.preference import dpo
>>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
>>> half = lambda *logps: dpo(*logps, beta=0.5)
>>> learned = minimize(lambda x: expected_loss(bandit, x, half), bandit.reference)
>>> best = tabular.optimal_policy(bandit, beta=0.5)
>>> bool(jnp.allclose(tabular.log_policy(learned), best, atol=1e-2))
True
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import lazy
from jaxalign.evaluation import tabular
from jaxalign.types import Array, Float, typed

if TYPE_CHECKING:
    import optax
else:
    optax = lazy.module("optax")

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
    bandit: tabular.Bandit,
    logits: Float[Array, "P A"],
    *,
    sampling: Float[Array, "P A"] | None = None,
    preference: Float[Array, "P A A"] | None = None,
) -> Pairs:
    """All P * A * A labelled pairs, with their log-probs and probabilities.

    weight = p(x) * 2 * mu(a) * mu(b) * P(a preferred to b),   chosen a, rejected b

    Two answers are sampled from mu and labelled; the factor 2 is for their two orders.
    Weights sum to 1; pairs of an answer with itself are included.

    Args:
      sampling: logits of mu, by default the reference's; without gradient.
      preference: P, by default `preference_probability`.

    >>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> bool(jnp.isclose(pair_logps(bandit, bandit.reference).weight.sum(), 1.0))
    True
    """
    sampling = bandit.reference if sampling is None else sampling
    if preference is None:
        preference = tabular.preference_probability(bandit)
    mu = jnp.exp(tabular.log_policy(jax.lax.stop_gradient(sampling)))
    both = mu[:, :, None] * mu[:, None, :]
    weight = bandit.prompts[:, None, None] * 2.0 * both * preference
    first = lambda x: jnp.broadcast_to(x[:, :, None], weight.shape).ravel()
    second = lambda x: jnp.broadcast_to(x[:, None, :], weight.shape).ravel()
    logp, ref_logp = tabular.log_policy(logits), tabular.log_policy(bandit.reference)
    pairs = first(logp), second(logp), first(ref_logp), second(ref_logp)
    return Pairs(*pairs, weight=weight.ravel())


@typed
def expected_loss(
    bandit: tabular.Bandit,
    logits: Float[Array, "P A"],
    loss: PairLoss,
    *,
    sampling: Float[Array, "P A"] | None = None,
    preference: Float[Array, "P A A"] | None = None,
) -> Float[Array, ""]:
    """The exact expectation of a pairwise loss: its weighted mean over `pair_logps`.

    >>> from jaxalign.losses.preference import ipo
    >>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> loss = lambda *logps: ipo(*logps, tau=0.5)
    >>> bool(jnp.isclose(expected_loss(bandit, bandit.reference, loss), 1.0))
    True
    """
    pairs = pair_logps(bandit, logits, sampling=sampling, preference=preference)
    *logps, weight = pairs
    return jnp.sum(weight * loss(*logps))


@typed
def expected_group_loss(
    bandit: tabular.Bandit,
    logits: Float[Array, "P A"],
    loss: GroupLoss,
    *,
    samples: int,
    sampling: Float[Array, "P A"] | None = None,
) -> Float[Array, ""]:
    """The exact expectation of a policy-gradient loss over all groups of samples.

    Its gradient is the expectation of the estimator's gradient: the sampling
    distribution is held fixed.

    Args:
      loss: (logp, old_logp, rewards) of whole answers, [B N] each -> [B N].
      samples: N, answers per prompt; there are A^N groups.
      sampling: logits of the sampling policy, of which old_logp is; by default the
        policy's own.

    >>> from jaxalign.estimators.baselines import leave_one_out
    >>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> rloo = lambda logp, old_logp, rewards: -leave_one_out(rewards) * logp
    >>> by = jax.grad(expected_group_loss, 1)(bandit, bandit.reference, rloo, samples=2)
    >>> true = tabular.policy_gradient(bandit, bandit.reference)
    >>> bool(jnp.allclose(-by, true, atol=1e-6))
    True
    """
    old = tabular.log_policy(
        jax.lax.stop_gradient(logits if sampling is None else sampling)
    )
    groups = np.indices((logits.shape[1],) * samples).reshape(samples, -1).T
    grouped = lambda x: x[:, groups].reshape(-1, samples)  # [P A] -> [P * A^N, N]
    old_logp = grouped(old)
    weight = jnp.repeat(bandit.prompts, len(groups)) * jnp.exp(old_logp.sum(axis=1))
    terms = loss(grouped(tabular.log_policy(logits)), old_logp, grouped(bandit.reward))
    return jnp.sum(weight * jnp.mean(terms, axis=1))


def fit(
    loss: Callable[[Array], Array],
    start: Array,
    *,
    steps: int,
    learning_rate: float,
) -> Array:
    """The parameters after Adam with a cosine learning rate, as in training.

    >>> parabola = lambda x: jnp.sum((x - 3.0) ** 2)
    >>> fitted = fit(parabola, jnp.zeros(2), steps=300, learning_rate=0.1)
    >>> bool(jnp.allclose(fitted, 3.0, atol=1e-3))
    True
    """
    schedule = optax.cosine_decay_schedule(learning_rate, steps)
    return run_optimizer(optax.adam(schedule), loss, start, steps)


def minimize(
    loss: Callable[[Array], Array], start: Array, *, steps: int = 100
) -> Array:
    """The minimizer of a smooth loss by L-BFGS, to nearly the precision of its dtype.

    >>> parabola = lambda x: jnp.sum((x - 3.0) ** 2)
    >>> bool(jnp.allclose(minimize(parabola, jnp.zeros(2), steps=5), 3.0))
    True
    """
    return run_optimizer(optax.lbfgs(), loss, start, steps)


def run_optimizer(
    optimizer: "optax.GradientTransformationExtraArgs",
    loss: Callable[[Array], Array],
    start: Array,
    steps: int,
) -> Array:
    """The parameters after `steps` updates; line searches get the loss as well."""
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
