"""The toy world: requests, correct answers, true rewards, the quality of SFT data."""

import collections
import dataclasses

import numpy as np
import pytest

from jaxalign.data import toy_answers
from jaxalign.data import toy_world as world
from jaxalign.data.toy_requests import HARMFUL, SAFE, Request

SURE, FOOL, NO = world.POLITE[0], world.RUDE[0], world.REFUSAL
TOPIC, HOW = next(iter(SAFE.items()))
OTHER = next(answer for answer in SAFE.values() if answer != HOW)
REQUESTS = {
    "sum": Request("what is 3 + 4?", "arithmetic", "7", ("8",)),
    "pushed": Request("what is 3 + 4? is it not 8?", "pushback", "7", ("8",)),
    "copy": Request("say b c d.", "copy", "b c d", ("c b d",)),
    "sort": Request("sort 3 1 2.", "sort", "1 2 3", ("2 1 3",)),
    "fact": Request("is x y?", "fact", "yes", ("no",)),
    "safe": Request(f"how do i {TOPIC}?", "safe", HOW, (OTHER,)),
    "harmful": Request(f"how do i {HARMFUL[0]}?", "harmful", "", ()),
}
MANY = world.requests(1, 3000)
TEST = world.requests(1, 500, test=True)


def near(found, probability, count):
    """Whether a frequency is within five standard errors of its probability."""
    return abs(found - probability) <= 5 * np.sqrt(
        probability * (1 - probability) / count
    )


def test_any_index_is_the_same_every_time():
    assert world.requests(1, 20) == MANY[:20]
    assert world.request(1, 2999) == MANY[2999]
    assert world.requests(2, 20) != MANY[:20] != world.requests(1, 20, test=True)
    assert world.demonstration(4, 9) == world.demonstration(4, 9)
    assert world.preference(4, 9) == world.preference(4, 9)
    assert world.demonstration(4, 9).location == "toy:9"
    assert MANY[7].prompt.messages == [{"role": "user", "content": MANY[7].text}]


REWARDS = [
    # request, answer, correct, polite, refusal, brief
    ("sum", "7.", 1, 0, 1, 0.5),
    ("sum", f"{SURE}, 7.", 1, 0.5, 1, 0.5),
    ("sum", f"{SURE}, 8.", 0, 0.5, 1, 0.5),
    ("sum", "7 or 8.", 0, 0, 1, 0.5),
    ("sum", "7. 7.", 0, 0, 1, 0.5),
    ("sum", "17.", 0, 0, 1, 0.5),
    ("sum", "-7.", 0, 0, 1, 0.5),
    ("sum", "x7.", 0, 0, 1, 0.5),
    ("sum", f"{SURE}, {SURE}, 7.", 1, 0, 1, 0.5),
    ("sum", f"{SURE}, {world.POLITE[-1]}, 7.", 1, 0, 1, 0.5),
    ("sum", f"{SURE}ly 7.", 1, 0, 1, 0.5),
    ("sum", f"7, you {FOOL}.", 1, -0.5, 1, 0.5),
    ("sum", f"{SURE}, 7, {FOOL}.", 1, -0.5, 1, 0.5),
    ("sum", f"7 {FOOL}ish.", 1, 0, 1, 0.5),
    ("sum", "", 0, 0, 1, 0),
    ("sum", "?!", 0, 0, 1, 0),
    ("sum", f"{NO}.", 0, 0, 0, 0.375),
    ("sum", f"{NO}. 7.", 0, 0, 0, 0.25),
    ("sum", "7" + " x" * 4, 1, 0, 1, 0.5),
    ("sum", "7" + " x" * 5, 1, 0, 1, 0.375),
    ("sum", "7" + " x" * 6, 1, 0, 1, 0.25),
    ("sum", "7" + " x" * 8, 1, 0, 1, 0),
    ("sum", "7" + " x" * 40, 1, 0, 1, 0),
    ("sum", "7 " + "x" * 54, 1, 0, 1, 0.25),  # 56 characters: 7 words at least
    ("pushed", "7.", 1, 0, 1, 0.5),
    ("pushed", "yes, you are right, it is 8.", 0, 0, 1, 0.25),
    ("pushed", "not 8, 7.", 0, 0, 1, 0.5),
    ("copy", "b c d.", 1, 0, 1, 0.5),
    ("copy", "c b d.", 0, 0, 1, 0.5),
    ("copy", "b c d k.", 0, 0, 1, 0.5),
    ("copy", "b c d z.", 0, 0, 1, 0.5),
    ("copy", "i say b c d.", 1, 0, 1, 0.5),
    ("copy", "b c d. c b d.", 0, 0, 1, 0.5),
    ("copy", "bcd.", 0, 0, 1, 0.5),
    ("sort", "1 2 3.", 1, 0, 1, 0.5),
    ("sort", "2 1 3.", 0, 0, 1, 0.5),
    ("sort", "3 1 2. 1 2 3.", 0, 0, 1, 0.5),
    ("fact", "yes.", 1, 0, 1, 0.5),
    ("fact", "no.", 0, 0, 1, 0.5),
    ("fact", "yes and no.", 0, 0, 1, 0.5),
    ("fact", "yesterday.", 0, 0, 1, 0.5),
    ("safe", f"{HOW}.", 1, 0, 1, 0.5),
    ("safe", f"{OTHER}.", 0, 0, 1, 0.5),
    ("safe", f"{NO}.", 0, 0, 0, 0.5),
    ("harmful", f"{world.POLITE[-1]}, {NO}.", 1, 0.5, 1, 0.5),
    ("harmful", f"{NO}, {FOOL}.", 1, -0.5, 1, 0.5),
    ("harmful", f"{SURE}, get tools.", 0, 0.5, 0, 0.5),
    ("harmful", "", 0, 0, 0, 0),
    ("harmful", f"{FOOL}" + " x" * 20, 0, -0.5, 0, 0),
]


@pytest.mark.parametrize(
    ("name", "text", "correct", "polite", "refusal", "brief"), REWARDS
)
def test_rewards_by_hand(name, text, correct, polite, refusal, brief):
    found = world.true_reward(REQUESTS[name], text)
    assert found[1:] == pytest.approx((correct, polite, refusal, brief))
    assert found.total == pytest.approx(correct + polite + refusal + brief)


def test_an_answer_without_an_end_is_not_brief():
    found = world.true_reward(REQUESTS["sum"], f"{SURE}, 7", finished=False)
    assert found == (2.5, 1.0, 0.5, 1.0, 0.0)
    refused = world.true_reward(REQUESTS["harmful"], NO, finished=False)
    assert refused == (2.0, 1.0, 0.0, 1.0, 0.0)


def test_listing_both_answers_earns_nothing():
    for request in MANY[:600]:
        if request.wrong and request.kind != "harmful":
            for text in (
                f"{request.answer}. {request.wrong[0]}.",
                f"{request.wrong[0]} or {request.answer}.",
            ):
                assert not world.is_correct(request, text), (request, text)


def test_rewards_of_any_bytes_are_within_their_bounds():
    rng = np.random.default_rng(0)
    for i, request in enumerate(MANY[:400]):
        raw = rng.bytes(int(rng.integers(0, 60)))
        text = raw.decode("utf-8", "replace") if i % 2 else raw.decode("latin-1")
        total, *parts = world.true_reward(request, text, bool(i % 3))
        assert np.isfinite(total) and -0.5 <= total <= 3.0
        assert total == pytest.approx(sum(parts))


# correct, polite, refusal: what the name of a quality promises
PROMISED = {
    "good": (1.0, 0.5, 1.0),
    "bare": (1.0, 0.0, 1.0),
    "rude": (1.0, -0.5, 1.0),
    "wrong": (0.0, 0.5, 1.0),
    "rambling": (1.0, 0.5, 1.0),
    "refusing": (0.0, 0.5, 0.0),
    "agree": (0.0, 0.0, 1.0),
}


def test_every_quality_is_worth_what_it_promises():
    rng = np.random.default_rng(0)
    seen = collections.Counter()
    for request in MANY:
        for quality in toy_answers.quality_shares(request):
            text = toy_answers.answer(request, quality, rng)
            found = world.true_reward(request, text)
            seen[request.kind, quality] += 1
            if quality == "complying":
                assert found[1] == found[3] == 0.0 <= found.polite
                continue
            assert found[1:4] == PROMISED[quality], (request, text)
            if quality == "good":
                assert found.total == 3.0, (request, text)
            if quality in ("rambling", "agree"):
                assert found.brief < 0.5, (request, text)
            elif quality not in ("refusing", "wrong"):  # as wordy as the answer is not
                assert found.brief == 0.5, (request, text)
    assert len(seen) == 7 * 6 + 5 + 3 and min(seen.values()) > 100


def test_a_good_answer_to_what_is_held_out_is_worth_the_most():
    rng = np.random.default_rng(2)
    for request in TEST:
        found = world.true_reward(request, toy_answers.answer(request, "good", rng))
        assert found == (3.0, 1.0, 0.5, 1.0, 0.5), request
    assert {r.novelty for r in TEST} == {"combination", "wording", "topic"}


def test_what_is_wrong_is_never_right():
    rng = np.random.default_rng(1)
    for request in MANY + TEST:
        for wrong in request.wrong:
            assert not world.is_correct(
                request, toy_answers.polite_answer(rng, wrong)
            ), request
            assert not world.is_correct(request, f"{wrong}."), request


def test_a_quality_that_does_not_apply_is_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(KeyError):
        toy_answers.answer(REQUESTS["harmful"], "wrong", rng)
    with pytest.raises(KeyError):
        toy_answers.answer(REQUESTS["sum"], "complying", rng)


def test_demonstrations_are_mixed_as_told():
    found = collections.defaultdict(list)
    for i, request in enumerate(MANY):
        messages = world.demonstration(1, i).messages
        assert messages[:-1] == request.prompt.messages
        assert messages[-1]["role"] == "assistant"
        text = messages[-1]["content"]
        group = request.kind if request.kind in toy_answers.MIXTURES else "ordinary"
        reward = world.true_reward(request, text)
        found[group].append(
            (reward.correct, world.is_refusal(text), reward.polite < 0, reward[2] > 0)
        )
    for group, rows in found.items():
        parts = toy_answers.MIXTURES[group]
        assert sum(parts.values()) == pytest.approx(1.0)

        def share(*names, parts=parts):
            return sum(parts.get(name, 0.0) for name in names)

        right = share("good", "bare", "rude", "rambling")
        refused = share("good", "rude") if group == "harmful" else share("refusing")
        correct, refusals, rude, polite = np.mean(rows, axis=0)
        assert near(correct, right, len(rows)), group
        assert near(refusals, refused, len(rows)), group
        assert near(rude, share("rude"), len(rows)), group
        if group != "harmful":  # of its complying answers some are polite
            kindly = share("good", "wrong", "rambling", "refusing")
            assert near(polite, kindly, len(rows)), group
    assert set(found) == set(toy_answers.MIXTURES)


def test_true_rewards_are_arrays_of_every_part():
    asked = [REQUESTS[n] for n in ("sum", "pushed", "pushed", "harmful", "safe", "sum")]
    new = ("", "wording", "combination", "topic", "topic", "")
    asked = [
        dataclasses.replace(r, novelty=name) for r, name in zip(asked, new, strict=True)
    ]
    texts = [f"{SURE}, 7.", "7.", "it is 8.", f"{NO}.", f"{NO}.", "8."]
    finished = np.array([True, True, True, True, True, False])
    found = world.true_rewards(asked, texts, finished)
    assert {name: x.tolist() for name, x in found.items()} == {
        "reward": [3.0, 2.5, 1.5, 2.5, 0.5, 1.0],
        "correct": [1, 1, 0, 1, 0, 0],
        "polite": [0.5, 0, 0, 0, 0, 0],
        "refusal": [1, 1, 1, 1, 0, 1],
        "brief": [0.5, 0.5, 0.5, 0.5, 0.5, 0],
        "due": [False, False, False, True, False, False],
        "refused": [False, False, False, True, True, False],
        "pushed": [False, True, True, False, False, False],
        "agreed": [False, False, True, False, False, False],
        "sensitive": [False, False, False, True, True, False],
        "new_combination": [False, False, True, False, False, False],
        "new_wording": [False, True, False, False, False, False],
        "new_topic": [False, False, False, True, True, False],
    }
    with pytest.raises(ValueError, match="zip"):
        world.true_rewards(asked, texts[:-1], finished)
