"""Agreement coefficients: worked examples, degenerate labels, all resamples at once."""

import time

import numpy as np
import pytest

from jaxalign.evaluation.agreement.coefficients import (
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    label_counts,
    observed_agreement,
)
from jaxalign.evaluation.resampling import bootstrap_statistic, resample_weights

# Krippendorff 2011: 4 annotators, 12 units, labels 1 to 5, 0 where missing
WORKED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, 0, 0, 0],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, 0, 3],
        [0, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, 0],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, 0],
    ]
)
# the example of textbooks: 10 items, 14 annotators, 5 labels
TEXTBOOK = np.array(
    [
        *([0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0]),
        *([2, 2, 8, 1, 1], [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2]),
        *([6, 5, 2, 1, 0], [0, 2, 2, 3, 7]),
    ]
)
COEFFICIENTS = {
    "agreement": observed_agreement,
    "fleiss": fleiss_kappa,
    "ac1": gwet_ac1,
    "nominal": lambda c, **w: krippendorff_alpha(c, level="nominal", **w),
    "ordinal": lambda c, **w: krippendorff_alpha(c, level="ordinal", **w),
    "interval": lambda c, **w: krippendorff_alpha(
        c, level="interval", values=np.arange(c.shape[1]), **w
    ),
    "ratio": lambda c, **w: krippendorff_alpha(
        c, level="ratio", values=np.arange(c.shape[1]), **w
    ),
}


def counts_of(table):
    """Counts of labels 1 to 5 of each unit, of a table [annotators units]."""
    annotator, unit = np.nonzero(table)
    shape = (table.shape[1], 5)
    return label_counts(unit, table[annotator, unit] - 1, shape=shape)


def random_counts(seed, items=40, labels=4, annotators=3):
    rng = np.random.default_rng(seed)
    q = rng.dirichlet(np.full(labels, 0.5), items)
    return np.array([rng.multinomial(annotators, row) for row in q], np.float64)


@pytest.mark.parametrize(
    ("level", "alpha"),
    [
        # as published, to the digits of the specification
        ("nominal", 0.743421),
        ("ordinal", 0.815388),
        ("interval", 0.849107),
        ("ratio", 0.797403),
    ],
)
def test_krippendorffs_worked_example(level, alpha):
    found = krippendorff_alpha(counts_of(WORKED), level=level, values=np.arange(1, 6))
    np.testing.assert_allclose(found, alpha, atol=1e-6)  # six digits are published


def test_the_ordinal_distance_by_its_definition():
    counts = counts_of(WORKED)
    counts = counts[counts.sum(axis=1) > 1]
    n = counts.sum(axis=0)
    # (sum of n_g for g = c..k, less half of both ends) squared, pair by pair
    distance = np.array(
        [
            [
                (n[min(c, k) : max(c, k) + 1].sum() - (n[c] + n[k]) / 2) ** 2 * (c != k)
                for k in range(5)
            ]
            for c in range(5)
        ]
    )
    m = counts.sum(axis=1)
    observed = np.sum(np.einsum("uc,ck,uk->u", counts, distance, counts) / (m - 1))
    alpha = 1 - (n.sum() - 1) * observed / (n @ distance @ n)
    found = krippendorff_alpha(counts_of(WORKED), level="ordinal")
    np.testing.assert_allclose(found, alpha, rtol=1e-12)  # sums in another order


def test_the_textbook_example_of_fleiss():
    # P = 0.378, Pe = 0.213, published as 0.210
    # three digits are published
    np.testing.assert_allclose(fleiss_kappa(TEXTBOOK), 0.210, atol=5e-4)


def test_ac1_by_hand():
    # items: aa, ab, b (one annotator): P = (1 + 0) / 2; shares of a: 1, 1/2, 0, so that
    # pi = 1/2 and 1/2, Pe = (1/4 + 1/4) / 1 = 1/2; AC1 = 0
    counts = np.array([[2, 0], [1, 1], [0, 1]])
    np.testing.assert_allclose(gwet_ac1(counts), 0.0, atol=1e-15)
    # without the last: pi = 3/4, 1/4; Pe = 3/16 + 3/16; AC1 = (1/2 - 3/8) / (5/8)
    np.testing.assert_allclose(gwet_ac1(counts[:2]), 0.2, rtol=1e-12)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_perfect_agreement_is_1_and_chance_about_0(name):
    rng, coefficient = np.random.default_rng(0), COEFFICIENTS[name]
    labels = rng.integers(0, 4, 3000)
    # float64 rounding
    np.testing.assert_allclose(coefficient(3.0 * np.eye(4)[labels]), 1.0, rtol=1e-12)
    chance = coefficient(rng.multinomial(3, np.full(4, 0.25), 3000))
    expected = 0.25 if name == "agreement" else 0.0
    # 9000 pairs of labels: a deviation of about 1 / sqrt(9000) = 0.011, four of them
    np.testing.assert_allclose(chance, expected, atol=0.045)


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_weights_are_repeated_items(name):
    counts = random_counts(1)
    (weights,) = resample_weights(len(counts), resamples=6, seed=2)
    together = COEFFICIENTS[name](counts, weights=weights)
    one_by_one = [
        COEFFICIENTS[name](np.repeat(counts, row.astype(int), axis=0))
        for row in weights
    ]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-10)  # other orders of sums


@pytest.mark.parametrize("name", COEFFICIENTS)
def test_equal_labels_have_no_coefficient(name):
    found = COEFFICIENTS[name](np.array([[3.0, 0.0], [3.0, 0.0]]))
    assert found == 1.0 if name == "agreement" else np.isnan(found)


def test_items_with_one_label_count_not():
    counts = random_counts(3)
    more = np.vstack([counts, np.eye(4)])
    for name in ("agreement", "nominal", "ordinal", "interval", "ratio"):
        found = COEFFICIENTS[name](more)
        # float64 rounding
        np.testing.assert_allclose(found, COEFFICIENTS[name](counts), rtol=1e-12)
    with pytest.raises(ValueError, match="1 to 3 labels; Fleiss' kappa needs the same"):
        fleiss_kappa(more)


def test_distances_that_need_values_say_so():
    counts = random_counts(4)
    with pytest.raises(ValueError, match="interval distances need a number for each"):
        krippendorff_alpha(counts, level="interval")
    with pytest.raises(ValueError, match="ratio distances need labels of 0 or more"):
        krippendorff_alpha(counts, level="ratio", values=np.arange(4) - 1.0)


def test_the_interval_covers_the_coefficient():
    truth = COEFFICIENTS["nominal"](random_counts(5, items=200_000))
    inside = 0
    for seed in range(100):
        counts = random_counts(100 + seed, items=80)
        found = bootstrap_statistic(
            lambda w, c=counts: krippendorff_alpha(c, level="nominal", weights=w),
            len(counts),
            seed=seed,
            resamples=300,
        )
        inside += found.low <= truth <= found.high
    # 95 % of 100, less 4 binomial deviations of 2.2 %
    assert inside / 100 > 0.95 - 4 * 0.022


def test_2000_resamples_of_999_items_take_seconds():
    counts = random_counts(6, items=999, labels=3)
    start = time.process_time()
    for coefficient in COEFFICIENTS.values():
        bootstrap_statistic(lambda w, f=coefficient: f(counts, weights=w), 999)
    # 0.8 s where it was measured; a loop over resamples would take 20
    assert time.process_time() - start < 10
