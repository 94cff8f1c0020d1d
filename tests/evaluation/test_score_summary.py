"""Summaries of scores, by hand and by simulation."""

import numpy as np
import pytest

from jaxalign.evaluation import score_summary
from jaxalign.evaluation.resampling import bootstrap_rows


def test_a_statistic_of_a_mean_is_the_interval_of_a_mean():
    rng = np.random.default_rng(0)
    values, units = rng.normal(2.0, 1.0, 400), np.arange(400) // 2
    found = bootstrap_rows(np.mean, values, units=units, resamples=4000)
    pairs = values.reshape(-1, 2).mean(axis=1)
    half = 1.96 * pairs.std(ddof=1) / np.sqrt(200)
    assert found.mean == values.mean()
    # 4000 rounds place a 2.5 % quantile to 0.04 standard errors of 1.96: 2 %, twice
    np.testing.assert_allclose(found.high - found.low, 2 * half, rtol=0.08)


def test_copies_of_a_unit_are_no_evidence():
    values = np.random.default_rng(1).normal(size=100)
    copies, units = np.repeat(values, 5), np.repeat(np.arange(100), 5)
    alone = bootstrap_rows(np.std, values, units="each")
    # float64 rounding
    np.testing.assert_allclose(
        bootstrap_rows(np.std, copies, units=units), alone, rtol=1e-9
    )
    assert np.isnan(bootstrap_rows(np.std, values, units=np.zeros(100)).low)


def test_the_interval_of_a_deviation_covers():
    rng = np.random.default_rng(2)
    found = [
        bootstrap_rows(np.std, rng.normal(size=80), units="each", resamples=300)
        for _ in range(200)
    ]
    covered = np.mean([each.low <= 1.0 <= each.high for each in found])
    # percentile intervals of a deviation of 80 are some % short of 95; 4 binomial
    # deviations of 200 simulations are 6 %
    assert 0.85 < covered < 0.99


def test_summary_by_hand():
    scores = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = score_summary.summarize(scores, np.array(["a", "a", "b", "c", "d"]))
    assert (found["answers"], found["prompts"]) == (5, 4)
    # variance (4 + 1 + 0 + 1 + 4) / 5 = 2
    assert found["mean"].mean == 3.0 and found["std"].mean == np.sqrt(2.0)
    assert [found[q].mean for q in ("q25", "q50", "q75")] == [2.0, 3.0, 4.0]
    assert found["q05"].mean == pytest.approx(1.2)  # 0.05 of the way over 4 gaps


def test_groups_keep_their_order_and_their_prompts():
    scores = np.array([1.0, 5.0, 3.0, 7.0])
    groups, units = np.array(["b", "a", "b", "a"]), np.array([1, 2, 1, 3])
    first, second = score_summary.group_means(scores, groups, units)
    assert (first["group"], first["answers"], first["prompts"]) == ("b", 2, 1)
    assert first["mean"].mean == 2.0 and first["std"] == 1.0
    assert np.isnan(first["mean"].low)  # one prompt has no interval
    assert (second["group"], second["mean"].mean) == ("a", 6.0)


def test_length_bins_hold_as_many_and_merge_equal_edges():
    labels = score_summary.length_bins(np.arange(1, 101), 4)
    names, counts = np.unique(labels, return_counts=True)
    assert set(names) == {"1-25", "26-50", "51-75", "76-100"}
    assert counts.tolist() == [25] * 4
    assert set(score_summary.length_bins(np.full(9, 7), 4)) == {"7-7"}
    # half of all answers are empty: the two lower edges are equal
    skewed = score_summary.length_bins(np.array([0, 0, 0, 0, 5, 6, 7, 8]), 4)
    assert list(dict.fromkeys(skewed.tolist())) == ["0-0", "5-6", "7-8"]


def test_correlation_with_length_by_hand():
    scores, lengths = np.array([1.0, 2.0, 4.0]), np.array([10.0, 30.0, 20.0])
    # deviations (-4/3, -1/3, 5/3) and (-10, 10, 0): 10 / sqrt(42/9 * 200) = 0.32733
    assert score_summary.correlation(scores, lengths) == pytest.approx(
        0.32733, abs=1e-5
    )
    # ranks (1, 2, 3) and (1, 3, 2): 1 - 6 * 2 / (3 * 8)
    assert score_summary.rank_correlation(scores, lengths) == pytest.approx(0.5)
    found = score_summary.length_correlation(np.ones(9), np.arange(9.0), "each")
    assert all(np.isnan(each.mean) for each in found.values())


def test_models_are_compared_by_prompt():
    rows = [
        ("x", "p1", 1.0),
        ("x", "p1", 3.0),
        ("x", "p2", 5.0),
        ("x", "p3", 9.0),
        ("y", "p2", 5.0),
        ("y", "p1", 1.0),
        ("z", "p4", 0.0),
    ]
    models, prompts, scores = map(np.array, zip(*rows, strict=True))
    (found,) = score_summary.model_differences(scores, models, prompts)
    assert (found["model"], found["other"], found["prompts"]) == ("x", "y", 2)
    # p1: 2 - 1, p2: 5 - 5
    assert found["difference"].mean == 0.5
    # p1: a tie and a win, p2: a tie: (3/4 + 1/2) / 2
    assert found["win_rate"].mean == 0.625
