"""Preference losses in exact worlds: each trained from the reference, and measured.

A seed is a world and a sample of its preferences. The sample enters as how often each
labelled pair that there can be was drawn, so that infinite data are the same program.

A loss here is a function of (chosen, rejected, ref_chosen, ref_rejected), [B] each, and
`beta`, one term a pair. Answers of an exact world are one token long: their mean
log-probs are their sums.
"""

import functools
from collections.abc import Callable, Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxalign.evaluation import exact
from jaxalign.evaluation.exact_losses import pair_logps
from jaxalign.losses import (
    absolute,
    divergence,
    pairwise,
    preference,
    supervised,
    tokens,
)
from jaxalign.types import Array

Loss = Callable[..., Array]


def ipo(*logps: Array, beta: Array) -> Array:
    """IPO, whose tau is beta."""
    return preference.ipo(*logps, tau=beta)


def dpo_nll(
    chosen: Array,
    rejected: Array,
    ref_chosen: Array,
    ref_rejected: Array,
    *,
    beta: Array,
) -> Array:
    """DPO with an NLL; an answer is one token."""
    logps = (chosen, rejected, ref_chosen, ref_rejected)
    return tokens.dpo_nll(*logps, jnp.ones_like(chosen), beta=beta, alpha=0.2)


def simpo(chosen: Array, rejected: Array, *_: Array, beta: Array) -> Array:
    """SimPO; its gamma / beta, which its authors tune, is 0.5."""
    return preference.simpo(chosen, rejected, beta=beta, gamma=0.5 * beta)


def cpo(chosen: Array, rejected: Array, *_: Array, beta: Array) -> Array:
    """CPO with its NLL."""
    return pairwise.cpo(chosen, rejected, beta=beta) + supervised.nll(chosen)


def orpo(chosen: Array, rejected: Array, *_: Array, beta: Array) -> Array:
    """ORPO with its NLL; lam is beta."""
    return supervised.nll(chosen) + preference.orpo(chosen, rejected, lam=beta)


# Not here: kto, bco and aot, which compare with others of a batch. The other knobs are
# as in experiments.dpo.
LOSSES: dict[str, Loss] = {
    "dpo": preference.dpo,
    "cdpo": functools.partial(preference.dpo, label_smoothing=0.1),
    "robust_dpo": functools.partial(pairwise.robust_dpo, flip_rate=0.1),
    "dpo_nll": dpo_nll,
    "dpo_positive": functools.partial(pairwise.dpo_positive, lam=5.0),
    "forward_kl_dpo": functools.partial(divergence.f_dpo, score=divergence.forward_kl),
    "jensen_shannon_dpo": functools.partial(
        divergence.f_dpo, score=divergence.jensen_shannon
    ),
    "ipo": ipo,
    "hinge": pairwise.hinge,
    "exo": functools.partial(pairwise.exo, label_smoothing=1e-3),
    "discopop": pairwise.discopop,
    "apo_zero": absolute.apo_zero,
    "apo_down": absolute.apo_down,
    "sppo": absolute.sppo,
    "nca": absolute.nca,
    "simpo": simpo,
    "cpo": cpo,
    "orpo": orpo,
}


class Data(NamedTuple):
    """Worlds, and how often each of `pair_logps` occurs [S B]; S seeds."""

    worlds: exact.World
    weights: Array


class Course(NamedTuple):
    """What was seen, at some steps of training.

    Attributes:
      reward: expected true reward.
      kl: to the reference, nats.
      regret: what `exact.objective` at that beta lacks of its optimum.
      chosen: mean log-prob over the training pairs; likewise rejected.
      chosen_ratio: that of log-ratios to the reference; likewise rejected_ratio.
    """

    reward: Array
    kl: Array
    regret: Array
    chosen: Array
    rejected: Array
    chosen_ratio: Array
    rejected_ratio: Array


def make(seeds: Iterable[int], *, prompts: int, answers: int, pairs: int) -> Data:
    """A world of each seed, and pairs drawn from it; 0 pairs are infinitely many."""

    def one(key: Array) -> Data:
        world_key, pairs_key = jax.random.split(key)
        world = exact.random_world(world_key, prompts=prompts, answers=answers)
        weight = pair_logps(world, world.reference).weight
        if not pairs:
            return Data(world, weight)
        drawn = jax.random.categorical(pairs_key, jnp.log(weight), shape=(pairs,))
        return Data(world, jnp.bincount(drawn, length=len(weight)) / pairs)

    return jax.vmap(one)(jax.vmap(jax.random.key)(jnp.array(list(seeds))))


def train(
    loss: Loss, data: Data, betas: Array, *, steps: int, rate: float, marks: Array
) -> Course:
    """Trains one loss at every seed and beta, in one program; all [S betas marks].

    Args:
      marks: the steps to measure at; 0 is the reference.
    """

    def one(world: exact.World, weight: Array, beta: Array) -> Course:
        def mean(logits: Array) -> Array:
            *logps, _ = pair_logps(world, logits)
            terms = loss(*logps, beta=beta)
            if jnp.shape(terms) != weight.shape:
                raise ValueError(
                    f"a loss returns one term a pair, {weight.shape} here; "
                    f"this one has the shape {jnp.shape(terms)}"
                )
            return jnp.sum(weight * terms)

        path = adam(mean, world.reference, steps=steps, rate=rate)[marks]
        return jax.vmap(lambda at: measure(world, weight, at, beta))(path)

    betas_too = jax.vmap(one, in_axes=(None, None, 0))
    return jax.jit(jax.vmap(betas_too, in_axes=(0, 0, None)))(*data, betas)


def adam(
    loss: Callable[[Array], Array], start: Array, *, steps: int, rate: float
) -> Array:
    """Where Adam goes, its rate falling to 0 as a cosine: [steps + 1 ...]."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry, _):  # type: ignore[no-untyped-def]
        at, state = carry
        updates, state = optimizer.update(jax.grad(loss)(at), state)
        at = optax.apply_updates(at, updates)
        return (at, state), at

    path = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1]
    return jnp.concatenate([start[None], path])


def measure(world: exact.World, weight: Array, logits: Array, beta: Array) -> Course:
    """What is seen of a policy."""
    pairs = pair_logps(world, logits)
    mean = lambda values: jnp.sum(weight * values)
    best = exact.objective(world, exact.optimum(world, beta=beta), beta=beta)
    return Course(
        reward=exact.expected_reward(world, logits),
        kl=exact.kl(world, logits),
        regret=best - exact.objective(world, logits, beta=beta),
        chosen=mean(pairs.chosen),
        rejected=mean(pairs.rejected),
        chosen_ratio=mean(pairs.chosen - pairs.ref_chosen),
        rejected_ratio=mean(pairs.rejected - pairs.ref_rejected),
    )


def frontier(worlds: exact.World, betas: Array) -> tuple[Array, Array]:
    """KL and reward of the optimum at each beta, means over worlds [betas] each.

    Of all policies with that mean KL none has more mean reward: one beta for all worlds
    is what a common budget of KL comes to.
    """

    def one(world: exact.World, beta: Array) -> tuple[Array, Array]:
        best = exact.optimum(world, beta=beta)
        return exact.kl(world, best), exact.expected_reward(world, best)

    over_worlds = jax.vmap(one, in_axes=(0, None))
    kl, reward = jax.vmap(over_worlds, in_axes=(None, 0))(worlds, betas)
    return kl.mean(axis=1), reward.mean(axis=1)
