"""Losses that look at tokens, trained by name: against numpy in float64."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxalign.training import objectives, reference_cache, state, step
from tests.support import quick

KEY = jax.random.key(0)


@pytest.fixture
def both(bigram):
    """The policy's parameters and the reference's."""
    return bigram.init(KEY), bigram.init(jax.random.key(1))


def distributions(params, tokens):
    """The bigram's log-distribution of each token, in numpy; entry 0 is of none."""
    embed, unembed = (np.asarray(params[n], np.float64) for n in ("embed", "unembed"))
    logits = embed[np.roll(tokens, 1, axis=1)] @ unembed
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


class Side:
    """What a loss may want of one answer, row by row, in loops."""

    def __init__(self, both, answers, other):
        tokens, mask = answers.tokens, answers.loss_mask
        policy, ref = (distributions(params, tokens) for params in both)
        rows = range(len(tokens))
        at = [np.flatnonzero(mask[i]) for i in rows]
        short = [min(len(at[i]), other.loss_mask[i].sum()) for i in rows]
        picked = lambda logp, i: logp[i, at[i], tokens[i, at[i]]]
        self.policy = [picked(policy, i) for i in rows]
        self.ref = [picked(ref, i) for i in rows]
        self.shared = short
        self.ratio = np.array([(self.policy[i] - self.ref[i]).sum() for i in rows])
        self.kl = np.array(
            [
                (np.exp(ref[i, at[i]]) * (ref[i, at[i]] - policy[i, at[i]])).sum()
                for i in rows
            ]
        )
        self.weight = np.array(
            [
                np.exp(
                    np.mean(
                        self.policy[i] - np.log((np.exp(policy[i, at[i]]) ** 2).sum(-1))
                    )
                )
                for i in rows
            ]
        )

    def tempered(self, alpha):
        """Log-ratios, the tail past the shared length at alpha."""
        return np.array(
            [
                (p - r)[:n].sum() + alpha * (p - r)[n:].sum()
                for p, r, n in zip(self.policy, self.ref, self.shared, strict=True)
            ]
        )


def sigmoid_loss(x):
    return np.log1p(np.exp(-x))


# name -> hyperparameters, and the loss of the two sides
FORMULAS = {
    "wpo": (
        {"beta": 0.3},
        lambda c, r: c.weight * r.weight * sigmoid_loss(0.3 * (c.ratio - r.ratio)),
    ),
    "ld_dpo": (
        {"beta": 0.3, "alpha": 0.25},
        lambda c, r: sigmoid_loss(0.3 * (c.tempered(0.25) - r.tempered(0.25))),
    ),
    "tdpo2": (
        {"beta": 0.3, "alpha": 0.7},
        lambda c, r: sigmoid_loss(0.3 * (c.ratio - r.ratio - 0.7 * (r.kl - c.kl))),
    ),
    "tdpo1": (
        {"beta": 0.3},
        lambda c, r: sigmoid_loss(0.3 * (c.ratio - r.ratio - (r.kl - c.kl))),
    ),
}


@pytest.fixture
def cases(bigram, both, pairs):
    """What the objective is given, kept log-probs or the reference: (batch, fixed)."""
    batch = pairs(5)
    kept = reference_cache.compute_reference_logps(bigram, both[1], [batch]).attach(
        batch
    )
    return {False: (kept, ()), True: (batch, (both[1],))}


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("running", [False, True])
def test_by_formula(bigram, both, cases, name, running):
    hyperparameters, formula = FORMULAS[name]
    batch, fixed = cases[running]
    objective = objectives.preference(
        bigram, objectives.pairwise_loss(name, **hyperparameters)
    )
    if objectives.get_loss(name).needs_reference_distribution and not running:
        with pytest.raises(ValueError, match=f"the loss {name} compares whole"):
            objective(both[0], batch, *fixed)
        return
    total, (weight, metrics) = objective(both[0], batch, *fixed)
    pairs = cases[True][0]
    chosen = Side(both, pairs.chosen, pairs.rejected)
    rejected = Side(both, pairs.rejected, pairs.chosen)
    # the last pair is not valid; float32 sums of a dozen log-probs
    expected = formula(chosen, rejected)[:4].mean()
    np.testing.assert_allclose(total / weight, expected, rtol=2e-5)
    ratio = metrics["logratio/chosen"][0] / weight
    np.testing.assert_allclose(ratio, chosen.ratio[:4].mean(), rtol=2e-5)


def test_a_loss_pays_only_for_what_it_uses(bigram, both, cases):
    def flops(name, batch, *fixed):
        loss = objectives.pairwise_loss(name, beta=0.3)
        objective = objectives.preference(bigram, loss, chunk=12)
        of = jax.value_and_grad(objective, has_aux=True)
        compiled = jax.jit(of).lower(both[0], batch, *fixed).compile()
        return compiled.cost_analysis()["flops"]

    (kept, _), (plain, fixed) = cases[False], cases[True]
    # one more product with the unembedding for WPO's weights, several for the KL
    assert flops("dpo", kept) < flops("wpo", kept)
    assert flops("dpo", plain, *fixed) < flops("tdpo1", plain, *fixed)
    # [10 11] positions, 6 x 11 weights: a product costs 2 * 10 * 11 * 6 * 11
    product = 2 * 10 * 11 * 6 * 11
    assert flops("wpo", kept) - flops("dpo", kept) > 0.9 * product


@pytest.mark.parametrize("name", quick.only(["dpo"], ["dpo", "tdpo2", "wpo", "ld_dpo"]))
def test_a_reference_in_the_step_and_micro_batches(bigram, both, pairs, name):
    hyperparameters = dict.fromkeys(objectives.get_loss(name).hyperparameters, 0.3)
    loss = objectives.pairwise_loss(name, **hyperparameters)
    objective = objectives.preference(bigram, loss)
    batch = dataclasses.replace(pairs(8), valid=np.arange(8) != 5)
    found = []
    for micro_batches in (1, 4):
        update = step.make_step(objective, optax.sgd(1.0), micro_batches=micro_batches)
        first = state.create(both[0], optax.sgd(1.0), KEY)
        after, metrics = update(first, batch, both[1])
        found.append((after.params, metrics["loss"]))
    # float32 sums in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *found)
    assert not jnp.isclose(found[0][0]["embed"], both[0]["embed"]).all()
    # the reference is not donated
    assert np.isfinite(both[1]["embed"]).all()


def test_the_reference_gets_no_gradient(bigram, both, pairs):
    loss = objectives.pairwise_loss("tdpo1", beta=0.3)
    objective = objectives.preference(bigram, loss)
    slope = jax.grad(lambda ref: objective(both[0], pairs(5), ref)[0])(both[1])
    assert all((x == 0).all() for x in jax.tree.leaves(slope))


@pytest.mark.slow
def test_tdpo2_stops_the_chosen_kl(bigram, both, pairs):
    """TDPO2's gradient is that of TDPO1 less what flows through the chosen KL."""
    batch = pairs(5)
    hyperparameters = {"beta": 0.3}
    one = objectives.pairwise_loss("tdpo1", **hyperparameters)
    two = objectives.pairwise_loss("tdpo2", alpha=1.0, **hyperparameters)
    stopped = lambda p: one(
        p._replace(kl=p.kl._replace(chosen=jax.lax.stop_gradient(p.kl.chosen)))
    )

    def slope(loss):
        objective = objectives.preference(bigram, loss)
        return jax.grad(lambda params: objective(params, batch, both[1])[0])(both[0])

    same = lambda a, b: np.allclose(a["embed"], b["embed"], rtol=1e-4, atol=1e-6)
    assert same(slope(two), slope(stopped)) and not same(slope(two), slope(one))
