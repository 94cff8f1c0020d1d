"""Fits of one Gaussian to a target of several modes: which divergence covers, or seeks.

Forward KL is what maximum likelihood minimizes: it covers all modes, with mass between
them. Reverse KL is what reinforcement learning with the reward log p minimizes: it
seeks one mode, and which one depends on where it starts. All densities are tables over
a grid, log-probs that sum to 1, so that every expectation is exact; the same two fits
from samples are SFT and policy gradients.

Reference: Bishop 2006, Pattern Recognition and Machine Learning, section 10.1.2;
Minka 2005, Divergence measures and message passing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import lazy
from jaxalign.losses import distillation
from jaxalign.types import Array, Float, Key, Scalar, typed

if TYPE_CHECKING:
    import optax
else:
    optax = lazy.module("optax")

LEARNING_RATE = 0.1


class Gaussian(NamedTuple):
    """Parameters of a normal density.

    Attributes:
      mean: its mean.
      log_std: the logarithm of its standard deviation.
    """

    mean: Array
    log_std: Array


@typed
def log_gaussian(
    grid: Float[Array, "X"], mean: Scalar, log_std: Scalar
) -> Float[Array, "X"]:
    """Log-probs of a normal density over the points of a grid.

    >>> log_p = log_gaussian(jnp.linspace(-9.0, 9.0, 181), 1.0, 0.0)
    >>> round(float(jnp.sum(jnp.exp(log_p))), 5)
    1.0
    """
    return jax.nn.log_softmax(-0.5 * jnp.square((grid - mean) / jnp.exp(log_std)))


@typed
def log_mixture(
    grid: Float[Array, "X"],
    weights: Float[Array, "M"],
    means: Float[Array, "M"],
    stds: Float[Array, "M"],
) -> Float[Array, "X"]:
    """Log-probs of a mixture of normal densities over a grid; weights sum to 1."""
    parts = jax.vmap(partial(log_gaussian, grid))(means, jnp.log(stds))
    return jax.nn.logsumexp(parts + jnp.log(weights)[:, None], axis=0)


def forward_kl(log_p: Array, log_q: Array) -> Array:
    """KL(p || q), which covers."""
    return distillation.kl_divergence(log_p, log_q)


def reverse_kl(log_p: Array, log_q: Array) -> Array:
    """KL(q || p), which seeks."""
    return distillation.kl_divergence(log_q, log_p)


def jensen_shannon(log_p: Array, log_q: Array) -> Array:
    """The Jensen-Shannon divergence, between the two; at most log 2."""
    return distillation.generalized_jsd(log_p, log_q, beta=0.5)


DIVERGENCES: dict[str, Callable[[Array, Array], Array]] = {
    "forward KL": forward_kl,
    "Jensen-Shannon": jensen_shannon,
    "reverse KL": reverse_kl,
}


def moments(grid: Array, log_p: Array) -> Gaussian:
    """The Gaussian with a density's mean and variance.

    It is the minimum of the forward KL, as the Gaussians are an exponential family.
    """
    p = jnp.exp(log_p)
    mean = jnp.sum(p * grid)
    return Gaussian(mean, 0.5 * jnp.log(jnp.sum(p * jnp.square(grid - mean))))


@partial(jax.jit, static_argnames=("divergence", "steps"))
def fit(
    grid: Array,
    log_p: Array,
    start: Gaussian,
    *,
    divergence: Callable[[Array, Array], Array],
    steps: int = 2000,
) -> Gaussian:
    """Minimizes a divergence from p over Gaussians, by Adam on exact gradients.

    Args:
      grid, log_p: the target [X].
      start: where the fit begins.
      divergence: (log_p, log_q) -> nats, such as of `DIVERGENCES`.
      steps: of Adam, with a cosine from 0.1 to 0.
    """

    def loss(gaussian: Gaussian, key: Key) -> Array:
        del key
        return divergence(log_p, log_gaussian(grid, *gaussian))

    return minimize(loss, start, jax.random.key(0), steps)


@partial(jax.jit, static_argnames=("samples", "steps"))
def fit_by_policy_gradient(
    grid: Array,
    log_p: Array,
    start: Gaussian,
    key: Key,
    *,
    samples: int = 64,
    steps: int = 2000,
) -> Gaussian:
    """Minimizes KL(q || p) from samples of q alone: RL with the reward log p(x).

    gradient = E_q[(log q - log p - baseline) * grad log q], the baseline being the mean
    over the samples: REINFORCE with an entropy bonus.

    Args:
      samples: of q, at every step.
    """

    def loss(gaussian: Gaussian, key: Key) -> Array:
        log_q = log_gaussian(grid, *gaussian)
        points = jax.random.categorical(key, log_q, shape=(samples,))
        cost = jax.lax.stop_gradient((log_q - log_p)[points])
        return jnp.mean((cost - jnp.mean(cost)) * log_q[points])

    return minimize(loss, start, key, steps)


def fit_to_samples(
    grid: Array, log_p: Array, key: Key, *, samples: int = 1000
) -> Gaussian:
    """The maximum-likelihood Gaussian of samples of p: SFT, the forward KL's fit."""
    points = grid[jax.random.categorical(key, log_p, shape=(samples,))]
    return Gaussian(jnp.mean(points), jnp.log(jnp.std(points)))


def minimize(
    loss: Callable[[Gaussian, Key], Array], start: Gaussian, key: Key, steps: int
) -> Gaussian:
    """Adam, with a key of its own for each step."""
    optimizer = optax.adam(optax.cosine_decay_schedule(LEARNING_RATE, steps))

    Carry = tuple[Gaussian, optax.OptState]

    def step(carry: Carry, key: Key) -> tuple[Carry, None]:
        gaussian, state = carry
        updates, state = optimizer.update(jax.grad(loss)(gaussian, key), state)
        return (Gaussian(*optax.apply_updates(gaussian, updates)), state), None

    start = Gaussian(*(jnp.asarray(x, jnp.float32) for x in start))
    keys = jax.random.split(key, steps)
    (fitted, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), keys)
    return fitted


def mode_mass(
    grid: Array, log_q: Array, means: Sequence[float], *, width: float
) -> Array:
    """The mass of a density within `width` of each mode [M]."""
    near = jnp.abs(grid[None] - jnp.asarray(means)[:, None]) <= width
    return near @ jnp.exp(log_q)


@typed
def tilt_by_reward(
    log_reference: Float[Array, "X"], reward: Float[Array, "X"], *, beta: Scalar
) -> Float[Array, "X"]:
    """The optimum of KL-regularized RL: log of pi_ref exp(reward / beta) / Z.

    Reference: Rafailov et al. 2023, arXiv:2305.18290, eq. 4.

    >>> tilt_by_reward(jnp.log(jnp.full(2, 0.5)), jnp.zeros(2), beta=1.0).tolist()
    [-0.6931471824645996, -0.6931471824645996]
    """
    return jax.nn.log_softmax(log_reference + reward / beta)


def entropy(log_p: Array) -> Array:
    """The entropy of a density over a grid, in nats."""
    return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)
