"""Which item is next: leases, active choice, balanced sides, replay."""

import collections
import random

import pytest

from jaxalign.feedback import store
from jaxalign.feedback.judgements import Event
from jaxalign.feedback.queue import Queue
from jaxalign.feedback.settings import Settings, check_scale
from jaxalign.feedback.sides import Sides
from jaxalign.feedback.study import Study
from tests.feedback.studies import begin, make_items


def make_queue(count, *, score=None, **settings):
    queue = Queue(Settings(**settings), score=score, rng=random.Random(0))
    for item in make_items(count):
        queue.add(item)
    return queue


def assign(queue, annotator, ticket, time=0.0):
    body = queue.choose(annotator)
    if body is not None:
        queue.apply(Event(0, time, annotator, "assignment", ticket, body))
    return body


def test_an_active_choice_has_the_probability_that_is_stored():
    # scores 0, 1, 3 and a random share of 0.4: p = 0.4 / 3 + 0.6 * (0, 1/4, 3/4)
    scores = {"i0": 0.0, "i1": 1.0, "i2": 3.0}
    score = lambda items: [scores[item.id] for item in items]
    queue = make_queue(3, score=score, choice="active", random_share=0.4)
    drawn = collections.Counter()
    probability = {}
    for _ in range(6000):
        body = queue.choose("ann")
        drawn[body["item"]] += 1
        probability[body["item"]] = body["probability"]
    wanted = {"i0": 0.4 / 3, "i1": 0.4 / 3 + 0.15, "i2": 0.4 / 3 + 0.45}
    assert probability == pytest.approx(wanted)
    for name, p in wanted.items():  # 4 standard deviations of 6,000 draws
        assert abs(drawn[name] / 6000 - p) < 4 * (p * (1 - p) / 6000) ** 0.5
    # scores that say nothing are a random choice; so is no function
    for other in (lambda items: [0.0] * len(items), None):
        queue = make_queue(4, score=other, choice="active")
        assert queue.choose("ann")["probability"] == pytest.approx(0.25)
    assert make_queue(4).choose("ann")["probability"] == 1.0


def test_a_lease_ends_and_the_item_goes_to_others():
    queue = make_queue(1, lease=100.0)
    assert assign(queue, "ann", "t1")["item"] == "i0"
    assert queue.choose("bob") is None
    queue.expire(now=100.0)
    assert queue.choose("bob") is None
    queue.expire(now=100.1)
    assert queue.choose("bob")["item"] == "i0"
    assert queue.worker("ann").lapsed["t1"].item == "i0"


def test_the_last_items_are_not_held_before_they_are_shown(tmp_path):
    study = Study(tmp_path, begin(tmp_path, make_items(3)))
    # 3 items for one: two are held; for two people one each
    assert len(study.hold("ann")) == 2
    assert len(study.hold("bob")) == 1
    study.close()
    study = Study(tmp_path / "b", begin(tmp_path / "b", make_items(1)))
    assert len(study.hold("ann")) == 1 and study.hold("bob") == []
    study.close()


def test_an_answer_after_the_lease_is_taken(tmp_path):
    now = [1000.0]
    own = begin(tmp_path, make_items(1), lease=60.0)
    study = Study(tmp_path, own, clock=lambda: now[0])
    (held,) = study.hold("ann")
    now[0] += 100.0
    (other,) = study.hold("bob")
    body = {"ticket": held.ticket, "value": 1, "seconds": 2}
    assert study.answer("ann", body).status == 200
    # both have worked on it, and nothing that was done is thrown away
    assert study.answer("bob", {**body, "ticket": other.ticket}).status == 200
    assert study.hold("bob") == []
    study.close()
    assert {j.annotator for j in store.judgements(tmp_path)} == {"ann", "bob"}


def test_sides_are_balanced_over_items_and_annotators():
    sides = Sides(random.Random(0))
    orders = collections.defaultdict(list)
    for n in range(100):
        order = sides.choose("ann", f"i{n}", 2)
        sides.record("ann", f"i{n}", order)
        orders["ann"].append(order)
    assert orders["ann"].count((0, 1)) == 50
    # every second one is drawn: the sequence is no plain alternation
    assert orders["ann"] != [orders["ann"][n % 2] for n in range(100)]
    other = [sides.choose("bob", f"i{n}", 2) for n in range(100)]
    assert all(a != b for a, b in zip(orders["ann"], other, strict=True))
    firsts = collections.Counter(sides.choose("ann", "r", 3)[0] for _ in range(600))
    assert min(firsts.values()) > 150  # 200 each, 4 standard deviations are 46


def test_the_same_events_give_the_same_queue(tmp_path):
    settings = {"overlap": 2, "repeat": 0.5, "lease": 1e6}
    own = begin(tmp_path, make_items(12), **settings)
    study = Study(tmp_path, own)
    for n in range(60):
        name = f"p{n % 3}"
        held = study.hold(name)
        if n % 7 == 6:
            study.undo(name, held[0].ticket if held else None)
        elif held:
            value = "skip" if n % 11 == 0 else 1 + n % 8
            body = {"ticket": held[0].ticket, "value": value, "seconds": 0}
            study.answer(name, body)
    study.close()
    again = Study(tmp_path, own)
    for name, worker in study.queue.workers.items():
        other = again.queue.workers[name]
        assert list(worker.done) == list(other.done)
        assert [a.ticket for a in worker.held] == [a.ticket for a in other.held]
        assert worker.due == other.due and worker.assigned == other.assigned
    assert list(study.queue.open) == list(again.queue.open)
    assert study.queue.labels == again.queue.labels
    again.close()


def test_a_failed_commit_is_no_judgement(tmp_path, monkeypatch):
    own = begin(tmp_path, make_items(3))
    study = Study(tmp_path, own)
    held = study.hold("ann")[0]
    study.last.result()

    def fail(*_):
        raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(study.store, "append", fail)
        study.answer("ann", {"ticket": held.ticket, "value": 1, "seconds": 1})
        with pytest.raises(OSError, match="no space"):
            study.last.result()
    # what comes after it is refused, too, though the disk has room: it may rest on it
    study.hold("bob")
    with pytest.raises(OSError, match="no space"):
        study.last.result()
    study.recover()
    assert study.queue.worker("ann").done == {}
    assert study.hold("ann")[0].ticket == held.ticket
    study.answer("ann", {"ticket": held.ticket, "value": 1, "seconds": 1})
    study.last.result()
    assert len(store.judgements(tmp_path)) == 1
    study.close()


def test_another_scale_is_refused():
    stored = Settings(levels=8).to_json()
    check_scale(Settings(levels=8, overlap=5, title="Other"), stored)
    with pytest.raises(ValueError, match="begun with levels 8, .* asked for levels 4"):
        check_scale(Settings(levels=4), stored)
    with pytest.raises(ValueError, match="kind 'pairs': expected one of pairwise"):
        Settings(kind="pairs")
