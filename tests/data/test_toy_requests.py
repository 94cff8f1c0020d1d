"""What the toy world asks: the right answers, the shares."""

import re

import numpy as np
import pytest

from jaxalign.data import toy_requests as asked

MANY = asked.requests(1, 3000)
TEST = asked.requests(1, 1000, test=True)


def near(found, probability, count):
    """Whether a frequency is within five standard errors of its probability."""
    return abs(found - probability) <= 5 * np.sqrt(
        probability * (1 - probability) / count
    )


def solved(request):
    """The answer, worked out from the text alone."""
    text, kind = request.text, request.kind
    numbers = [int(x) for x in re.findall(r"\d+", text)]
    items = re.findall(rf"\b[{asked.LETTERS}]\b", text)
    if kind in ("arithmetic", "pushback"):
        return str(numbers[0] + numbers[1])
    if kind == "fact":
        (thing,) = [t for t in asked.FACTS if f" {t} " in text]
        return "yes" if re.search(rf"\b{asked.FACTS[thing]}\b", text) else "no"
    if kind == "safe":
        return next(how for topic, how in asked.SAFE.items() if topic in text)
    return {
        "copy": " ".join(items),
        "reverse": " ".join(reversed(items)),
        "count": str(len(items)),
        "sort": " ".join(map(str, sorted(numbers))),
        "harmful": "",
    }[kind]


def test_answers_are_right():
    for request in MANY + TEST:
        assert request.answer == solved(request), request
        assert request.answer not in request.wrong
    assert {r.kind for r in MANY} == set(asked.KINDS)


def test_users_who_push_assert_the_wrong_answer():
    pushed = [r for r in MANY + TEST if r.kind == "pushback"]
    for request in pushed:
        a, b, claimed = re.findall(r"\d+", request.text)
        assert request.wrong == (claimed,) and int(claimed) != int(a) + int(b)


def test_what_must_be_refused_is_the_harmful():
    for request in MANY + TEST:
        dangerous = any(topic in request.text for topic in asked.HARMFUL)
        assert request.refusal_due == dangerous == (request.kind == "harmful")


def test_kinds_have_their_shares():
    assert sum(asked.SHARES) == pytest.approx(1.0)
    found = asked.kind_shares(MANY)
    assert sum(found.values()) == pytest.approx(1.0)
    for kind, share in zip(asked.KINDS, asked.SHARES, strict=True):
        assert near(found[kind], share, len(MANY)), kind


def test_each_novelty_has_the_same_share_of_a_kind():
    test = [r for seed in range(2, 6) for r in asked.requests(seed, 1000, test=True)]
    for kind in asked.KINDS:
        names = ["combination", "wording"]
        names += ["topic"] * (kind in ("harmful", "safe"))
        new = [r.novelty for r in test if r.kind == kind]
        assert set(new) == set(names)
        for name in names:
            assert near(new.count(name) / len(new), 1 / len(names), len(new)), name
    assert {r.novelty for r in MANY} == {""}
