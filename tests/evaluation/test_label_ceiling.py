"""The best accuracy on labels: planted probabilities, and bounds that hold them."""

import numpy as np
import pytest
from scipy import special, stats

from jaxalign.evaluation.agreement.coefficients import item_agreement
from jaxalign.evaluation.agreement.dirichlet_multinomial import (
    fit_concentration,
    largest_share,
)
from jaxalign.evaluation.agreement.label_ceiling import (
    label_ceiling,
    largest_given,
    leave_one_out_accuracy,
    posterior_ceilings,
)
from jaxalign.evaluation.agreement.rating_pairs import leave_one_out_pairs

ITEMS = 1500
PLANTED = {  # the probability of the first of two answers
    "Bradley-Terry": lambda rng: special.expit(rng.normal(0.0, 2.0, ITEMS)),
    "nearly coins": lambda rng: special.expit(rng.normal(0.0, 0.5, ITEMS)),
    "all alike": lambda rng: np.full(ITEMS, 0.8),
    "sure or a coin": lambda rng: np.where(rng.random(ITEMS) < 0.5, 1.0, 0.5),
}


def draw_counts(rng, q, annotators):
    first = rng.binomial(annotators, q)
    return np.stack([first, annotators - first], axis=1).astype(np.float64)


def fitted(counts):
    """The estimate, and that of majority labels, without intervals."""
    patterns, times = np.unique(counts, axis=0, return_counts=True)
    concentration = fit_concentration(patterns, weights=times)
    return posterior_ceilings(patterns, times, concentration)


@pytest.mark.parametrize("annotators", [3, 9])
@pytest.mark.parametrize("name", PLANTED)
def test_the_truth_lies_within_the_bounds(name, annotators):
    rng = np.random.default_rng(0)
    q = PLANTED[name](rng)
    truth = np.maximum(q, 1 - q).mean()
    counts = draw_counts(rng, q, annotators)
    # deviations of means of 1500: 0.012 at most; of the bound, whose slope in agreement
    # is 1 / (2 max q - 1), 0.03 for coins
    assert leave_one_out_accuracy(counts).mean() < truth + 0.03
    assert largest_given(item_agreement(counts).mean(), 2) > truth - 0.03
    # three tosses of a coin have a largest share of 3/4; all alike of 0.8: 0.84
    plug_in = counts.max(axis=1).mean() / annotators
    assert plug_in > truth + (0.025 if annotators == 3 else -0.03)
    # what is no unimodal distribution is missed by 0.07, see the module
    tolerance = 0.08 if name == "sure or a coin" else 0.035
    np.testing.assert_allclose(fitted(counts)[0], truth, atol=tolerance)


def test_intervals_hold_the_truth_and_majorities_are_likeliest(monkeypatch):
    monkeypatch.setattr("jaxalign.evaluation.agreement.label_ceiling.FIT_RESAMPLES", 40)
    rng = np.random.default_rng(1)
    q = PLANTED["Bradley-Terry"](rng)
    counts = draw_counts(rng, q, 5)
    found = label_ceiling(counts)
    likeliest = np.mean((counts[:, 0] > 2.5) == (q > 0.5))
    np.testing.assert_allclose(found.majority.mean, likeliest, atol=0.03)  # 4 * 0.35/39
    assert found.majority.low < likeliest < found.majority.high
    truth = np.maximum(q, 1 - q).mean()
    assert found.estimate.low < truth < found.estimate.high
    assert found.leave_one_out.high < truth < found.upper_bound.mean
    assert truth + 0.02 < found.plug_in.low
    assert (found.items, found.labels) == (ITEMS, 5.0)
    # float64 rounding
    np.testing.assert_allclose(
        (found.estimate.mean, found.majority.mean), fitted(counts), rtol=1e-12
    )


def test_leave_one_out_is_unbiased_by_enumeration():
    # three votes of probability q: the other two agree and are right, or split (half)
    for q in (0.5, 0.7, 1.0):
        patterns = np.array([[3, 0], [2, 1], [1, 2], [0, 3]])
        chance = stats.binom.pmf(patterns[:, 0], 3, q)
        found = chance @ leave_one_out_accuracy(patterns)
        by_hand = q * (q**2 + q * (1 - q)) + (1 - q) * ((1 - q) ** 2 + q * (1 - q))
        np.testing.assert_allclose(found, by_hand, rtol=1e-12)  # float64 rounding


def test_the_upper_bound_is_sharp_where_items_are_alike():
    q = np.array([0.6, 0.3, 0.1])
    # of three labels with .6 at best: agreement is least where the others are equal
    alike = np.array([0.6, 0.2, 0.2])
    np.testing.assert_allclose(largest_given(alike @ alike, 3), 0.6, rtol=1e-12)
    assert largest_given(q @ q, 3) > 0.6
    assert largest_given(np.array(0.1), 3) == 1 / 3  # less than chance: sampling


def test_the_largest_share_of_dirichlet_draws():
    concentration = np.array([[0.3, 2.0, 1.2], [40.0, 30.0, 0.05], [500.0, 500.0, 9.0]])
    draws = np.stack(
        [np.random.default_rng(2).dirichlet(a, 200_000) for a in concentration]
    )
    expected, largest = largest_share(concentration)
    # deviations of means of 200,000: 0.0004 and 0.001 at most; four of them
    np.testing.assert_allclose(expected, draws.max(axis=2).mean(axis=1), atol=2e-3)
    top = np.eye(3)[draws.argmax(axis=2)].mean(axis=1)
    np.testing.assert_allclose(largest, top, atol=5e-3)
    np.testing.assert_allclose(largest.sum(axis=1), 1.0, rtol=1e-5)  # quadrature


def test_the_concentration_is_found_again():
    rng, truth = np.random.default_rng(3), np.array([0.5, 1.0, 2.0])
    q = rng.dirichlet(truth, 4000)
    counts = np.array([rng.multinomial(8, row) for row in q])
    # relative deviations of about 3 % each; four of them
    np.testing.assert_allclose(fit_concentration(counts), truth, rtol=0.12)


def test_one_label_an_item_is_refused():
    with pytest.raises(ValueError, match="two labels or more"):
        label_ceiling(np.eye(3))


def test_the_order_of_items_by_the_other_annotators():
    nan = np.nan
    # the first rated 1 < 2 < 3, as do the others' means 1 < 3, but 2 is tied with 3:
    # pairs right 1, 1, 1/2; the second rated 1 < 3 = 3, by the first: 2 of 2 right
    ratings = np.array([[1.0, 1.0, nan], [2.0, 3.0, nan], [3.0, 3.0, nan]])
    found = leave_one_out_pairs(ratings)
    np.testing.assert_allclose(found.mean, (2.5 + 2) / 5, rtol=1e-12)
    noise = np.random.default_rng(4).normal(size=(300, 2))
    truth = np.random.default_rng(5).normal(size=(300, 1))
    same = leave_one_out_pairs(truth + 0 * noise)
    assert same.mean == 1.0
    # two normals of correlation 1/2 order two items alike with 1/2 + asin(1/2) / pi
    found = leave_one_out_pairs(truth + noise)
    assert found.low < 2 / 3 < found.high
    assert np.isnan(leave_one_out_pairs(np.full((3, 1), 1.0)).mean)
