"""Maximum a posteriori fits of judgements whose items' true differences are unknown.

Each item (a pair of answers) has a difference Delta, how much better its first answer
is. Where it is not known it is drawn from a normal distribution of mean 0 and standard
deviation 1 and integrated out, so that a few judgements an item suffice:

log p = sum over items of log integral p(Delta) product over its rows p(row | Delta)

Intervals are Laplace's: the inverse of the second derivatives at the maximum, in the
unconstrained parameters. All in float64.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import lazy

if TYPE_CHECKING:
    from scipy import optimize
else:
    optimize = lazy.module("scipy.optimize")

# Trapezoids: exact to many digits while a posterior is wider than the spacing, 0.125.
GRID = np.linspace(-5.0, 5.0, 81)
Z = 1.959963984540054  # of a 95 % interval
NEWTON_STEPS = 5

# (parameters, Delta of each row at each node [R Q], columns [R] each) -> [R Q]
RowLikelihood = Callable[[jax.Array, jax.Array, Any], jax.Array]


class Judged(NamedTuple):
    """Rows of judgements, padded such that few shapes are compiled.

    Attributes:
      item: index of the item [R].
      weight: how often each row counts; 0 for padding [R].
      columns: what else the likelihood takes, [R] each.
      known: the difference of each item [U]; None where it is integrated out.
      items: number of items, without padding.
    """

    item: np.ndarray
    weight: np.ndarray
    columns: tuple[np.ndarray, ...]
    known: np.ndarray | None
    items: int


class MaximumFit(NamedTuple):
    """Parameters at the maximum [P], their covariance [P P], and items' differences.

    Attributes:
      difference, difference_sd: mean and standard deviation of each item's Delta given
        its judgements [U]; as given, and 0, where it was known.
    """

    parameters: np.ndarray
    covariance: np.ndarray
    difference: np.ndarray
    difference_sd: np.ndarray


def padded_size(n: int) -> int:
    """The next power of two, 16 at least."""
    return max(16, 1 << (n - 1).bit_length())


def judged_rows(
    item: np.ndarray, *columns: np.ndarray, known: np.ndarray | None = None
) -> Judged:
    """Rows for `fit`, padded.

    Args:
      item: index of the item of each row [R].
      columns: [R] each.
      known: the difference of each item [U], where it is known.

    Raises:
      ValueError: no rows, or a difference that is not finite.
    """
    if not len(item):
        raise ValueError("a fit of annotators needs judgements; there are none")
    if known is not None and not np.isfinite(known).all():
        raise ValueError("an item's difference is not finite")
    rows = padded_size(len(item)) - len(item)
    items = int(np.max(item)) + 1 if known is None else len(known)
    pad = lambda x: np.pad(np.asarray(x), (0, rows))
    if known is not None:
        extra = padded_size(items) - items
        known = np.pad(np.asarray(known, np.float64), (0, extra))
    weight = pad(np.ones(len(item)))
    return Judged(pad(item), weight, tuple(map(pad, columns)), known, items)


def item_log_likelihoods(
    parameters: jax.Array, judged: Judged, likelihood: RowLikelihood, size: int
) -> jax.Array:
    """log p(rows of an item | Delta at each node) [U Q]; Q is 1 of known Delta."""
    if judged.known is None:
        nodes = jnp.broadcast_to(jnp.asarray(GRID), (len(judged.item), len(GRID)))
    else:
        nodes = jnp.asarray(judged.known)[judged.item][:, None]
    rows = jnp.asarray(judged.weight)[:, None] * likelihood(
        parameters, nodes, judged.columns
    )
    return jax.ops.segment_sum(rows, judged.item, size)


def node_log_prior(judged: Judged) -> np.ndarray:
    """log of the standard normal's weight of each node [1 Q]."""
    if judged.known is not None:
        return np.zeros((1, 1))
    log_weight = -(GRID**2) / 2
    return np.asarray(log_weight - np.log(np.exp(log_weight).sum()))[None]


@partial(jax.jit, static_argnames=("likelihood", "size"))
def negative_log_posterior(
    parameters: jax.Array,
    judged: Judged,
    prior: tuple[jax.Array, jax.Array],
    likelihood: RowLikelihood,
    size: int,
) -> tuple[jax.Array, jax.Array]:
    """Its value and gradient [P], with a normal prior of each parameter."""

    def value(parameters: jax.Array) -> jax.Array:
        rows = item_log_likelihoods(parameters, judged, likelihood, size)
        logs = jax.nn.logsumexp(rows + node_log_prior(judged), axis=1)
        mean, sd = prior
        return 0.5 * jnp.sum(((parameters - mean) / sd) ** 2) - jnp.sum(logs)

    return jax.value_and_grad(value)(parameters)


@partial(jax.jit, static_argnames=("likelihood", "size"))
def hessian(
    parameters: jax.Array,
    judged: Judged,
    prior: tuple[jax.Array, jax.Array],
    likelihood: RowLikelihood,
    size: int,
) -> jax.Array:
    """Second derivatives [P P], a column after the other: memory is for one."""
    gradient = lambda x: negative_log_posterior(x, judged, prior, likelihood, size)[1]
    column = lambda v: jax.jvp(gradient, (parameters,), (v,))[1]
    return jax.lax.map(column, jnp.eye(len(parameters)))


@partial(jax.jit, static_argnames=("likelihood", "size"))
def item_moments(
    parameters: jax.Array, judged: Judged, likelihood: RowLikelihood, size: int
) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of each item's Delta given its rows [U]."""
    rows = item_log_likelihoods(parameters, judged, likelihood, size)
    share = jax.nn.softmax(rows + node_log_prior(judged), axis=1)
    mean = share @ GRID
    return mean, jnp.sqrt(jnp.maximum(share @ GRID**2 - mean**2, 0.0))


def fit(
    judged: Judged,
    likelihood: RowLikelihood,
    start: np.ndarray,
    *,
    prior: tuple[np.ndarray, np.ndarray],
) -> MaximumFit:
    """The parameters of greatest posterior density, by L-BFGS and then Newton.

    Args:
      likelihood: a function of a module: it is compiled once for each shape.
      start: parameters [P].
      prior: mean and standard deviation of each [P].
    """
    items = judged.items if judged.known is None else len(judged.known)
    size = padded_size(items) if judged.known is None else items
    with jax.enable_x64(True):
        arguments = judged._replace(items=0), prior, likelihood, size

        def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = negative_log_posterior(jnp.asarray(x), *arguments)
            return float(value), np.asarray(gradient)

        found = optimize.minimize(objective, start, jac=True, method="L-BFGS-B")
        x, (value, gradient) = found.x, objective(found.x)
        curvature = np.asarray(hessian(jnp.asarray(x), *arguments))
        for _ in range(NEWTON_STEPS):
            step = np.linalg.solve(curvature, gradient)
            lower, slope = objective(x - step)
            if not lower < value:
                break
            x, value, gradient = x - step, lower, slope
            curvature = np.asarray(hessian(jnp.asarray(x), *arguments))
        covariance = np.linalg.pinv(curvature, hermitian=True)
        if judged.known is not None:
            known = judged.known[: judged.items]
            return MaximumFit(x, covariance, known, np.zeros(len(known)))
        moments = item_moments(jnp.asarray(x), arguments[0], likelihood, size)
        mean, sd = (np.asarray(moment)[: judged.items] for moment in moments)
        return MaximumFit(x, covariance, mean, sd)
