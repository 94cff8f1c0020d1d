"""Objectives of preferences against numpy in float64, and the papers' identities."""

import dataclasses
import inspect
import operator

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.training import forward, objectives
from tests.training.objective_values import KEY, means, sigmoid, sums


def own_reference(bigram, params, batch):
    side = lambda x: forward.row_sums(
        forward.token_logps(bigram, params, x), x.loss_mask
    )[0]
    return batch.with_reference(side(batch.chosen), side(batch.rejected))


@pytest.mark.parametrize(
    "name, hyperparameters, at_reference",
    [
        ("dpo", {"beta": 0.3}, np.log(2)),
        ("cdpo", {"beta": 0.3, "label_smoothing": 0.1}, np.log(2)),
        # (0 - 1 / (2 tau))^2
        ("ipo", {"tau": 0.25}, 4.0),
        ("ipo_sum", {"tau": 0.25}, 4.0),
    ],
)
def test_at_the_reference(bigram, pairs, name, hyperparameters, at_reference):
    params = bigram.init(KEY)
    batch = own_reference(bigram, params, pairs(5))
    objective = objectives.preference(
        bigram, objectives.pairwise_loss(name, **hyperparameters)
    )
    loss, metrics = means(objective(params, batch))
    # log-probs of up to 50 nats in float32, twice, in two batch layouts
    np.testing.assert_allclose(loss, at_reference, rtol=1e-5)
    assert abs(metrics["logratio/chosen"]) < 1e-5
    assert abs(metrics["logratio/margin"]) < 1e-5


@pytest.fixture
def measured(bigram, pairs, bigram_logps):
    """Random pairs, their reference's sums, and all in numpy: (batch, dict)."""
    batch, rng = pairs(5), np.random.default_rng(9)
    referenced = batch.with_reference(*rng.uniform(-9, -1, (4, 5)).astype(np.float32))
    params = bigram.init(KEY)
    c = sums(bigram_logps(params, batch.chosen.tokens), batch.chosen.loss_mask)
    r = sums(bigram_logps(params, batch.rejected.tokens), batch.rejected.loss_mask)
    n_c, n_r = batch.chosen.loss_mask.sum(-1), batch.rejected.loss_mask.sum(-1)
    rc, rr = referenced.reference.chosen, referenced.reference.rejected
    return params, referenced, (c, r, rc, rr, n_c, n_r)


def odds(mean):
    return mean - np.log1p(-np.exp(mean))


FORMULAS = {  # of the papers and of TRL, written once more
    "dpo": (
        {"beta": 0.3},
        lambda c, r, rc, rr, nc, nr: -np.log(sigmoid(0.3 * (c - rc - r + rr))),
    ),
    "cdpo": (
        {"beta": 0.3, "label_smoothing": 0.1},
        lambda c, r, rc, rr, nc, nr: (
            -0.9 * np.log(sigmoid(0.3 * (c - rc - r + rr)))
            - 0.1 * np.log(sigmoid(-0.3 * (c - rc - r + rr)))
        ),
    ),
    "rpo": (
        {"beta": 0.3, "alpha": 0.7},
        lambda c, r, rc, rr, nc, nr: (
            -np.log(sigmoid(0.3 * (c - rc - r + rr))) - 0.7 * c / nc
        ),
    ),
    "ipo": (
        {"tau": 0.25},
        lambda c, r, rc, rr, nc, nr: ((c - rc) / nc - (r - rr) / nr - 2) ** 2,
    ),
    "simpo": (
        {"beta": 2.0, "gamma": 0.5},
        lambda c, r, rc, rr, nc, nr: -np.log(sigmoid(2 * (c / nc - r / nr) - 0.5)),
    ),
    "orpo": (
        {"lam": 0.2},
        lambda c, r, rc, rr, nc, nr: (
            -c / nc - 0.2 * np.log(sigmoid(odds(c / nc) - odds(r / nr)))
        ),
    ),
    "ipo_sum": (
        {"tau": 0.25},
        lambda c, r, rc, rr, nc, nr: (c - rc - r + rr - 2) ** 2,
    ),
    "slic": (
        {"delta": 4.0, "alpha": 0.5},
        lambda c, r, rc, rr, nc, nr: np.maximum(4.0 - c + r, 0) - 0.5 * c / nc,
    ),
    "cpo": (
        {"beta": 0.3, "alpha": 0.5},
        lambda c, r, rc, rr, nc, nr: -np.log(sigmoid(0.3 * (c - r))) - 0.5 * c / nc,
    ),
    "r_dpo": (
        {"beta": 0.3, "alpha": 0.2},
        lambda c, r, rc, rr, nc, nr: (
            -np.log(sigmoid(0.3 * (c - rc - r + rr) + 0.2 * (nc - nr)))
        ),
    ),
    "length_normalized_dpo": (
        {"beta": 3.0},
        lambda c, r, rc, rr, nc, nr: (
            -np.log(sigmoid(3.0 * ((c - rc) / nc - (r - rr) / nr)))
        ),
    ),
    "jensen_shannon_dpo": (
        {"beta": 0.3},
        lambda c, r, rc, rr, nc, nr: (
            -np.log(sigmoid(0.3 * np.log(sigmoid(c - rc) / sigmoid(r - rr))))
        ),
    ),
}


# What the losses' parameters call their inputs.
ARGUMENTS = {
    "policy.chosen_mean": "chosen_mean",
    **{f"policy.{side}": side for side in ("chosen", "rejected")},
    **{f"reference.{side}": f"ref_{side}" for side in ("chosen", "rejected")},
    **{
        f"{group}.{side}": f"{side}_{name}"
        for side in ("chosen", "rejected")
        for group, name in {
            "length": "length",
            "wpo_weight": "weight",
            "kl": "kl",
            "unlikelihood": "unlikelihood",
        }.items()
    },
}


def test_soft_labels_weigh_both_ways_of_a_pair(bigram, scalar, measured, pairs):
    """By the probability of the label; a rating margin of 3 changes none."""
    params, hard, (c, r, rc, rr, *_) = measured
    p = np.array([0.75, 0.9, 1.0, 0.5, 0.0], np.float32)
    batch = dataclasses.replace(hard, label_prob=p, margin=np.full(5, 3.0, np.float32))
    loss = objectives.pairwise_loss("soft_dpo", beta=0.3)
    terms = lambda batch: loss(objectives.pair_logps(bigram, params, batch, loss))
    found = terms(batch)
    right, wrong = (-np.log(sigmoid(s * 0.3 * (c - rc - r + rr))) for s in (1, -1))
    np.testing.assert_allclose(found, p * right + (1 - p) * wrong, rtol=1e-4)
    np.testing.assert_allclose(terms(hard), right, rtol=1e-4)  # labels of 1
    scores = scalar.init(jax.random.key(1))
    by = lambda loss: objectives.reward(scalar, loss=loss)(scores, batch)[0]
    gap = np.array([3.0, -1.0, 2.0, 0.5, 1.0], np.float32)
    found = objectives.soft_label_loss(gap, 0 * gap, batch)
    expected = -p * np.log(sigmoid(gap)) - (1 - p) * np.log(sigmoid(-gap))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert by(objectives.soft_label_loss) != by(objectives.hard_label_loss)


@pytest.mark.parametrize(
    "name", sorted(set(objectives.PAIRWISE_LOSSES) - set(FORMULAS))
)
def test_other_losses_are_given_their_numbers(bigram, measured, name):
    """Formulas of their own are in tests/losses; here, that the fields fit."""
    params, batch, numbers = measured
    hyperparameters = dict.fromkeys(objectives.get_loss(name).hyperparameters, 0.3)
    # any numbers will do
    kl = objectives.Sides(*numbers[:2])
    loss = objectives.pairwise_loss(name, **hyperparameters)
    pair = objectives.pair_logps(bigram, params, batch, loss)
    pair = pair._replace(kl=kl, reward_shift=0.2)
    np.testing.assert_allclose(pair.length.chosen, numbers[4])
    parameters = inspect.signature(loss.fn).parameters
    expected = {x: ARGUMENTS.get(x, x) for x in loss.inputs}
    arguments = dict(zip(expected.values(), parameters, strict=False))
    several = "sums" in parameters
    assert several or all(a == b for a, b in arguments.items()), arguments
    values = [operator.attrgetter(path)(pair) for path in loss.inputs]
    chex.assert_trees_all_close(loss(pair), loss.fn(*values, **hyperparameters))


@pytest.mark.parametrize("name", FORMULAS)
def test_pairwise_losses_by_formula(bigram, measured, name):
    params, batch, numbers = measured
    hyperparameters, formula = FORMULAS[name]
    loss = objectives.pairwise_loss(name, **hyperparameters)
    got, metrics = means(objectives.preference(bigram, loss)(params, batch))
    # the last pair is not valid; float32 sums of a dozen log-probs
    np.testing.assert_allclose(got, formula(*numbers)[:4].mean(), rtol=2e-5)
    c, r, rc, rr = numbers[:4]
    np.testing.assert_allclose(metrics["logp/chosen"], c[:4].mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["logratio/rejected"], (r - rr)[:4].mean(), 1e-5)
    np.testing.assert_allclose(
        metrics["logratio/margin"], (c - rc - r + rr)[:4].mean(), 1e-5
    )
    # TRL's are beta times the log-ratios; a loss without either has none
    if "beta" in hyperparameters and loss.needs_reference:
        expected = hyperparameters["beta"] * np.array([c - rc, r - rr, c - rc - r + rr])
        names = ("rewards/chosen", "rewards/rejected", "rewards/margins")
        found = [metrics[name] for name in names]
        np.testing.assert_allclose(found, expected[:, :4].mean(1), rtol=1e-5)
    else:
        assert not [name for name in metrics if name.startswith("rewards/")]
    right = (c - rc > r - rr)[:4].mean()
    np.testing.assert_allclose(metrics["accuracy"], right)


def test_unknown_losses_and_knobs_are_refused_with_the_near_ones():
    with pytest.raises(ValueError, match="unknown loss 'dpoo': did you mean .*dpo"):
        objectives.pairwise_loss("dpoo", beta=0.1)
    with pytest.raises(ValueError, match="simpo takes beta 2, gamma 1, not tau"):
        objectives.pairwise_loss("simpo", beta=0.1, tau=1.0)
    with pytest.raises(ValueError, match="TRL's beta is its tau"):
        objectives.pairwise_loss("ipo", beta=0.1)
    with pytest.raises(ValueError, match="unknown loss 'kto'"):
        objectives.pairwise_loss("kto")


def test_losses_without_reference_take_plain_pairs_and_others_refuse(bigram, pairs):
    params, batch = bigram.init(KEY), pairs(5)
    simpo = objectives.pairwise_loss("simpo", beta=2.0, gamma=0.5)
    _, metrics = means(objectives.preference(bigram, simpo)(params, batch))
    assert "mean_logp/margin" in metrics and "logratio/chosen" not in metrics
    dpo = objectives.pairwise_loss("dpo", beta=0.1)
    with pytest.raises(ValueError, match="the loss dpo compares with a reference"):
        objectives.preference(bigram, dpo)(params, batch)
    needs = {
        name: (loss.needs_reference, loss.needs_reference_distribution)
        for name, loss in objectives.PAIRWISE_LOSSES.items()
    }
    assert needs["dpo"] == needs["ld_dpo"] == needs["wpo"] == (True, False)
    assert needs["orpo"] == needs["unlikelihood"] == (False, False)
    assert needs["tdpo1"] == needs["tdpo2"] == (True, True)


def test_unlikelihood_of_rejected_answers(bigram, measured, bigram_logps):
    params, batch, (c, _, _, _, n_c, n_r) = measured
    rejected = batch.rejected
    logp = bigram_logps(params, rejected.tokens)
    logp = np.where(rejected.loss_mask, logp, -1.0)
    unlikely = sums(-np.log1p(-np.exp(logp)), rejected.loss_mask) / n_r
    loss = objectives.pairwise_loss("unlikelihood", alpha=0.7)
    found, _ = means(objectives.preference(bigram, loss)(params, batch))
    expected = (-c / n_c + 0.7 * unlikely)[:4].mean()
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_any_function_of_pair_logps_is_a_loss(bigram, measured):
    params, batch, (c, r, rc, rr, _, _) = measured
    hinge = lambda p: jnp.maximum(1 - (p.policy.chosen - p.reference.chosen), p.margin)
    loss, _ = means(objectives.preference(bigram, hinge)(params, batch))
    want = np.maximum(1 - (c - rc), batch.margin)[:4].mean()
    np.testing.assert_allclose(loss, want, rtol=2e-5)


def kto_batch(unpaired, bigram, params, shift=0.0):
    batch = unpaired(6)
    side = lambda x: forward.row_sums(
        forward.token_logps(bigram, params, x), x.loss_mask
    )[0]
    return batch.with_reference(
        side(batch.answers), side(batch.mismatched_answers) + shift
    )


def test_kto_by_hand(bigram, unpaired):
    params = bigram.init(KEY)
    # At the reference z0 = 0 and every term is 1 - sigmoid(0) = 1/2.
    batch = kto_batch(unpaired, bigram, params)
    kto = objectives.kto(bigram, beta=0.5)
    np.testing.assert_allclose(means(kto(params, batch))[0], 0.5, rtol=1e-5)
    # Mismatched answers 2 nats above the reference: z0 = 2; desirable terms are
    # 1 - sigmoid(0.5 * (0 - 2)) = sigmoid(1), undesirable ones 1 - sigmoid(1).
    batch = kto_batch(unpaired, bigram, params, shift=-2.0)
    loss, metrics = means(kto(params, batch))
    up = batch.desirable.mean()
    want = up * sigmoid(1.0) + (1 - up) * (1 - sigmoid(1.0))
    np.testing.assert_allclose(loss, want, rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], 2.0, rtol=1e-5)
    # 2 nats below: z0 = max(0, -2) = 0.
    batch = kto_batch(unpaired, bigram, params, shift=2.0)
    np.testing.assert_allclose(means(kto(params, batch))[0], 0.5, rtol=1e-5)


def test_kto_with_one_class_is_finite_and_z0_has_no_gradient(bigram, unpaired):
    params = bigram.init(KEY)
    batch = kto_batch(unpaired, bigram, params, shift=-2.0)
    batch = dataclasses.replace(batch, desirable=np.ones(6, bool))
    kto = objectives.kto(bigram, beta=0.5)
    grads = jax.grad(lambda p: kto(p, batch)[0])(params)
    fixed = jax.grad(lambda p: kto.terms(p, batch, jnp.asarray(2.0))[0])(params)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), grads, fixed)
