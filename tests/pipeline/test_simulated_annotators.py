"""Simulated annotators: their probabilities, and recovery of what was planted."""

import numpy as np
import pytest

from jaxalign.evaluation.agreement.annotator_model import fit_annotators
from jaxalign.evaluation.agreement.graded_scale import fit_scale
from jaxalign.feedback import store
from jaxalign.feedback.judgements import signed_strength
from jaxalign.pipeline.simulated_annotators import THRESHOLDS, SimulatedAnnotator
from tests.support.simulated_study import begin, crowd, judge_all, number_item, worth


def pairs(count, seed=0):
    rng = np.random.default_rng(seed)
    return [number_item(f"i{k}", rng.normal(0, 1, 2)) for k in range(count)]


@pytest.mark.parametrize("levels", [2, 4, 8])
def test_positions_have_the_stated_probability_of_the_left(levels):
    item = number_item("i", (1.0, 0.0))
    people = [
        SimulatedAnnotator("a", worth, 2.0, bias=0.5, lapse=0.2, seed=k)
        for k in range(4000)
    ]
    for order in ((0, 1), (1, 0)):
        left = [a.position(item, order, levels) <= levels // 2 for a in people]
        # s(2 + .5) and s(-2 + .5), of 4000: standard error below 0.008
        gap = 2.5 if order == (0, 1) else -1.5
        expected = 0.8 / (1 + np.exp(-gap)) + 0.1
        assert abs(people[0].left_probability(item, order) - expected) < 1e-12
        assert abs(np.mean(left) - expected) < 0.03


def test_the_same_look_is_the_same_and_a_repeat_is_another():
    annotator, items = crowd(1, sharpness=0.2)[0], pairs(60)
    again = [annotator.position(i, (0, 1), 8) for i in items]
    assert [annotator.position(i, (0, 1), 8) for i in items] == again
    assert [annotator.position(i, (0, 1), 8, repeat=1) for i in items] != again


def test_rankings_of_a_sharp_annotator_are_by_utility():
    item = number_item("r", (0.0, 3.0, 1.0, 2.0), kind="ranking")
    assert crowd(1, sharpness=50.0)[0].ranks(item) == (4, 1, 3, 2)


def test_planted_parameters_come_back_through_a_study(tmp_path):
    """The store, signed strengths and sides: every step between a click and a fit."""
    people = [
        SimulatedAnnotator("sharp", worth, 3.0, bias=0.0, lapse=0.05),
        SimulatedAnnotator("left", worth, 1.5, bias=1.0, lapse=0.05),
        SimulatedAnnotator("tired", worth, 2.0, bias=-0.3, lapse=0.5),
    ]
    begin(tmp_path, pairs(500))
    assert judge_all(tmp_path, people) == 1500
    assert judge_all(tmp_path, people) == 0  # all is judged
    items, said = store.items(tmp_path), store.judgements(tmp_path)
    place = {name: i for i, name in enumerate(items)}
    names = [a.name for a in people]
    item = np.array([place[j.item] for j in said])
    who = np.array([names.index(j.annotator) for j in said])
    strength = np.array([signed_strength(j) for j in said])
    swapped = np.array([j.order == (1, 0) for j in said])
    left = (strength > 0) != swapped
    delta = np.array([worth(i)[0] - worth(i)[1] for i in items.values()])
    fit = fit_annotators(item, who, left, swapped, difference=delta)
    for i, annotator in enumerate(people):
        for name in ("sharpness", "bias", "lapse"):
            found = getattr(fit, name)[i]
            # 3 standard errors on either side: half an interval is 1.96
            low = found.mean - 1.5 * (found.mean - found.low)
            high = found.mean + 1.5 * (found.high - found.mean)
            assert low < getattr(annotator, name) < high, (annotator.name, name)
    sharp = who == 0
    # lapses blunt the scale a little, so one without them judges anew
    exact = SimulatedAnnotator("exact", worth, 3.0)
    judge_all(tmp_path, [exact])
    said = [j for j in store.judgements(tmp_path) if j.annotator == "exact"]
    item = np.array([place[j.item] for j in said])
    position = np.array([4.5 - signed_strength(j) for j in said]).astype(int)
    scale = fit_scale(item, position, levels=8, difference=delta)
    truth = [*THRESHOLDS[8], 3.0]
    for found, true in zip([*scale.thresholds, scale.spread], truth, strict=True):
        half = np.log(found.high / found.mean)
        assert abs(np.log(true / found.mean)) < 1.5 * half
    assert sharp.sum() == 500
