"""Losses that compare answers with others of the batch, where the batch is the world.

KTO looks at answers to other prompts, BCO at the mean reward, AOT sorts. In an exact
world all that they look at is a sum over prompts and answers, so nothing is sampled:
each is the limit of the loss of a batch as the batch grows.

`weight` is how often each pair of `exact_losses.pair_logps` occurs, P * A * A of them;
the counts of a sample of preferences will do as well as its own, infinitely many.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.evaluation import tabular
from jaxalign.evaluation.tabular_losses import pair_logps
from jaxalign.types import Array, Float, Scalar, typed


class UnpairedAnswers(NamedTuple):
    """Pairs taken apart, at [x a] each.

    Attributes:
      ratio: log-ratio of the answer to the reference.
      up: how often the answer was chosen; the sum over all is 1.
      down: how often it was rejected, likewise.
    """

    ratio: Array
    up: Array
    down: Array


def unpair(world: tabular.Bandit, logits: Array, weight: Array) -> UnpairedAnswers:
    """The answers of pairs, one by one."""
    ratio = tabular.log_policy(logits) - tabular.log_policy(world.reference)
    pairs = weight.reshape(*ratio.shape, -1)  # chosen, rejected
    return UnpairedAnswers(ratio, pairs.sum(axis=2), pairs.sum(axis=1))


@typed
def expected_kto(
    world: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """KTO's mean over single answers: of each pair one with a thumb up and one down.

    z0 = max(0, E[log-ratio of an answer to another prompt]),   which gets no gradient

    Reference: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8.

    >>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(world, world.reference).weight
    >>> bool(jnp.isclose(expected_kto(world, world.reference, weight, beta=0.1), 0.5))
    True
    """
    ratio, up, down = unpair(world, logits, weight)
    answers = 0.5 * (up + down)
    others = answers.sum(axis=0, keepdims=True) - answers
    others /= jnp.maximum(others.sum(axis=1, keepdims=True), jnp.finfo(others).tiny)
    mismatched = answers.sum(axis=1, keepdims=True) * others
    kl = jnp.maximum(jnp.sum(mismatched * ratio), 0.0)

    def thumbs(desirable: bool) -> Array:
        flat, which = ratio.ravel(), jnp.full(ratio.size, desirable)
        terms = losses.kto(flat, jnp.zeros_like(flat), which, kl, beta=beta)
        return terms.reshape(ratio.shape)

    return 0.5 * jnp.sum(up * thumbs(True) + down * thumbs(False))


@typed
def expected_bco(
    world: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """BCO's mean over pairs, its shift the mean reward of all their answers.

    delta = beta * E[log-ratio of chosen and rejected answers], which gets no gradient

    Reference: Jung et al. 2024, arXiv:2404.04656, section 4.

    >>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(world, world.reference).weight
    >>> loss = expected_bco(world, world.reference, weight, beta=0.1)
    >>> bool(jnp.isclose(loss, 2 * jnp.log(2.0)))
    True
    """
    ratio, up, down = unpair(world, logits, weight)
    delta = beta * jnp.sum(0.5 * (up + down) * ratio)
    *logps, _ = pair_logps(world, logits)
    return jnp.sum(weight * losses.bco(*logps, beta=beta, delta=delta))


@typed
def expected_aot(
    world: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """AOT of paired answers: the policy's margins above the reference's, by quantiles.

    loss = integral over q in [0, 1] of -log sigmoid(beta * gap(q))

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, paired.

    >>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(world, world.reference).weight
    >>> loss = expected_aot(world, world.reference, weight, beta=0.1)
    >>> bool(jnp.isclose(loss, jnp.log(2.0)))
    True
    """
    pairs = pair_logps(world, logits)
    margin = pairs.chosen - pairs.rejected
    ref_margin = pairs.ref_chosen - pairs.ref_rejected
    gap, share = quantile_gaps(margin, weight, ref_margin, weight)
    return jnp.sum(share * -jax.nn.log_sigmoid(beta * gap))


@typed
def expected_aot_unpaired(
    world: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """AOT of unpaired answers: the rewards of chosen ones above those of rejected ones.

    loss = integral over q in [0, 1] of -log sigmoid(beta * gap(q))

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, unpaired.

    >>> world = exact.random_world(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(world, world.reference).weight
    >>> loss = expected_aot_unpaired(world, world.reference, weight, beta=0.1)
    >>> bool(jnp.isclose(loss, jnp.log(2.0)))
    True
    """
    ratio, up, down = (x.ravel() for x in unpair(world, logits, weight))
    gap, share = quantile_gaps(ratio, up, ratio, down)
    return jnp.sum(share * -jax.nn.log_sigmoid(beta * gap))


@typed
def quantile_gaps(
    values: Float[Array, "N"],
    weight: Float[Array, "N"],
    others: Float[Array, "M"],
    other_weight: Float[Array, "M"],
) -> tuple[Float[Array, "N+M"], Float[Array, "N+M"]]:
    """How far two weighted samples lie apart at each quantile, and for what share.

    Quantiles are steps: on each of the N + M pieces between them both are constant.

    >>> half = jnp.array([0.5, 0.5])
    >>> gap, share = quantile_gaps(jnp.array([3.0, 1.0]), half, jnp.zeros(2), half)
    >>> gap[share > 0].tolist()
    [1.0, 3.0]
    """
    first, second = jnp.argsort(values), jnp.argsort(others)
    below = jnp.cumsum(weight[first]) / jnp.sum(weight)
    other_below = jnp.cumsum(other_weight[second]) / jnp.sum(other_weight)
    ends = jnp.sort(jnp.concatenate([below, other_below]))
    starts = jnp.concatenate([jnp.zeros(1, ends.dtype), ends[:-1]])
    middle = 0.5 * (starts + ends)
    at = lambda sums: jnp.minimum(jnp.searchsorted(sums, middle), len(sums) - 1)
    gap = values[first][at(below)] - others[second][at(other_below)]
    return gap, ends - starts
