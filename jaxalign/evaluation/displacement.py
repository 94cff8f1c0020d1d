"""Likelihood displacement in an exact world: when both answers of a pair fall.

A log-linear policy shares features among answers, as a network does:

    log pi(y) = theta . phi(y) - log Z,    theta = 0 at the start

over four answers of unit features: the rejected one, the chosen one at a cosine
similarity rho to it, a third whose features point from the rejected to the chosen, and
one without any. Any loss of the margin moves theta along phi(chosen) - phi(rejected),
so that at the start

    d log pi(chosen) / dt  is proportional to  4 (1 - rho) - sqrt(2 (1 - rho))

which is negative for rho > 7/8: the mass goes to the third answer, which is in no pair.

Reference: Razin et al. 2024, Unintentional Unalignment, arXiv:2410.08847.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.losses import dpo_variants, preference, supervised
from jaxalign.types import Array, Float, Scalar, typed

REJECTED, CHOSEN, THIRD = 0, 1, 2  # the fourth answer has no features
SIMILARITY = 7 / 8  # above which the chosen answer of an ordinary margin falls

# (log p(chosen), log p(rejected), the same under the reference) -> loss
PairLoss = Callable[[Array, Array, Array, Array], Array]


def unlikelihood(chosen: Array, rejected: Array, *_: Array) -> Array:
    """NLL of the chosen answer, unlikelihood of the rejected one; no reference."""
    return supervised.nll(chosen) + supervised.unlikelihood(rejected)


def dpo(chosen: Array, rejected: Array, *reference: Array) -> Array:
    """DPO."""
    return preference.dpo(chosen, rejected, *reference, beta=1.0)


def dpo_nll(chosen: Array, rejected: Array, *reference: Array) -> Array:
    """DPO and the NLL of the chosen answer (RPO)."""
    return dpo(chosen, rejected, *reference) + supervised.nll(chosen)


def dpo_positive(chosen: Array, rejected: Array, *reference: Array) -> Array:
    """DPO-Positive, with a penalty on a chosen answer below the reference."""
    return dpo_variants.dpop(chosen, rejected, *reference, beta=1.0, lam=5.0)


def simpo(chosen: Array, rejected: Array, *_: Array) -> Array:
    """SimPO; answers are one token long, and there is no reference."""
    return preference.simpo(chosen, rejected, beta=2.0, gamma=1.0)


LOSSES: dict[str, PairLoss] = {
    "DPO": dpo,
    "DPO + NLL": dpo_nll,
    "DPO-Positive": dpo_positive,
    "SimPO": simpo,
    "unlikelihood": unlikelihood,
}


@typed
def features(rho: Scalar) -> Float[Array, "4 2"]:
    """Features of the four answers.

    Args:
      rho: cosine similarity of the chosen and the rejected answer, below 1.

    >>> phi = features(0.5)
    >>> [round(float(phi[CHOSEN] @ phi[other]), 3) for other in (REJECTED, THIRD)]
    [0.5, 0.5]
    """
    rho = jnp.asarray(rho, jnp.float32)
    rejected = jnp.array([1.0, 0.0])
    chosen = jnp.stack([rho, jnp.sqrt(1.0 - rho**2)])
    third = (chosen - rejected) / jnp.linalg.norm(chosen - rejected)
    return jnp.stack([rejected, chosen, third, jnp.zeros(2)])


class Path(NamedTuple):
    """Log-probs over training [steps + 1], nats."""

    chosen: Array
    rejected: Array
    third: Array


@partial(jax.jit, static_argnames=("loss", "steps"))
def train(loss: PairLoss, rho: Scalar, *, steps: int = 200, rate: float = 0.1) -> Path:
    """Gradient descent on one pair, from a uniform policy that is the reference.

    Args:
      rho: as of `features`.
      rate: of each step.
    """
    phi = features(rho)
    log_policy = lambda theta: jax.nn.log_softmax(phi @ theta)
    start = jnp.zeros(2)
    reference = log_policy(start)

    def objective(theta: Array) -> Array:
        log_p = log_policy(theta)
        pair = log_p[CHOSEN], log_p[REJECTED]
        return loss(*pair, reference[CHOSEN], reference[REJECTED])

    def step(theta: Array, _: None) -> tuple[Array, Array]:
        theta = theta - rate * jax.grad(objective)(theta)
        return theta, log_policy(theta)

    _, path = jax.lax.scan(step, start, length=steps)
    path = jnp.concatenate([reference[None], path])
    return Path(path[:, CHOSEN], path[:, REJECTED], path[:, THIRD])
