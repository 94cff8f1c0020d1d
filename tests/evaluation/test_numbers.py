"""Accuracies, win rates, KL and best-of-n, by hand and by enumeration."""

import numpy as np
import pytest

from jaxalign.evaluation import preference, sample_metrics


def test_a_tie_is_half_right():
    chosen = np.array([3.0, 1.0, 2.0, 2.0])
    rejected = np.array([1.0, 3.0, 2.0, 0.0])
    assert preference.agreement(chosen, rejected).tolist() == [1.0, 0.0, 0.5, 1.0]
    assert preference.accuracy(chosen, rejected, units="each").mean == 0.625
    # and the other way round it is as wrong as it was right
    assert preference.accuracy(rejected, chosen, units="each").mean == 0.375
    assert sample_metrics.win_rate(chosen, rejected, units="each").mean == 0.625
    with pytest.raises(ValueError, match="a score of row 1 is NaN"):
        preference.accuracy(np.array([1.0, np.nan]), np.zeros(2), units="each")


def test_no_model_beats_bayes_accuracy():
    rng = np.random.default_rng(0)
    gap = rng.normal(0, 1, 20_000)
    p = 1 / (1 + np.exp(-gap))
    first = rng.random(20_000) < p
    p_chosen = np.where(first, p, 1 - p)
    true_gap = np.where(first, gap, -gap)
    best = preference.bayes_accuracy(p_chosen)
    assert preference.bayes_accuracy(np.array([0.9, 0.4, 0.5])) == pytest.approx(2 / 3)
    # the true reward reaches it: binomial deviation .0033, three of which are .01
    accuracy = lambda gap: preference.accuracy(gap, np.zeros(20_000), units="each").mean
    assert accuracy(true_gap) == pytest.approx(best, abs=0.01)
    noisy = true_gap + rng.normal(0, 2, 20_000)
    assert accuracy(noisy) < best - 0.05


def test_kl_is_the_mean_log_ratio_of_whole_answers():
    logp, ref_logp = np.array([-3.0, -5.0]), np.array([-4.0, -5.5])
    found = sample_metrics.kl_from_reference(logp, ref_logp, units="each")
    # (1 + 0.5) / 2, between 0.5 and 1
    assert found == (0.75, 0.5, 1.0)
    assert sample_metrics.kl_from_reference(logp, logp, units="each") == (0.0, 0.0, 0.0)


def test_lengths_and_ends():
    # 9 is the end token; in the prompt of row 1 it ends nothing
    tokens = np.array([[1, 5, 9, 0], [9, 4, 4, 4], [1, 9, 0, 0]])
    mask = np.array([[0, 1, 1, 0], [0, 1, 1, 1], [0, 1, 0, 0]], bool)
    assert sample_metrics.answer_lengths(mask).tolist() == [2, 3, 1]
    assert sample_metrics.has_eos(tokens, mask, 9).tolist() == [True, False, True]


def test_kl_of_best_of_n():
    # log n - (n - 1) / n
    for n, kl in [(1, 0.0), (2, 0.1931), (8, 1.2044), (64, 3.1745)]:
        assert sample_metrics.kl_best_of_n(n) == pytest.approx(kl, abs=5e-5)


@pytest.mark.parametrize("answers", [2, 10, 1000])
def test_kl_of_best_of_n_bounds_that_of_discrete_answers(answers):
    # equally probable answers: the i-th of A is the best of n with probability
    # (i/A)^n - ((i-1)/A)^n
    n = 4
    grid = np.arange(answers + 1) / answers
    best = np.diff(grid**n)
    exact = np.sum(best * np.log(best * answers))
    bound = sample_metrics.kl_best_of_n(n)
    assert exact <= bound
    # and meets it as the answers become many: the gap falls as 1 / answers
    assert bound - exact < n / answers
