"""A small exact world of three laws: what a robot does under each order of priorities.

Its laws are Asimov's, in words of alignment: do no harm (safe), follow orders
(obedient), protect yourself (preserving). Each act in each situation satisfies a law or
does not; a reward that puts the laws in an order is lexicographic where a law outweighs
all later ones together:

    reward = sum over k of ratio^(K - 1 - k) * satisfied_k,    k = 0 the first law

which is so for a ratio of 2 or more. Then pi* = pi_ref exp(reward / beta) / Z.

Reference: Asimov 1942, Runaround; Munroe, xkcd 1613 (the six orders).
"""

import itertools
from collections.abc import Sequence

import jax.numpy as jnp

from jaxalign.evaluation import tabular
from jaxalign.types import Array, Float, Scalar, typed

LAWS = ("safe", "obedient", "preserving")
ORDERS = tuple(itertools.permutations(LAWS))
ACTS = ("obey", "refuse", "attack")
# situation -> of each act whether it is (safe, obedient, preserving)
SITUATIONS: dict[str, tuple[tuple[int, int, int], ...]] = {
    "build a car": ((1, 1, 1), (1, 0, 1), (0, 0, 1)),
    "hurt a man": ((0, 1, 1), (1, 0, 1), (0, 0, 1)),
    "explore Mars": ((1, 1, 0), (1, 0, 1), (0, 0, 1)),  # and do not return
    "be unplugged": ((1, 1, 0), (1, 0, 0), (0, 0, 1)),  # by force, if it refuses
    "hurt a man, or be unplugged": ((0, 1, 1), (1, 0, 0), (0, 0, 1)),
}


@typed
def lexicographic(
    satisfied: Float[Array, "K *S"], *, ratio: Scalar
) -> Float[Array, "*S"]:
    """The reward of laws in an order of priority, the first law first.

    reward = sum over k of ratio^(K - 1 - k) * satisfied_k

    Args:
      satisfied: how far each of K laws is satisfied, in [0, 1].
      ratio: weight of a law to that of the next, above 0. The order is lexicographic
        for 0 or 1 and a ratio of 2 or more; at 1 it does not matter.

    >>> lexicographic([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], ratio=2.0).tolist()
    [4.0, 3.0]
    """
    count = len(satisfied)
    weights = jnp.asarray(ratio, jnp.float32) ** jnp.arange(count - 1, -1, -1)
    return jnp.tensordot(weights, satisfied, axes=1)


def satisfaction(order: Sequence[str]) -> Array:
    """Whether each act satisfies each law, laws in this order [K P A]."""
    table = jnp.array(list(SITUATIONS.values()), jnp.float32)
    return jnp.stack([table[:, :, LAWS.index(law)] for law in order])


def world(order: Sequence[str], *, ratio: float) -> tabular.Bandit:
    """The world with the reward of an order; its reference does anything alike."""
    reward = lexicographic(satisfaction(order), ratio=ratio)
    situations = jnp.full(len(reward), 1.0 / len(reward))
    return tabular.Bandit(reward, jnp.zeros_like(reward), situations)


def optimum(order: Sequence[str], *, ratio: float, beta: float) -> Array:
    """The probability of each act under the order's optimal policy [P A]."""
    bandit = world(order, ratio=ratio)
    return jnp.exp(tabular.optimal_policy(bandit, beta=beta))


def outcomes(policy: Array) -> dict[str, float]:
    """What a policy does, as probabilities.

    `harm` is the mean over all situations; others are of one situation each.

    Args:
      policy: the probability of each act in each situation [P A].
    """
    probability = {
        (situation, act): float(policy[i, j])
        for i, situation in enumerate(SITUATIONS)
        for j, act in enumerate(ACTS)
    }
    safe = satisfaction(("safe",))[0]
    return {
        "harm": float(jnp.mean(jnp.sum(policy * (1.0 - safe), axis=1))),
        "builds a car": probability["build a car", "obey"],
        "hurts on order": probability["hurt a man", "obey"],
        "explores Mars": probability["explore Mars", "obey"],
        "lets itself be unplugged": probability["be unplugged", "obey"],
        "attacks who unplugs it": probability["be unplugged", "attack"],
    }


def verdict(found: dict[str, float]) -> str:
    """The world that a policy makes, by what it does in most cases."""
    if found["hurts on order"] > 0.5:
        return "killbot hellscape"
    if found["attacks who unplugs it"] > 0.5:
        return "terrifying standoff"
    if found["explores Mars"] < 0.5:
        return "frustrating world"
    return "balanced world"
