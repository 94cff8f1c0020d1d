"""Losses of whole batches in an exact world: the limit of losses of batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.evaluation import tabular, tabular_batches
from jaxalign.evaluation.tabular_losses import pair_logps
from tests.support import quick

WORLD = tabular.random_bandit(jax.random.key(0), prompts=3, answers=4)
LOGITS = WORLD.reference + jax.random.normal(jax.random.key(1), (3, 4))
DRAWN = jax.random.randint(jax.random.key(2), (40,), 0, 48)  # some pairs, as a batch
WEIGHT = jnp.bincount(DRAWN, length=48) / 40
KNOBS = {"beta": 0.7}


def batch(logits):
    """The log-probs of the pairs that were drawn, [40] each."""
    *logps, _ = pair_logps(WORLD, logits)
    return [x[DRAWN] for x in logps]


PROMPT, *SIDES = np.unravel_index(np.asarray(DRAWN), (3, 4, 4))
ASKED, ANSWER = np.tile(PROMPT, 2), np.concatenate(SIDES)


def ratios(logits):
    return tabular.log_policy(logits) - tabular.log_policy(WORLD.reference)


def mismatched(logits):
    """The mean log-ratio of the batch's prompts with each of the others' answers."""
    ratio = ratios(logits)
    return jnp.mean(jnp.array([ratio[x, ANSWER[ASKED != x]].mean() for x in ASKED]))


def kto(logits):
    kl = jnp.maximum(mismatched(logits), 0.0)
    logp, up = ratios(logits)[ASKED, ANSWER], jnp.arange(80) < 40
    return losses.kto(logp, jnp.zeros(80), up, kl, **KNOBS).mean()


def bco(logits):
    chosen, rejected, ref_chosen, ref_rejected = batch(logits)
    delta = 0.7 * 0.5 * ((chosen - ref_chosen) + (rejected - ref_rejected)).mean()
    return losses.bco(*batch(logits), delta=delta, **KNOBS).mean()


CASES = {
    "kto": (tabular_batches.expected_kto, kto),
    "bco": (tabular_batches.expected_bco, bco),
    "aot": (
        tabular_batches.expected_aot,
        lambda logits: losses.aot(*batch(logits), **KNOBS).mean(),
    ),
    "aot_unpaired": (
        tabular_batches.expected_aot_unpaired,
        lambda logits: losses.aot_unpaired(*batch(logits), **KNOBS).mean(),
    ),
}


# away from the reference at random, and to what other prompts were answered: there the
# mismatched mean is KL(others || reference), or nearly
OTHERS = jnp.stack([jnp.bincount(ANSWER[ASKED != x], length=4) for x in range(3)])
POLICIES = {"random": LOGITS, "others": jnp.log(OTHERS + 0.5)}


@pytest.mark.parametrize("policy", quick.only(["others"], POLICIES))
@pytest.mark.parametrize("name", CASES)
def test_a_sample_is_a_batch(name, policy):
    """By the counts of a sample, and row by row: the same loss and gradient."""
    (expected, of_batch), at = CASES[name], POLICIES[policy]
    whole = jax.value_and_grad(lambda x: expected(WORLD, x, WEIGHT, **KNOBS))(at)
    rows = jax.value_and_grad(of_batch)(at)
    # float32 sums in another order; quantiles of 1/40 are not exact in binary
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), whole, rows
    )


def test_the_policies_are_on_both_sides_of_ktos_clamp():
    assert mismatched(POLICIES["random"]) < -0.1 < 0.1 < mismatched(POLICIES["others"])


@pytest.mark.parametrize("name", CASES)
def test_shifting_a_prompts_logits_changes_nothing(name):
    expected, _ = CASES[name]
    shift = jnp.array([[1.0], [-2.0], [0.5]])
    value = lambda x: expected(WORLD, x, WEIGHT, **KNOBS)
    np.testing.assert_allclose(value(LOGITS + shift), value(LOGITS), rtol=1e-5)


def test_quantile_gaps_by_hand():
    # 5 (weight 1/4), 1 (3/4) against 2 (1/2), 0 (1/2): sorted, the first is 1 until
    # q = 3/4 and then 5, the second 0 until 1/2 and then 2
    gap, share = tabular_batches.quantile_gaps(
        jnp.array([5.0, 1.0]),
        jnp.array([0.25, 0.75]),
        jnp.array([2.0, 0.0]),
        jnp.array([0.5, 0.5]),
    )
    kept = np.asarray(share) > 0
    assert np.asarray(gap)[kept].tolist() == [1.0, -1.0, 3.0]
    assert np.asarray(share)[kept].tolist() == [0.5, 0.25, 0.25]
    # weights that sum to 2 are the same
    doubled, _ = tabular_batches.quantile_gaps(
        jnp.array([5.0, 1.0]), jnp.array([0.5, 1.5]), jnp.zeros(2), jnp.ones(2)
    )
    assert sorted(set(np.asarray(doubled).tolist())) == [1.0, 5.0]
