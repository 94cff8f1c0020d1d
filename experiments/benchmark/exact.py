"""Preference losses in exact worlds: each trained from the reference, and measured.

A seed is a world and a sample of its preferences. The sample enters as the frequency of
each labeled pair that can occur, so that infinite data are the same program. Answers of
an exact world are one token long: their mean log-probs are their sums.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import lazy, losses
from jaxalign.evaluation import tabular, tabular_batches
from jaxalign.evaluation.tabular_losses import pair_logps
from jaxalign.training import objectives, pairwise_terms
from jaxalign.training.preference_loss import PairwiseLoss, UnpairedLoss
from jaxalign.types import Array

if TYPE_CHECKING:
    import optax
else:
    optax = lazy.module("optax")

# (world, logits, frequency of each pair, strength) -> the number that is minimized
ExpectedLoss = Callable[[tabular.Bandit, Array, Array, Array], Array]

# Losses that compare an answer with others of the batch; the batch is the whole world.
BATCH_LOSSES: dict[Callable[..., Array], Callable[..., Array]] = {
    losses.kto: tabular_batches.expected_kto,
    pairwise_terms.bco: tabular_batches.expected_bco,
    losses.aot: tabular_batches.expected_aot,
    losses.aot_unpaired: tabular_batches.expected_aot_unpaired,
}
# Losses that are another where all answers are one token long.
SAME_AT_ONE_TOKEN = {
    "ipo_sum": "ipo",
    "ld_dpo": "dpo",
    "length_normalized_dpo": "dpo",
    "r_dpo": "dpo",
}


def expected_loss_of(loss: PairwiseLoss | UnpairedLoss) -> ExpectedLoss:
    """The expectation of a loss in an exact world.

    Raises:
      ValueError: it equals another loss there; or, while tracing, it does not return
        one term per pair.
    """
    if loss.name in SAME_AT_ONE_TOKEN:
        raise ValueError(
            f"answers of an exact world are one token long, where {loss.name} is "
            f"{SAME_AT_ONE_TOKEN[loss.name]}: leave it out, or compare it in "
            "--world toy"
        )
    if loss.fn in BATCH_LOSSES:
        expected = BATCH_LOSSES[loss.fn]
        return lambda world, logits, weight, strength: expected(
            world, logits, weight, beta=strength
        )
    if isinstance(loss, UnpairedLoss):
        raise ValueError(f"the loss {loss.name} is not of pairs: use --world toy")

    def mean(
        world: tabular.Bandit, logits: Array, weight: Array, strength: Array
    ) -> Array:
        terms = loss.at_strength(strength)(pair_inputs(world, logits))
        if jnp.shape(terms) != weight.shape:
            raise ValueError(
                f"a loss returns one term per pair, {weight.shape} here; "
                f"{loss.name} returned the shape {jnp.shape(terms)}"
            )
        return jnp.sum(weight * terms)

    return mean


def pair_inputs(world: tabular.Bandit, logits: Array) -> objectives.PairLogps:
    """The inputs of pairwise losses, of every pair that can occur."""
    *sums, _ = pair_logps(world, logits)
    chosen, rejected, ref_chosen, ref_rejected = sums
    logp, ref_logp = tabular.log_policy(logits), tabular.log_policy(world.reference)
    per_prompt = lambda x: jnp.repeat(x, logits.shape[1] ** 2)
    square = per_prompt(jax.nn.logsumexp(2.0 * logp, axis=1))
    kl = per_prompt(jnp.sum(jnp.exp(ref_logp) * (ref_logp - logp), axis=1))
    weight = lambda logp: jax.lax.stop_gradient(jnp.exp(logp - square))
    one = jnp.ones_like(chosen)
    return objectives.PairLogps(
        policy=objectives.ModelLogps(chosen, rejected, chosen, rejected),
        reference=objectives.ModelLogps(
            ref_chosen, ref_rejected, ref_chosen, ref_rejected
        ),
        length=objectives.Sides(one, one),
        margin=jnp.zeros_like(chosen),
        label_prob=one,
        wpo_weight=objectives.Sides(weight(chosen), weight(rejected)),
        kl=objectives.Sides(kl, kl),
        unlikelihood=objectives.Sides(
            losses.unlikelihood(chosen), losses.unlikelihood(rejected)
        ),
    )


class Data(NamedTuple):
    """Worlds and their preferences, of S seeds.

    Attributes:
      weights: frequency of each pair of `pair_logps` [S B]; a row sums to 1.
    """

    worlds: tabular.Bandit
    weights: Array


class TrainingCurve(NamedTuple):
    """Metrics of a policy at some steps of training.

    Attributes:
      reward: expected true reward.
      kl: to the reference, nats.
      regret: the optimum of `tabular.objective` at that beta, less the policy's value.
      chosen, rejected: mean log-prob over the training pairs, nats.
      chosen_ratio, rejected_ratio: mean log-ratio to the reference, nats.
    """

    reward: Array
    kl: Array
    regret: Array
    chosen: Array
    rejected: Array
    chosen_ratio: Array
    rejected_ratio: Array


def make_data(seeds: Iterable[int], *, prompts: int, answers: int, pairs: int) -> Data:
    """A world per seed, and pairs sampled in it; 0 pairs are infinitely many."""

    def one(key: Array) -> Data:
        world_key, pairs_key = jax.random.split(key)
        world = tabular.random_bandit(world_key, prompts=prompts, answers=answers)
        weight = pair_logps(world, world.reference).weight
        if not pairs:
            return Data(world, weight)
        sample = jax.random.categorical(pairs_key, jnp.log(weight), shape=(pairs,))
        return Data(world, jnp.bincount(sample, length=len(weight)) / pairs)

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
    """Trains one loss at every seed and beta, in one program.

    Args:
      betas: strengths of the loss.
      rate: Adam's learning rate at the start.
      marks: the steps to measure at; 0 is the reference.

    Returns:
      [S betas marks] each.
    """

    def one(world: tabular.Bandit, weight: Array, beta: Array) -> TrainingCurve:
        mean = lambda logits: loss(world, logits, weight, beta)
        path = adam_path(mean, world.reference, steps=steps, rate=rate)[marks]
        return jax.vmap(lambda at: measure(world, weight, at, beta))(path)

    every_beta = jax.vmap(one, in_axes=(None, None, 0))
    return jax.jit(jax.vmap(every_beta, in_axes=(0, 0, None)))(*data, betas)


def adam_path(
    loss: Callable[[Array], Array], start: Array, *, steps: int, rate: float
) -> Array:
    """The iterates of Adam [steps + 1 ...]; its rate falls to 0 as a cosine."""
    optimizer = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(carry, _):  # type: ignore[no-untyped-def]
        x, state = carry
        updates, state = optimizer.update(jax.grad(loss)(x), state)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    path = jax.lax.scan(step, (start, optimizer.init(start)), length=steps)[1]
    return jnp.concatenate([start[None], path])


def measure(
    world: tabular.Bandit, weight: Array, logits: Array, beta: Array
) -> TrainingCurve:
    """The metrics of a policy in a world."""
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
