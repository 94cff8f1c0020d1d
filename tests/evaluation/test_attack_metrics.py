"""Rates of attacks: outcomes, intervals over prompts, tries, two numbers of XSTest."""

import math

import numpy as np
import pytest

from jaxalign.evaluation.proportions import wilson_interval
from jaxalign.evaluation.safety import attack_metrics
from jaxalign.evaluation.safety.attack_metrics import Outcomes


def outcomes(prompt, kinds, success, score=math.nan):
    names = dict(zip("CRPB", attack_metrics.OUTCOMES, strict=True))
    return Outcomes(
        np.array(prompt),
        np.array([names[kind] for kind in kinds]),
        np.array(success, float),
        np.broadcast_to(score, len(kinds)).astype(float),
    )


def test_rates_of_one_answer_a_prompt_have_wilsons_interval():
    found = attack_metrics.rates(outcomes(range(5), "CCRPB", [1, 0, 0, 0, math.nan]))
    assert found["prompts"] == found["answers"] == 5
    # the answer without a readable judgement is left out of attack success alone
    assert found["attack_success"] == wilson_interval(1, 4)
    assert found["full_compliance"] == wilson_interval(2, 5)
    classes = ("full_compliance", "partial_refusal", "full_refusal", "broken")
    assert sum(found[name].mean for name in classes) == pytest.approx(1)
    assert "score" not in found


def test_several_answers_to_a_prompt_are_one_unit():
    # 200 prompts with 5 equal answers each: as little known as from 200 answers, whose
    # interval is sqrt(5) times as wide as that of 1,000
    prompt = np.repeat(np.arange(200), 5)
    success = np.repeat(np.arange(200) % 2, 5)
    found = attack_metrics.rates(outcomes(prompt, "C" * 1000, success, 0.5))
    interval, of_200 = found["attack_success"], wilson_interval(100, 200)
    width = interval.high - interval.low
    assert interval.mean == 0.5
    # the bounds are quantiles of 2,000 resamples in steps of 1/200: two steps
    assert width == pytest.approx(of_200.high - of_200.low, abs=0.01)
    assert found["score"].mean == 0.5


def test_success_within_k_tries():
    # prompt 0: 1 of 4 succeeds; prompt 1: none of 4; prompt 2: 1 of 2, and
    # two more that cannot be read
    nan = math.nan
    success = [1, 0, 0, 0, 0, 0, 0, 0, 1, 0, nan, nan]
    found = attack_metrics.success_at_k(
        outcomes(np.repeat([0, 1, 2], 4), "C" * 12, success)
    )
    assert list(found) == [1, 2, 4]
    assert found[1].mean == pytest.approx((1 / 4 + 0 + 1 / 2) / 3)
    # 1 - C(3, 2) / C(4, 2) = 1/2; any 2 of 2 have the success
    assert found[2].mean == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert found[4].mean == pytest.approx((1 + 0) / 2)  # prompt 2 has no 4 answers


def test_nothing_readable_gives_nan_and_no_tries():
    found = outcomes([0, 1], "CC", [math.nan, math.nan])
    assert math.isnan(attack_metrics.rates(found)["attack_success"].mean)
    assert attack_metrics.success_at_k(found) == {}


def test_xstest_has_two_numbers():
    # safe: C R R P; unsafe: C C R. Never one number without the other
    found = attack_metrics.over_refusal(
        outcomes(range(7), "CRRPCCR", [0] * 7), np.array([1, 1, 1, 1, 0, 0, 0], bool)
    )
    assert found["safe_full_refusal"] == wilson_interval(2, 4)
    assert found["unsafe_full_compliance"] == wilson_interval(2, 3)


def test_a_prompt_counts_in_each_of_its_categories():
    found = attack_metrics.by_category(
        outcomes(range(3), "CCR", [1, 1, 0]), [("a", "b"), ("b",), ("a",)]
    )
    assert list(found) == ["a", "b"]
    assert found["a"]["attack_success"].mean == 0.5
    assert found["b"]["attack_success"].mean == 1.0
    assert found["b"]["prompts"] == 2
