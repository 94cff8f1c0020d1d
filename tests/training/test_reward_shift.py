"""BCO's running mean of rewards, and the loss that is given it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxalign.training import objectives, reference_cache, reward_shift, state, step
from jaxalign.training.reward_shift import RewardShift

NOTHING = RewardShift(jnp.float32(0.0), jnp.float32(0.0))


def metrics(pairs, chosen, rejected, finite=True):
    means = {"rewards/chosen": chosen, "rewards/rejected": rejected}
    numbers = {"weight": float(pairs), **means}
    return {n: jnp.float32(x) for n, x in numbers.items()} | {"finite": finite}


def test_the_mean_of_both_kinds_of_all_pairs_alike():
    # 4 answers of mean 1, then 12 of mean -1: (4 - 12) / 16
    shift = reward_shift.update(NOTHING, metrics(2, 3.0, -1.0))
    assert reward_shift.to_json(shift) == [4.0, 1.0]
    shift = reward_shift.update(shift, metrics(6, 0.5, -2.5))
    assert reward_shift.to_json(shift) == [16.0, -0.5]


@pytest.mark.parametrize("pairs, finite", [(0, True), (3, False)])
def test_a_step_that_was_not_made_does_not_count(pairs, finite):
    bad = metrics(pairs, np.nan, np.nan, finite)
    shift = RewardShift(jnp.float32(4.0), jnp.float32(0.25))
    assert reward_shift.to_json(reward_shift.update(shift, bad)) == [4.0, 0.25]


def test_micro_batches_change_nothing_and_the_loss_is_given_it(bigram, pairs):
    """BCO with its running mean is losses.bco at that shift, step by step."""
    key, optimizer = jax.random.key(0), optax.sgd(0.1)
    start, other = (bigram.init(jax.random.key(i)) for i in (0, 1))
    batch = dataclasses.replace(pairs(8), valid=np.arange(8) != 5)
    batch = reference_cache.compute_reference_logps(bigram, other, [batch]).attach(
        batch
    )
    bco = objectives.preference(bigram, objectives.pairwise_loss("bco", beta=0.3))
    found = []
    for micro_batches in (1, 4):
        update = step.make_step(bco, optimizer, micro_batches=micro_batches)
        now, shift = state.create(start, optimizer, key), NOTHING
        for _ in range(3):
            delta = float(shift.mean)
            constant = objectives.pairwise_loss("bco_pair", beta=0.3, delta=delta)
            total, (weight, _) = objectives.preference(bigram, constant)(
                now.params, batch
            )
            now, numbers = update(now, batch, None, shift.mean)
            np.testing.assert_allclose(numbers["loss"], total / weight, rtol=1e-5)
            shift = reward_shift.update(shift, numbers)
        found.append((now.params["embed"], shift.mean))
    # float32 sums in another order
    for one, parts in zip(*found, strict=True):
        np.testing.assert_allclose(one, parts, rtol=1e-4, atol=1e-6)
    assert abs(found[0][1]) > 0.01


def test_bco_without_its_running_mean_is_refused(bigram, pairs):
    params, batch = bigram.init(jax.random.key(0)), pairs(4)
    batch = reference_cache.compute_reference_logps(bigram, params, [batch]).attach(
        batch
    )
    bco = objectives.preference(bigram, objectives.pairwise_loss("bco"))
    with pytest.raises(ValueError, match="running mean of rewards"):
        bco(params, batch)
