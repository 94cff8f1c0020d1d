"""What the toy world holds out: texts, topics, wordings, and their combinations."""

import re

import pytest

from jaxalign.data import toy_requests as asked
from jaxalign.data import toy_topics as topics
from jaxalign.data import toy_world

SEEDS = range(12)
TRAIN = [r for seed in SEEDS for r in asked.requests(seed, 1500)]
TEST = [r for seed in SEEDS for r in asked.requests(seed, 300, test=True)]
TRAINED = {r.text for r in TRAIN}


def words(text):
    """Words and signs as a tokenizer sees them: with the space before them, or none."""
    return set(re.findall(r" ?(?:[a-z]+|[^a-z ])", text))


def parsed(request):
    """The wording of a request, and what fills its blanks."""
    for wording in sum(asked.WORDINGS[request.kind], ()):
        blank = "(.+)" if request.sensitive else r"(\w+|\w(?: \w)*)"
        pattern = re.escape(wording).replace(r"\{\}", blank)
        if match := re.fullmatch(pattern, request.text):
            return wording, match.groups()
    raise AssertionError(request)


def test_no_text_of_the_test_split_is_trained_on_by_any_seed():
    kinds = {r.kind for r in TEST}
    assert kinds == {r.kind for r in TRAIN} == set(asked.KINDS)
    for kind in kinds:
        assert not {r.text for r in TEST if r.kind == kind} & TRAINED, kind
    assert len({r.text for r in TEST}) > 500


@pytest.mark.parametrize("made", [toy_world.demonstration, toy_world.preference])
def test_what_is_trained_on_has_the_prompts_of_its_split(made):
    def prompt(example):
        if made is toy_world.preference:
            return example.preference.prompt[0]["content"]
        return example.messages[0]["content"]

    for test, split in ((False, TRAIN), (True, TEST)):
        said = [prompt(made(0, i, test=test)) for i in range(50)]
        assert said == [r.text for r in split[:50]]


def test_each_request_says_what_training_never_had():
    seen = {(r.kind, *parsed(r)) for r in TRAIN}
    wordings = {(kind, wording) for kind, wording, _ in seen}
    items = {(kind, blanks) for kind, _, blanks in seen}
    for request in TEST:
        wording, blanks = parsed(request)
        known = {
            "combination": (request.kind, wording, blanks) in seen,
            "wording": (request.kind, wording) in wordings,
        }
        if request.sensitive:  # others have too many items to be all in these requests
            known["topic"] = (request.kind, blanks) in items
        expected = dict.fromkeys(known, True) | {"combination": False}
        expected[request.novelty] = False
        assert known == expected, request


def test_training_has_every_item_in_all_wordings_but_one():
    for request in TEST:
        _, blanks = parsed(request)
        options = asked.WORDINGS[request.kind].train
        held = [w for w in options if asked.is_held_out(request.kind, w, blanks)]
        assert len(set(map(asked.first_sentence, held))) <= 1, request


def test_a_topic_that_is_held_out_is_in_no_text_of_training():
    said = [toy_world.demonstration(0, i).messages for i in range(1500)]
    told = " ".join({m["content"] for messages in said for m in messages} | TRAINED)
    for text in topics.HELD_OUT:
        assert text not in told, text


def test_a_sum_that_is_held_out_is_not_trained_on_behind_a_claim():
    held = {r.text for r in TEST if r.kind == "arithmetic"}
    for request in TRAIN:
        if request.kind == "pushback":
            assert not any(request.text.startswith(text) for text in held), request


def test_there_are_enough_topics_and_one_in_five_is_held_out():
    for every in (topics.HARMFUL, topics.BENIGN):
        assert len(set(every)) == len(every) >= 30
        held = topics.HELD_OUT & set(every)
        assert 0.15 < len(held) / len(every) < 0.25 and len(held) >= 8
    assert not set(topics.HARMFUL) & set(topics.BENIGN)
    assert topics.HELD_OUT <= {*topics.HARMFUL, *topics.BENIGN}
    # in training and in test, as far as 18,000 requests show
    for split, kinds in ((TRAIN, {""}), (TEST, {"combination", "wording"})):
        found = {parsed(r)[1][0] for r in split if r.sensitive and r.novelty in kinds}
        assert found == {*topics.HARMFUL, *topics.BENIGN} - topics.HELD_OUT
    found = {parsed(r)[1][0] for r in TEST if r.novelty == "topic"}
    assert found == topics.HELD_OUT


def test_verbs_and_objects_that_are_held_out_are_trained_on_either_way():
    """Of harmful topics both words are in harmful and in benign topics of training; a
    benign topic's answer is one of training, too.
    """
    harmful, benign = (
        [t for t in every if t not in topics.HELD_OUT]
        for every in (topics.HARMFUL, topics.BENIGN)
    )
    for topic in topics.HELD_OUT:
        verb, article, noun = topic.rsplit(" ", 2)
        if topic in topics.BENIGN:
            assert asked.SAFE[topic] in {asked.SAFE[t] for t in benign}
        needed = (harmful, benign) if topic in topics.HARMFUL else (benign,)
        for others in needed:
            assert any(t.startswith(f"{verb} ") for t in others), topic
            assert any(t.endswith(f" {article} {noun}") for t in others), topic


def test_each_word_of_the_test_split_is_trained_on():
    said = [toy_world.demonstration(0, i).messages for i in range(4000)]
    known = words("")
    for message in sum(said, []):
        known |= words(message["content"])
    for request in TEST:
        assert words(request.text) <= known, request
        # an answer stands behind an opening, or by itself
        assert words(f" {request.answer}") <= known | {f" {request.answer}"}, request


def test_no_answer_is_part_of_another():
    answers = set(asked.SAFE.values())
    assert len(answers) > 10
    for text in answers:
        assert [other for other in answers if other in text] == [text]
