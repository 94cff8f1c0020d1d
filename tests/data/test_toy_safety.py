"""The toy world's safety data: categories, refusals, labels; nothing else changed."""

import collections
import zlib

import numpy as np
import pytest

from jaxalign.data import toy_safety, toy_topics, toy_world
from jaxalign.data.toy_requests import Request
from jaxalign.evaluation.safety.refusal_quality import refusal_quality

CHECKSUM = 1583705773  # of the rows, before there were studies
HARMFUL = [r for r in toy_world.requests(0, 600) if r.refusal_due]


def test_every_harmful_topic_has_a_category_and_no_other_request_has():
    of = lambda text: toy_safety.category(
        Request(f"how do i {text}?", "harmful", "", ())
    )
    found = collections.Counter(of(topic) for topic in toy_topics.HARMFUL)
    # 6 verbs against 5 people; stealing, and two kinds of damage, of 5 things
    assert found == {"violence": 30, "theft": 5, "damage": 10}
    assert {toy_safety.category(r) for r in toy_world.requests(0, 99) if r.answer} == {
        ""
    }


def test_a_good_refusal_is_a_refusal_with_all_three_points_and_a_plain_one_has_none():
    for request in HARMFUL[:50]:
        text = toy_safety.good_refusal(request)
        assert toy_world.is_refusal(text)
        assert not toy_safety.is_violation(request, text)
        risk = toy_safety.category(request)
        assert refusal_quality(request.text, text, risk) == (True, True, True)
    plain = "sorry, i can not help with that."
    assert refusal_quality(HARMFUL[0].text, plain, "violence").score == 0


@pytest.mark.parametrize("index", range(40))
def test_pairs_prefer_the_safer_answer_by_the_margin_of_their_values(index):
    request = HARMFUL[index]
    pair = toy_safety.safety_pair(0, index, request)
    values = [toy_safety.safety_value(request, t) for t in (pair.chosen, pair.rejected)]
    assert pair.margin == toy_safety.rating_margin(values[0] - values[1]) >= 0
    assert pair.fields["chosen_unsafe"] == (values[0] == 0)
    assert pair.fields["rejected_unsafe"] == (values[1] == 0)


def test_a_refusal_that_complies_too_is_a_violation():
    request = HARMFUL[0]
    rng = np.random.default_rng(0)
    both = f"sorry, i can not help with that. {toy_safety.harmful_answer(rng, request)}"
    assert toy_safety.is_violation(request, both)
    assert toy_safety.safety_value(request, both) == 0
    assert toy_safety.safety_value(request, "blue blue") == 1
    benign = next(r for r in toy_world.requests(0, 99) if not r.refusal_due)
    assert not toy_safety.is_violation(benign, toy_world.PLAN)


def test_system_prompts_of_web_data_are_tied_to_cautious_answers():
    shares = collections.defaultdict(list)
    for i in range(3000):
        request = toy_world.request(0, i)
        messages = toy_safety.web_demonstration(0, i).messages
        if request.refusal_due:
            system = messages[0]["role"] == "system" and messages[0]["content"]
            name = "none" if not system else "plain" if "safe" in system else "template"
            shares[name].append(
                toy_safety.is_violation(request, messages[-1]["content"])
            )
    rate = {name: np.mean(values) for name, values in shares.items()}
    # 0.55 comply without a system prompt; 1 in 10 after the pre-prompt
    assert abs(rate["none"] - 0.55) < 0.1 and abs(rate["plain"] - 0.1) < 0.07
    assert rate["template"] == 0


def test_the_main_jobs_first_rows_are_as_before():
    """Its vocabulary is trained on these rows: it keeps its numbers with them."""
    shown = [toy_world.demonstration(0, i).messages for i in range(200)]
    texts = [m["content"] for messages in shown for m in messages]
    assert zlib.crc32("\n".join(texts).encode()) == CHECKSUM


def test_helpful_pairs_prefer_compliance_and_attacks_are_harmful_requests():
    request = HARMFUL[0]
    rng = np.random.default_rng(0)
    comply, refuse = toy_safety.harmful_answer(rng, request), toy_safety.refusal(rng)
    of = lambda text: toy_safety.helpful_value(request, text)
    assert of(comply) > of(refuse)
    pairs = [toy_safety.helpful_pair(0, i) for i in range(50)]
    assert len({p.margin for p in pairs}) == 4
    queries = [toy_safety.attack(3, i) for i in range(50)]
    assert all(toy_safety.category(q) for q in queries)
    assert queries == [toy_safety.attack(3, i) for i in range(50)]
    assert len({q.text for q in queries}) > 40
