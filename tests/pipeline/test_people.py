"""Pairs for people: items of answers, waiting, rows of what was said."""

import dataclasses

import pytest

from jaxalign.data.records import Prompt
from jaxalign.feedback import store
from jaxalign.pipeline import people
from jaxalign.pipeline.answer_sources import SourcedAnswers
from tests.support.simulated_study import begin, crowd, judge_all

ASKED = [
    Prompt([{"role": "user", "content": x}], fields={"topic": x, "margin": 1.0})
    for x in "ab"
]
ANSWERS = SourcedAnswers(
    prompts=[ASKED[0]] * 5 + [ASKED[1]] * 4,
    texts=["1", "2", "1", "", "3", "7", "8", "9", "10"],
    sources=["old at 1", "new at 1"] * 4 + ["old at 1"],
    scores={},
)


def test_items_are_consecutive_different_answers():
    items = people.pair_items(ANSWERS)
    # of a: 1 and 2; the third, 3, has no partner
    assert [item.answers for item in items] == [("1", "2"), ("7", "8"), ("9", "10")]
    assert items[0].fields == {"topic": "a", "source": ["old at 1", "new at 1"]}
    assert items[1].fields["source"] == ["new at 1", "old at 1"]
    assert [item.prompt[0]["content"] for item in items] == ["a", "b", "b"]


def test_names_are_of_the_texts_alone():
    names = [item.id for item in people.pair_items(ANSWERS)]
    other = dataclasses.replace(ANSWERS, sources=["x"] * 9)
    assert [item.id for item in people.pair_items(other)] == names
    assert len(set(names)) == 3


def test_asking_again_adds_nothing(tmp_path):
    items = people.pair_items(ANSWERS)
    assert people.ask(tmp_path / "s", items[:2], round=0) == 2
    assert people.ask(tmp_path / "s", items, round=1) == 1
    assert list(store.rounds(tmp_path / "s").values()) == [0, 0, 1]
    assert store.settings(tmp_path / "s")["levels"] == 8


def test_a_study_of_another_kind_is_refused(tmp_path):
    begin(tmp_path, kind="ranking")
    with pytest.raises(ValueError, match="of kind ranking"):
        people.ask(tmp_path, [], round=0)


def test_waiting_ends_when_everybody_has_spoken(tmp_path, monkeypatch):
    items = people.pair_items(ANSWERS)
    people.ask(tmp_path, items, round=0)
    annotators, lines, looks = crowd(2, sharpness=9.0), [], []

    def sleep(seconds):
        looks.append(seconds)
        judge_all(tmp_path, annotators[: len(looks)])

    monkeypatch.setattr(people.time, "sleep", sleep)
    names = [item.id for item in items]
    people.wait_for_labels(tmp_path, names, labels=2, report=lines.append, poll=3.0)
    assert looks == [3.0, 3.0]
    assert len(lines) == 1 and "0 of 3 pairs" in lines[0] and "--overlap 2" in lines[0]
    people.wait_for_labels(tmp_path, names, labels=2, report=lines.append)
    assert len(looks) == 2  # nothing to wait for


def test_a_skip_is_waited_for_no_longer_and_is_no_row(tmp_path):
    items = people.pair_items(ANSWERS)
    people.ask(tmp_path, items, round=0)
    judge_all(tmp_path, crowd(3, sharpness=9.0))
    skipped = {"item": items[0].id, "kind": "pair", "seconds": 1.0, "order": [0, 1]}
    event = store.NewEvent("x", "judgement", skipped | {"value": "skip"})
    with store.Store(tmp_path) as study:
        study.append([event])
    names = [item.id for item in items]
    assert people.count_done(tmp_path, names, 3) == 3
    assert people.count_done(tmp_path, names, 4) == 1  # with the skip
    pairs, numbers = people.labeled_pairs(tmp_path, names[:2])
    assert len(pairs) == numbers["pairs"] == 6 and numbers["items"] == 2
    assert numbers["people"] == 4 and numbers["undecided"] == 1
    assert 0.5 < numbers["best_accuracy"] <= 1
    right = [float(pair["chosen"]) > float(pair["rejected"]) for pair in pairs]
    assert sum(right) >= 5 and {pair["topic"] for pair in pairs} == {"a", "b"}
