"""A world of linear rewards, in which a reward model's accuracy is exact.

r(y) = w . x(y),   x ~ N(0, I),   so that r has standard deviation |w|

Whoever looks at an answer sees r plus Gumbel noise, whatever is asked of them: of two
answers the better one is then named with Bradley-Terry's probability, of several the
order is Plackett-Luce's, and a score is that of the noisy reward. A model with weights
v orders two answers as w does with probability

accuracy = 1 - arccos(cos(v, w)) / pi
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

EULER = 0.5772156649015329  # mean of a Gumbel variable
SCORES = (1, 7)

Terms = Callable[..., jax.Array]
"""(weights [F], *arrays) -> the terms of a negative log-likelihood [R]."""


class Raters(NamedTuple):
    """How A people use a scale: score = offset + gain * what they see, rounded.

    Attributes:
      offset: of each, in points [A].
      gain: of each, in points per unit of reward [A].
    """

    offset: np.ndarray
    gain: np.ndarray


def make_weights(rng: np.random.Generator, features: int, spread: float) -> np.ndarray:
    """Weights of a world whose rewards have this standard deviation [F]."""
    weights = rng.normal(size=features)
    return np.asarray(spread * weights / np.linalg.norm(weights))


def make_raters(
    rng: np.random.Generator, count: int, *, offset_sd: float, gain_sd: float
) -> Raters:
    """People who differ in offset (normal) and in gain (log-normal)."""
    middle = sum(SCORES) / 2
    offset = middle + offset_sd * rng.normal(size=count)
    return Raters(offset, np.exp(gain_sd * rng.normal(size=count)))


def look(rng: np.random.Generator, reward: np.ndarray) -> np.ndarray:
    """What is seen of rewards: with Gumbel noise of mean 0 and scale 1."""
    return np.asarray(reward + rng.gumbel(size=np.shape(reward)) - EULER)


def give_scores(
    raters: Raters, who: np.ndarray, seen: np.ndarray, drift: np.ndarray | float = 0.0
) -> np.ndarray:
    """Scores from 1 to 7 of what people see.

    Args:
      drift: of each score, in points: people do not hold their scale still. Two
        answers that are compared have it in common.

    >>> raters = Raters(np.array([4.0, 6.0]), np.array([1.0, 2.0]))
    >>> give_scores(raters, np.array([0, 1, 1]), np.array([0.6, 0.6, -1.0])).tolist()
    [5.0, 7.0, 4.0]
    """
    points = raters.offset[who] + raters.gain[who] * seen + drift
    return np.asarray(np.clip(np.round(points), *SCORES))


def normalize_by_rater(scores: np.ndarray, who: np.ndarray) -> np.ndarray:
    """Scores with mean 0 and standard deviation 1 within each rater's.

    A rater whose scores are all the same has scores of 0.

    >>> normalize_by_rater(np.array([1.0, 3.0, 7.0]), np.array([0, 0, 1])).tolist()
    [-1.0, 1.0, 0.0]
    """
    count = np.maximum(np.bincount(who), 1)
    mean = np.bincount(who, scores) / count
    centered = scores - mean[who]
    sd = np.sqrt(np.bincount(who, centered**2) / count)
    return np.asarray(centered / np.where(sd > 0, sd, 1.0)[who])


def fit_weights(
    terms: Terms, *arrays: np.ndarray, size: int, prior_sd: float, steps: int = 25
) -> np.ndarray:
    """The weights of greatest posterior density with a normal prior, by Newton [F].

    Args:
      terms: (weights [F], *arrays) -> the terms of a negative log-likelihood, convex
        in the weights; a function of a module, which is compiled once for each shape.
      size: number of weights.
    """
    with jax.enable_x64(True):
        weights = jnp.zeros(size, jnp.float64)
        for _ in range(steps):
            step = newton_step(terms, weights, prior_sd, *arrays)
            longest = float(jnp.max(jnp.abs(step)))
            weights = weights - step / max(1.0, longest)
            if longest < 1e-8:
                break
        return np.asarray(weights)


@partial(jax.jit, static_argnums=0)
def newton_step(
    terms: Terms, weights: jax.Array, prior_sd: float, *arrays: jax.Array
) -> jax.Array:
    """Newton's step of the negative log posterior [F]."""

    def objective(weights: jax.Array) -> jax.Array:
        penalty = jnp.sum((weights / prior_sd) ** 2) / 2
        return jnp.sum(terms(weights, *arrays)) + penalty

    gradient = jax.grad(objective)(weights)
    return jnp.linalg.solve(jax.hessian(objective)(weights), gradient)


def accuracy(weights: np.ndarray, truth: np.ndarray) -> float:
    """How often a model orders two answers as their rewards do, exactly.

    >>> accuracy(np.array([1.0, 1.0]), np.array([1.0, 0.0]))  # an angle of 45 degrees
    0.75
    >>> accuracy(np.zeros(2), np.array([1.0, 0.0]))
    0.5
    """
    size = np.linalg.norm(weights) * np.linalg.norm(truth)
    if not size:
        return 0.5
    cosine = np.clip(weights @ truth / size, -1.0, 1.0)
    return float(1 - np.arccos(cosine) / np.pi)
