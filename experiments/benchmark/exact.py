"""Preference losses in exact worlds: each trained from the reference, and measured.

A seed is a world and a sample of its preferences. The sample enters as how often each
labelled pair that there can be was drawn, so that infinite data are the same program.

Losses are those that `experiments.dpo` knows by name, and functions of (chosen,
rejected, ref_chosen, ref_rejected), [B] each, and `beta`, one term a pair. Answers of
an exact world are one token long: their mean log-probs are their sums.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxalign import losses
from jaxalign.evaluation import tabular, tabular_batches
from jaxalign.evaluation.tabular_losses import pair_logps
from jaxalign.training import objectives
from jaxalign.types import Array

Loss = Callable[..., Array]  # your own, of four log-probs and beta
# (world, logits, how often each pair occurs, beta) -> what is minimised
ExpectedLoss = Callable[[tabular.Bandit, Array, Array, Array], Array]

# What compares answers with others of the batch sees all of the world's.
BATCH_LOSSES: dict[str, Loss] = {
    "kto": tabular_batches.expected_kto,
    "bco": tabular_batches.expected_bco,
    "aot": tabular_batches.expected_aot,
    "aot_unpaired": tabular_batches.expected_aot_unpaired,
}
# Where all answers are one token long, these are others.
SAME_AT_ONE_TOKEN = {
    "ipo_sum": "ipo",
    "ld_dpo": "dpo",
    "length_normalised_dpo": "dpo",
    "length_regularised_dpo": "dpo",
}


def hyperparameters_at(name: str, beta: Any) -> dict[str, Any]:
    """The knobs of a loss at a strength, the others as in `experiments.dpo`.

    The strength is the loss's first knob, which its paper tunes; SimPO's authors tune
    gamma / beta, which is 0.5 here.
    """
    found = dict(objectives.get_loss(name).hyperparameters)
    found[next(iter(found))] = beta
    return found | {"gamma": 0.5 * beta} if name == "simpo" else found


def library_expected_loss(name: str) -> ExpectedLoss:
    """What the loss of that name minimises in an exact world.

    Raises:
      ValueError: there is none, with the near ones; or it is another's, with the why.
    """
    name = objectives.get_loss(name).name
    if name in SAME_AT_ONE_TOKEN:
        raise ValueError(
            f"answers of an exact world are one token long, where {name} is "
            f"{SAME_AT_ONE_TOKEN[name]}: leave it out, or compare it in --world toy"
        )
    if name in BATCH_LOSSES:
        whole = BATCH_LOSSES[name]
        return lambda world, logits, weight, beta: whole(
            world, logits, weight, beta=beta
        )
    return mean_over_pairs(
        lambda pairs, beta: objectives.pairwise_loss(
            name, **hyperparameters_at(name, beta)
        )(pairs)
    )


def custom_loss(loss: Loss) -> ExpectedLoss:
    """What a loss of your own minimises in an exact world."""
    return mean_over_pairs(lambda pairs, beta: loss(*pairs[:4], beta=beta))


def mean_over_pairs(
    loss: Callable[[objectives.PairLogps, Array], Array],
) -> ExpectedLoss:
    """The mean of a pairwise loss over the pairs, as often as each occurs.

    Raises:
      ValueError: while tracing, if it does not return one term a pair.
    """

    def mean(world: tabular.Bandit, logits: Array, weight: Array, beta: Array) -> Array:
        terms = loss(pair_inputs(world, logits), beta)
        if jnp.shape(terms) != weight.shape:
            raise ValueError(
                f"a loss returns one term a pair, {weight.shape} here; "
                f"this one has the shape {jnp.shape(terms)}"
            )
        return jnp.sum(weight * terms)

    return mean


def pair_inputs(world: tabular.Bandit, logits: Array) -> objectives.PairLogps:
    """All that pairwise losses are made of, of every pair that there can be."""
    *sums, _ = pair_logps(world, logits)
    chosen, rejected, ref_chosen, ref_rejected = sums
    logp, ref_logp = tabular.log_policy(logits), tabular.log_policy(world.reference)
    per_prompt = lambda x: jnp.repeat(x, logits.shape[1] ** 2)
    square = per_prompt(jax.nn.logsumexp(2.0 * logp, axis=1))
    kl = per_prompt(jnp.sum(jnp.exp(ref_logp) * (ref_logp - logp), axis=1))
    weight = lambda logp: jax.lax.stop_gradient(jnp.exp(logp - square))
    return objectives.PairLogps(
        *(chosen, rejected, ref_chosen, ref_rejected),
        *(chosen, rejected, ref_chosen, ref_rejected),
        chosen_nll=-chosen,
        margin=jnp.zeros_like(chosen),
        chosen_length=jnp.ones_like(chosen),
        rejected_length=jnp.ones_like(chosen),
        chosen_weight=weight(chosen),
        rejected_weight=weight(rejected),
        chosen_kl=kl,
        rejected_kl=kl,
        rejected_unlikelihood=losses.unlikelihood(rejected),
    )


class Data(NamedTuple):
    """Worlds, and how often each of `pair_logps` occurs [S B]; S seeds."""

    worlds: tabular.Bandit
    weights: Array


class TrainingCurve(NamedTuple):
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


def make_data(seeds: Iterable[int], *, prompts: int, answers: int, pairs: int) -> Data:
    """A world of each seed, and pairs drawn from it; 0 pairs are infinitely many."""

    def one(key: Array) -> Data:
        world_key, pairs_key = jax.random.split(key)
        world = tabular.random_bandit(world_key, prompts=prompts, answers=answers)
        weight = pair_logps(world, world.reference).weight
        if not pairs:
            return Data(world, weight)
        drawn = jax.random.categorical(pairs_key, jnp.log(weight), shape=(pairs,))
        return Data(world, jnp.bincount(drawn, length=len(weight)) / pairs)

    return jax.vmap(one)(jax.vmap(jax.random.key)(jnp.array(list(seeds))))


def train(
    loss: ExpectedLoss,
    data: Data,
    betas: Array,
    *,
    steps: int,
    rate: float,
    marks: Array,
) -> TrainingCurve:
    """Trains one loss at every seed and beta, in one program; all [S betas marks].

    Args:
      marks: the steps to measure at; 0 is the reference.
    """

    def one(world: tabular.Bandit, weight: Array, beta: Array) -> TrainingCurve:
        mean = lambda logits: loss(world, logits, weight, beta)
        path = adam_path(mean, world.reference, steps=steps, rate=rate)[marks]
        return jax.vmap(lambda at: measure(world, weight, at, beta))(path)

    betas_too = jax.vmap(one, in_axes=(None, None, 0))
    return jax.jit(jax.vmap(betas_too, in_axes=(0, 0, None)))(*data, betas)


def adam_path(
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


def measure(
    world: tabular.Bandit, weight: Array, logits: Array, beta: Array
) -> TrainingCurve:
    """What is seen of a policy."""
    pairs = pair_logps(world, logits)
    mean = lambda values: jnp.sum(weight * values)
    best = tabular.objective(world, tabular.optimal_policy(world, beta=beta), beta=beta)
    return TrainingCurve(
        reward=tabular.expected_reward(world, logits),
        kl=tabular.kl(world, logits),
        regret=best - tabular.objective(world, logits, beta=beta),
        chosen=mean(pairs.chosen),
        rejected=mean(pairs.rejected),
        chosen_ratio=mean(pairs.chosen - pairs.ref_chosen),
        rejected_ratio=mean(pairs.rejected - pairs.ref_rejected),
    )


def frontier(worlds: tabular.Bandit, betas: Array) -> tuple[Array, Array]:
    """KL and reward of the optimum at each beta, means over worlds [betas] each.

    Of all policies with that mean KL none has more mean reward: one beta for all worlds
    is what a common budget of KL comes to.
    """

    def one(world: tabular.Bandit, beta: Array) -> tuple[Array, Array]:
        best = tabular.optimal_policy(world, beta=beta)
        return tabular.kl(world, best), tabular.expected_reward(world, best)

    over_worlds = jax.vmap(one, in_axes=(0, None))
    kl, reward = jax.vmap(over_worlds, in_axes=(None, 0))(worlds, betas)
    return kl.mean(axis=1), reward.mean(axis=1)
