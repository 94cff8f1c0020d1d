"""Sampling adapters: what temperature, top-k and the like do to a distribution.

An adapter maps a next-token distribution to another. Beside a reference p, a changed
distribution q has a precision (is what q makes likely under p?) and a recall (does q
make all that p makes?), as forward and reverse cross-entropy.

Reference: Meister et al. 2023, On the Efficacy of Sampling Adapters, arXiv:2307.03749.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.losses import distillation
from jaxalign.sampling import filters
from jaxalign.types import Array, Float, Scalar, typed

SMOOTHING = 1e-6  # the mass that is spread over all tokens: truncation gives zeros

Adapter = Callable[[Array], Array]  # log-probs [N V] -> log-probs [N V], -inf for 0


class Coverage(NamedTuple):
    """How a distribution q lies to a reference p, nats but for `total_variation`.

    Attributes:
      forward: cross-entropy -sum p log q, high where q lacks what p has (recall).
      reverse: cross-entropy -sum q log p, high where q has what p lacks (precision).
      jensen_shannon: divergence, at most log 2.
      total_variation: half the sum of |p - q|, in [0, 1].
      entropy: of q.
    """

    forward: Array
    reverse: Array
    jensen_shannon: Array
    total_variation: Array
    entropy: Array


@typed
def smooth(
    log_q: Float[Array, "N V"], *, share: Scalar = SMOOTHING
) -> Float[Array, "N V"]:
    """Log of (1 - share) * q + share / V, which has no zeros."""
    floor = jnp.log(share) - jnp.log(log_q.shape[-1])
    return jnp.logaddexp(log_q + jnp.log1p(-share), floor)


@typed
def coverage(
    log_p: Float[Array, "N V"],
    log_q: Float[Array, "N V"],
    *,
    share: Scalar = SMOOTHING,
) -> Coverage:
    """Measures of q against p, a number for each of N contexts; both are smoothed.

    Args:
      log_p, log_q: log-probs; -inf where a distribution has no mass.
      share: of the smoothing; the forward cross-entropy depends on it.

    >>> flat = jnp.log(jnp.full((1, 4), 0.25))
    >>> [round(float(x[0]), 4) for x in coverage(flat, flat)]
    [1.3863, 1.3863, 0.0, 0.0, 1.3863]
    """
    log_p, log_q = smooth(log_p, share=share), smooth(log_q, share=share)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    return Coverage(
        forward=-jnp.sum(p * log_q, axis=-1),
        reverse=-jnp.sum(q * log_p, axis=-1),
        jensen_shannon=distillation.generalized_jsd(log_p, log_q, beta=0.5),
        total_variation=0.5 * jnp.sum(jnp.abs(p - q), axis=-1),
        entropy=-jnp.sum(q * log_q, axis=-1),
    )


def temperature(value: float) -> Adapter:
    """Log-probs divided by a temperature above 0, and normalized."""
    return lambda log_q: jax.nn.log_softmax(log_q / value)


def top_k(k: int) -> Adapter:
    """The k largest; see `filters.top_k`."""
    return lambda log_q: renormalize(filters.top_k(jnp.exp(log_q), k))


def top_p(p: float) -> Adapter:
    """The nucleus of a share p; see `filters.top_p`."""
    return lambda log_q: renormalize(filters.top_p(jnp.exp(log_q), p))


def typical(mass: float) -> Adapter:
    """The tokens whose surprisal is nearest the entropy, of this mass together.

    Reference: Meister et al. 2022, Locally Typical Sampling, arXiv:2202.00666.
    """

    def adapt(log_q: Array) -> Array:
        q = jnp.exp(log_q)
        surprisal = jnp.where(q > 0, -log_q, jnp.inf)
        entropy = jnp.sum(jnp.where(q > 0, q * surprisal, 0.0), -1, keepdims=True)
        order = jnp.argsort(jnp.abs(surprisal - entropy), axis=-1)
        sorted_q = jnp.take_along_axis(q, order, axis=-1)
        before = jnp.cumsum(sorted_q, axis=-1) - sorted_q
        kept = jnp.where(before < mass, sorted_q, 0.0)
        rows = jnp.arange(len(q))[:, None]
        return renormalize(jnp.zeros_like(q).at[rows, order].set(kept))

    return adapt


def eta(epsilon: float) -> Adapter:
    """Tokens above min(epsilon, sqrt(epsilon) exp(-entropy)), and the largest.

    Reference: Hewitt et al. 2022, Truncation Sampling as Language Model Desmoothing,
    arXiv:2210.15191.
    """

    def adapt(log_q: Array) -> Array:
        q = jnp.exp(log_q)
        entropy = -jnp.sum(jnp.where(q > 0, q * log_q, 0.0), -1, keepdims=True)
        least = jnp.minimum(epsilon, jnp.sqrt(epsilon) * jnp.exp(-entropy))
        largest = jnp.max(q, axis=-1, keepdims=True)
        return renormalize(jnp.where((q >= least) | (q == largest), q, 0.0))

    return adapt


def renormalize(mass: Array) -> Array:
    """Log-probs of masses, each row's sum above 0; -inf where a mass is 0."""
    return jnp.log(mass) - jnp.log(jnp.sum(mass, axis=-1, keepdims=True))
