"""Soft labels by a fitted scale: against planted probabilities, and in an export."""

import json

import numpy as np
import pytest

from experiments import annotate
from jaxalign.data import readers
from jaxalign.data.records import Preference
from jaxalign.evaluation.agreement.graded_scale import ScaleFit
from jaxalign.evaluation.intervals import Interval
from jaxalign.feedback import store
from jaxalign.feedback.judgements import signed_strength
from jaxalign.pipeline.annotation_study import soft_labels
from tests.support.simulated_study import begin, crowd, judge_all, number_item, worth


def test_symmetric_rising_and_half_without_a_difference():
    thresholds = [Interval(x, x, x) for x in (0.6, 1.4, 2.8)]
    spread = Interval(1.5, 1.5, 1.5)
    p = soft_labels.label_probs(ScaleFit(thresholds, spread, None, None), 8)
    np.testing.assert_allclose(p + p[::-1], np.ones(8), rtol=1e-6)
    assert (np.diff(p) < 0).all() and p[3] > 0.5
    still = Interval(1e-9, 0.0, 0.0)
    p = soft_labels.label_probs(ScaleFit(thresholds, still, None, None), 8)
    np.testing.assert_allclose(p, np.full(8, 0.5), atol=1e-6)


def test_sides_alone_are_the_square_of_the_sigmoid():
    # 2 levels: E[s(D) | first] = E[s(D)^2] / E[s(D)] = 2 E[s(D)^2], D normal
    spread = Interval(2.0, 2.0, 2.0)
    p = soft_labels.label_probs(ScaleFit([], spread, None, None), 2)
    d = 2.0 * np.random.default_rng(0).normal(size=400_000)
    expected = 2 * np.mean(1 / (1 + np.exp(-d)) ** 2)
    np.testing.assert_allclose(p[0], expected, atol=3e-3)  # standard error 0.001


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("study")
    begin(folder, [number_item(f"i{k}", rng.normal(0, 1, 2)) for k in range(500)])
    judge_all(folder, crowd(2))
    return folder


def test_labels_are_how_often_the_side_is_right(study):
    """Of judgements of one strength, another look at the pair agrees so often."""
    items, said = store.items(study), store.judgements(study)
    label = soft_labels.fit_soft_labels(items, said)
    by_strength = {}
    for judgement in said:
        strength = signed_strength(judgement)
        first, second = worth(items[judgement.item])
        gap = (first - second) * np.sign(strength)
        entry = by_strength.setdefault(abs(strength), ([], []))
        entry[0].append(label(judgement))
        entry[1].append(1 / (1 + np.exp(-gap)))  # the truth
    for probs, truth in by_strength.values():
        assert len(set(np.round(probs, 9))) == 1  # of both sides and orders
        # some 250 pairs of each strength: standard error of about 0.02
        assert abs(np.mean(probs) - np.mean(truth)) < 0.06


def test_an_export_has_them(study, tmp_path):
    counts = annotate.main(
        annotate.Config(out=study, export=tmp_path, soft_labels=True)
    )
    assert counts["pairs"] == 1000
    pairs, _ = readers.read(tmp_path / "pairs.jsonl", Preference)
    probs = {round(pair.label_prob, 6) for pair in pairs}
    assert len(probs) == 4 and 0.5 < min(probs) < max(probs) < 1
    row = json.loads((tmp_path / "pairs.jsonl").read_text().splitlines()[0])
    assert row["margin"] >= 0
    with pytest.raises(ValueError, match="leave --soft-labels out"):
        annotate.main(
            annotate.Config(
                out=study, export=tmp_path, soft_labels=True, aggregate=True
            )
        )


def test_without_second_looks_there_is_nothing_to_fit(tmp_path):
    begin(tmp_path, [number_item(f"i{k}", (1, 2)) for k in range(5)])
    judge_all(tmp_path, crowd(1))
    with pytest.raises(ValueError, match="two people or more"):
        soft_labels.fit_soft_labels(store.items(tmp_path), store.judgements(tmp_path))
