"""Annotators' parameters and the graded scale: planted values, limits, summaries."""

import numpy as np
import pytest

from jaxalign.evaluation.agreement import (
    annotator_model,
    annotator_summary,
    graded_scale,
)
from jaxalign.evaluation.agreement.annotator_model import fit_annotators
from jaxalign.evaluation.agreement.graded_scale import fit_scale

THRESHOLDS = np.array([0.6, 1.4, 2.8])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def planted_votes(seed, annotators=8, pairs=400, each=6):
    """Judgements of annotators with planted parameters, and these."""
    rng = np.random.default_rng(seed)
    sharpness = np.exp(rng.normal(0.5, 0.4, annotators))
    bias = rng.normal(0.0, 0.5, annotators)
    lapse = rng.uniform(0.05, 0.3, annotators)
    delta = rng.normal(0.0, 1.0, pairs)
    item = np.repeat(np.arange(pairs), each)
    who = np.concatenate([rng.permutation(annotators)[:each] for _ in range(pairs)])
    swapped = rng.random(len(item)) < 0.5
    shown = np.where(swapped, -delta[item], delta[item])
    p = (1 - lapse[who]) * sigmoid(sharpness[who] * shown + bias[who]) + lapse[who] / 2
    left = rng.random(len(item)) < p
    return (item, who, left, swapped), delta, (sharpness, bias, lapse)


@pytest.mark.parametrize("known", [True, False])
def test_planted_parameters_are_in_their_intervals_at_the_nominal_rate(known):
    covered = []
    for seed in range(3):
        rows, delta, truth = planted_votes(seed)
        fit = fit_annotators(*rows, difference=delta if known else None)
        for found, true in zip(fit[:3], truth, strict=True):
            covered += [i.low <= t <= i.high for i, t in zip(found, true, strict=True)]
    # 72 intervals of 95 %: 0.95 less 3 standard errors of 0.026
    assert len(covered) == 72 and np.mean(covered) > 0.873


def test_unknown_differences_are_found():
    rows, delta, _ = planted_votes(0)
    fit = fit_annotators(*rows)
    assert np.corrcoef(fit.difference, delta)[0, 1] > 0.75
    z = (fit.difference - delta) / fit.difference_sd
    # posterior deviations: z is about standard normal over 400 pairs
    assert abs(np.std(z) - 1) < 0.15 and np.mean(np.abs(z) < 1.96) > 0.92


def test_swapping_what_was_shown_changes_nothing_but_the_bias():
    (item, who, left, swapped), delta, _ = planted_votes(1)
    fit = fit_annotators(item, who, left, swapped, difference=delta)
    mirrored = fit_annotators(item, who, ~left, ~swapped, difference=delta)
    for a, b in zip(fit.bias, mirrored.bias, strict=True):
        # mirrored sums in float64, which agree to the bit here
        np.testing.assert_allclose(a.mean, -b.mean, atol=1e-9)
    for name in ("sharpness", "lapse"):
        means = [[i.mean for i in getattr(f, name)] for f in (fit, mirrored)]
        np.testing.assert_allclose(*means, rtol=1e-9)


def test_the_maximum_is_one():
    # no gradient at the estimate: central differences of the log posterior are 0
    rows, delta, _ = planted_votes(2, annotators=2, each=2)
    fit = fit_annotators(*rows, difference=delta)
    x = np.array(
        [
            [np.log(i.mean) for i in fit.sharpness],
            [i.mean for i in fit.bias],
            [np.log(i.mean / (1 - i.mean)) for i in fit.lapse],
        ]
    )

    def log_posterior(x):
        item, who, left, swapped = rows
        log_k, b, logit = x[:, who]
        z = np.exp(log_k) * np.where(swapped, -delta[item], delta[item]) + b
        p = (1 - sigmoid(logit)) * sigmoid(z) + sigmoid(logit) / 2
        prior = (x - annotator_model.PRIOR_MEAN[:, None]) / 1.0
        prior = np.sum((prior / annotator_model.PRIOR_SD[:, None]) ** 2) / 2
        return np.sum(np.log(np.where(left, p, 1 - p))) - prior

    for index in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[index] = 1e-4
        slope = (log_posterior(x + step) - log_posterior(x - step)) / 2e-4
        assert abs(slope) < 1e-4


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(ValueError, match="lengths"):
        fit_annotators(np.zeros(2, int), np.zeros(1, int), np.ones(2), np.ones(2))


def graded(seed, levels, pairs=500, each=3, spread=1.5):
    """Positions on a scale: the levels that logistic noise around Delta reaches."""
    rng = np.random.default_rng(seed)
    thresholds = THRESHOLDS[: (levels - 1) // 2]
    middle = [0.0] if levels % 2 == 0 else []
    cuts = np.concatenate([thresholds[::-1], middle, -thresholds])
    delta = rng.normal(0.0, spread, pairs)
    item = np.repeat(np.arange(pairs), each)
    noisy = delta[item] + rng.logistic(size=len(item))
    return item, 1 + np.sum(noisy[:, None] < cuts, axis=1), delta, thresholds


@pytest.mark.parametrize(
    "levels, known",
    [
        (3, False),
        (8, True),
        pytest.param(8, False, marks=pytest.mark.slow),
        pytest.param(2, False, marks=pytest.mark.slow),
        pytest.param(4, False, marks=pytest.mark.slow),
    ],
)
def test_planted_thresholds_are_in_their_intervals(levels, known):
    item, position, delta, thresholds = graded(20 + levels, levels)
    fit = fit_scale(item, position, levels=levels, difference=delta if known else None)
    # 3 standard errors: half an interval is 1.96 of them, in logs
    for found, true in zip(fit.thresholds, thresholds, strict=True):
        half = np.log(found.high / found.mean)
        assert abs(np.log(true / found.mean)) < 3 / 1.96 * half
    half = np.log(fit.spread.high / fit.spread.mean)
    assert abs(np.log((1.0 if known else 1.5) / fit.spread.mean)) < 3 / 1.96 * half


def test_two_levels_are_logistic_regression():
    # 3 of 4 prefer the first, whose difference is 1: spread log 3 (the prior: -0.01 %)
    position = np.array([1, 1, 1, 2] * 250)
    fit = fit_scale(np.zeros(1000, int), position, levels=2, difference=np.ones(1))
    assert fit.thresholds == []
    np.testing.assert_allclose(fit.spread.mean, np.log(3.0), rtol=3e-4)
    # log spread: variance 1 / (n p (1 - p) spread^2)
    sd = 1 / np.sqrt(1000 * 3 / 16) / np.log(3.0)
    np.testing.assert_allclose(
        np.log(fit.spread.high / fit.spread.mean), 1.96 * sd, rtol=0.01
    )


def test_a_position_off_the_scale_is_refused():
    with pytest.raises(ValueError, match="on a scale of 1 to 8"):
        fit_scale(np.zeros(2, int), np.array([1, 9]), levels=8)


def test_levels_mean_what_repeats_say():
    # planted: a strong level's side is repeated in s(2) of cases, a weak one's in s(.3)
    rng = np.random.default_rng(0)
    delta = np.repeat([2.0, 0.3], 3000)
    item = np.repeat(np.arange(6000), 2)
    strength = np.where(delta[item] > 1, 3.5, 0.5)
    first = rng.random(len(item)) < sigmoid(delta[item])
    found = graded_scale.side_agreement_by_level(
        item, np.where(first, strength, -strength)
    )
    for level, d in ((3.5, 2.0), (0.5, 0.3)):
        p = sigmoid(d)
        both = p**2 + (1 - p) ** 2
        assert found[level].low < both < found[level].high


class TestSummary:
    def test_by_hand(self):
        # pair 0: two for the first, one for the second; pair 1: one each, and a tie
        item = np.array([0, 0, 0, 1, 1, 1])
        who = np.array([0, 1, 2, 0, 1, 2])
        strength = np.array([0.5, 3.5, -0.5, 1.5, -1.5, 0.0])
        swapped = np.array([False, True, False, True, True, False])
        summary = annotator_summary.summarize_pairs(
            item, who, strength, swapped, fit=False
        )
        a, b, c = summary.annotators
        assert [row.judgements for row in (a, b, c)] == [2, 2, 2]
        # a chose left, then right; b right, then left; c right
        assert [row.left.mean for row in (a, b, c)] == [0.5, 0.5, 0.0]
        # a against {b, c} tied: 1/2, against b: 0; c against both: 0
        assert [row.agreement.mean for row in (a, b, c)] == [0.25, 0.25, 0.0]
        assert [(d.item, d.first, d.second, d.ties) for d in summary.divided] == [
            (1, 1, 1, 1),
            (0, 2, 1, 0),
        ]
        assert np.isnan(a.bias.mean)

    def test_the_one_with_a_bias_stands_out(self):
        (item, who, left, swapped), _, _ = planted_votes(3)
        left = left | (who == 2)  # the third always chooses the left side
        strength = np.where(left != swapped, 0.5, -0.5)
        summary = annotator_summary.summarize_pairs(item, who, strength, swapped)
        bias = [row.bias for row in summary.annotators]
        assert bias[2].low > max(b.mean for i, b in enumerate(bias) if i != 2)
        assert summary.annotators[2].left.mean == 1.0
        assert summary.ceiling is not None and 0.5 < summary.ceiling.estimate.mean < 1
        assert 0 < summary.alpha.mean < 1

    def test_ties_alone_are_summed_up(self):
        summary = annotator_summary.summarize_pairs(
            np.array([0, 0]), np.array([0, 1]), np.zeros(2), np.zeros(2, bool)
        )
        assert summary.ceiling is None and summary.divided == []
        assert np.isnan(summary.annotators[0].left.mean)

    def test_an_annotator_of_ties_alone_has_no_fit(self):
        item, who = np.array([0, 0, 1]), np.array([0, 1, 2])
        strength = np.array([0.5, 0.5, 0.0])
        summary = annotator_summary.summarize_pairs(item, who, strength, who > 5)
        assert np.isnan(summary.annotators[2].bias.mean)
        assert np.isfinite(summary.annotators[0].bias.mean)
