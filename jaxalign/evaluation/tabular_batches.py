"""Exact expectations, in a tabular bandit, of losses that couple a batch.

KTO uses answers to other prompts, BCO the mean reward, and AOT sorts. In a tabular
bandit these are sums over prompts and answers, so nothing is sampled: each function is
the limit of its batch loss as the batch grows.

`weight` is the probability of each of the P * A * A pairs of
`tabular_losses.pair_logps`; counts of a sample of preferences work as well.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.evaluation import tabular
from jaxalign.evaluation.tabular_losses import pair_logps
from jaxalign.types import Array, Float, Scalar, typed


class UnpairedAnswers(NamedTuple):
    """Unpaired answers, [P A] each.

    Attributes:
      ratio: log-ratio of the policy to the reference.
      up: probability that the answer is the chosen one of a pair; they sum to 1.
      down: probability that it is the rejected one; they sum to 1.
    """

    ratio: Array
    up: Array
    down: Array


def unpair(bandit: tabular.Bandit, logits: Array, weight: Array) -> UnpairedAnswers:
    """The unpaired answers of weighted pairs."""
    ratio = tabular.log_policy(logits) - tabular.log_policy(bandit.reference)
    pairs = weight.reshape(*ratio.shape, -1)  # chosen, rejected
    return UnpairedAnswers(ratio, pairs.sum(axis=2), pairs.sum(axis=1))


@typed
def expected_kto(
    bandit: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """KTO on unpaired answers: a desirable and an undesirable one from each pair.

    z0 = max(0, E[log-ratio of an answer to another prompt]),   which gets no gradient

    Reference: Ethayarajh et al. 2024, arXiv:2402.01306, eq. 7 and 8.

    >>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(bandit, bandit.reference).weight
    >>> bool(jnp.isclose(expected_kto(bandit, bandit.reference, weight, beta=0.1), 0.5))
    True
    """
    ratio, up, down = unpair(bandit, logits, weight)
    answers = 0.5 * (up + down)
    others = answers.sum(axis=0, keepdims=True) - answers
    others /= jnp.maximum(others.sum(axis=1, keepdims=True), jnp.finfo(others).tiny)
    mismatched = answers.sum(axis=1, keepdims=True) * others
    kl = jnp.maximum(jnp.sum(mismatched * ratio), 0.0)

    def terms_if(desirable: bool) -> Array:
        flat, which = ratio.ravel(), jnp.full(ratio.size, desirable)
        terms = losses.kto(flat, jnp.zeros_like(flat), which, kl, beta=beta)
        return terms.reshape(ratio.shape)

    return 0.5 * jnp.sum(up * terms_if(True) + down * terms_if(False))


@typed
def expected_bco(
    bandit: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """BCO over pairs, with the mean reward of all their answers as its shift.

    delta = beta * E[log-ratio of chosen and rejected answers], which gets no gradient

    Reference: Jung et al. 2024, arXiv:2404.04656, section 4.

    >>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(bandit, bandit.reference).weight
    >>> loss = expected_bco(bandit, bandit.reference, weight, beta=0.1)
    >>> bool(jnp.isclose(loss, 2 * jnp.log(2.0)))
    True
    """
    ratio, up, down = unpair(bandit, logits, weight)
    delta = beta * jnp.sum(0.5 * (up + down) * ratio)
    *logps, _ = pair_logps(bandit, logits)
    return jnp.sum(weight * losses.bco(*logps, beta=beta, delta=delta))


@typed
def expected_aot(
    bandit: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """Paired AOT: quantiles of the policy's logratio margins above the reference's.

    loss = integral over q in [0, 1] of -log sigmoid(beta * gap(q))

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, paired.

    >>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(bandit, bandit.reference).weight
    >>> loss = expected_aot(bandit, bandit.reference, weight, beta=0.1)
    >>> bool(jnp.isclose(loss, jnp.log(2.0)))
    True
    """
    pairs = pair_logps(bandit, logits)
    margin = pairs.chosen - pairs.rejected
    ref_margin = pairs.ref_chosen - pairs.ref_rejected
    gap, share = quantile_gaps(margin, weight, ref_margin, weight)
    return jnp.sum(share * -jax.nn.log_sigmoid(beta * gap))


@typed
def expected_aot_unpaired(
    bandit: tabular.Bandit,
    logits: Float[Array, "P A"],
    weight: Float[Array, "B"],
    *,
    beta: Scalar,
) -> Float[Array, ""]:
    """Unpaired AOT: quantiles of chosen answers' rewards above rejected answers'.

    loss = integral over q in [0, 1] of -log sigmoid(beta * gap(q))

    Reference: Melnyk et al. 2024, arXiv:2406.05882, section 3, unpaired.

    >>> bandit = tabular.random_bandit(jax.random.key(0), prompts=2, answers=3)
    >>> weight = pair_logps(bandit, bandit.reference).weight
    >>> loss = expected_aot_unpaired(bandit, bandit.reference, weight, beta=0.1)
    >>> bool(jnp.isclose(loss, jnp.log(2.0)))
    True
    """
    ratio, up, down = (x.ravel() for x in unpair(bandit, logits, weight))
    gap, share = quantile_gaps(ratio, up, ratio, down)
    return jnp.sum(share * -jax.nn.log_sigmoid(beta * gap))


@typed
def quantile_gaps(
    values: Float[Array, "N"],
    weight: Float[Array, "N"],
    others: Float[Array, "M"],
    other_weight: Float[Array, "M"],
) -> tuple[Float[Array, "N+M"], Float[Array, "N+M"]]:
    """Quantile differences of two weighted samples, and the mass of each.

    Quantile functions are steps: on each of the N + M pieces both are constant.

    Returns:
      The difference on each piece, and the piece's share of [0, 1].

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
