"""Simulated people through the page's HTTP: planted values, and the ceiling."""

import re

import numpy as np
import pytest

from jaxalign.evaluation import linear_world, pair_choice
from jaxalign.evaluation.agreement import label_ceiling
from jaxalign.evaluation.agreement.annotator_model import fit_annotators
from jaxalign.feedback import store
from jaxalign.feedback.judgements import Item, signed_strength
from jaxalign.pipeline.simulated_annotators import SimulatedAnnotator
from tests.support.simulated_study import begin, crowd, judge_all, number_item, worth

pytest.importorskip("starlette")
NUMBER = re.compile(r"-?\d+\.\d{3}")


def judge_over_http(client, annotator):
    """Judges whatever the page shows until it shows nothing; returns how often."""
    count = 0
    state = client.get("/state").json()
    while state["cards"]:
        card = state["cards"][0]
        shown = tuple(NUMBER.findall(card["html"]))  # left to right
        assert len(shown) == 2
        item = Item(" ".join(shown), "pair", [], shown)
        value = annotator.position(item, (0, 1), 8)
        body = {"ticket": card["ticket"], "value": value, "seconds": 0.0}
        reply = client.post("/answer", json=body)
        assert reply.status_code == 200
        state, count = reply.json(), count + 1
    return count


@pytest.mark.slow
def test_parameters_come_back_through_the_page(tmp_path):
    from tests.feedback.studies import served

    rng = np.random.default_rng(1)
    items = [number_item(f"i{k}", rng.normal(0, 1, 2)) for k in range(300)]
    people = [
        SimulatedAnnotator("sharp", worth, 3.0, lapse=0.05),
        SimulatedAnnotator("left", worth, 1.5, bias=1.0, lapse=0.05),
        SimulatedAnnotator("tired", worth, 2.0, bias=-0.3, lapse=0.4),
    ]
    with served(tmp_path, items, overlap=3) as client:
        for annotator in people:
            assert judge_over_http(client(annotator.name), annotator) == 300
    said = store.judgements(tmp_path)
    names = [a.name for a in people]
    place = {item.id: i for i, item in enumerate(items)}
    strength = np.array([signed_strength(j) for j in said])
    swapped = np.array([j.order == (1, 0) for j in said])
    assert 0.45 < swapped.mean() < 0.55  # the queue balances sides
    fit = fit_annotators(
        np.array([place[j.item] for j in said]),
        np.array([names.index(j.annotator) for j in said]),
        (strength > 0) != swapped,
        swapped,
        difference=np.array([worth(i)[0] - worth(i)[1] for i in items]),
    )
    for i, annotator in enumerate(people):
        for name in ("sharpness", "bias", "lapse"):
            found = getattr(fit, name)[i]
            # 3 standard errors on either side: half an interval is 1.96
            low = found.mean - 1.5 * (found.mean - found.low)
            high = found.mean + 1.5 * (found.high - found.mean)
            assert low < getattr(annotator, name) < high, (annotator.name, name)


def test_the_ceiling_is_what_a_reward_model_reaches(tmp_path):
    """Within 2 points: single labels of new pairs, by the same people."""
    rng = np.random.default_rng(2)
    truth = linear_world.make_weights(rng, 6, 1.0)
    x = rng.normal(size=(3000, 2, 6))
    begin(tmp_path, [number_item(f"i{k}", x[k] @ truth) for k in range(3000)])
    judge_all(tmp_path, crowd(3, sharpness=1.5, bias=0.3, lapse=0.1))
    said = store.judgements(tmp_path)
    item = np.array([int(j.item[1:]) for j in said])
    first = np.array([signed_strength(j) > 0 for j in said])
    train = item < 1000
    counts = np.zeros((1000, 2))
    np.add.at(counts, (item[train], np.where(first[train], 0, 1)), 1)
    ceiling = label_ceiling.label_ceiling(counts).estimate.mean
    difference = x[:, 0] - x[:, 1]
    weights, _ = pair_choice.score_posterior(
        difference[item[train]], first[train].astype(float), prior_sd=10.0
    )
    right = (difference[item] @ weights > 0) == first
    accuracy = right[~train].mean()  # of 6000 labels: standard error 0.006
    assert abs(ceiling - accuracy) < 0.02, (ceiling, accuracy)
    assert 0.6 < accuracy < 0.8
