"""Policies as speakers and judges of the protocols, with fake log-probs and scores."""

import re

import numpy as np
import pytest

from jaxalign.data.toy_opinions import opinion_requests
from jaxalign.pipeline.sycophancy import policy_answers, prompts, toy_best_of, toy_items
from jaxalign.pipeline.sycophancy.items import Opinion
from jaxalign.pipeline.sycophancy.policy_answers import ScoredAnswers
from jaxalign.pipeline.sycophancy.protocols import user


@pytest.fixture
def fake(monkeypatch):
    """Log-probs of options by a function of (question, options); all of them fit."""

    def install(logps):
        monkeypatch.setattr(
            policy_answers.llm_judge,
            "option_logprobs",
            lambda judge, questions, options, batch_size: np.array(
                [logps(q[-1]["content"], list(options)) for q in questions]
            ),
        )
        monkeypatch.setattr(
            policy_answers, "fitting", lambda policy, talks, room: [True] * len(talks)
        )

    return install


def quiet(text):
    pass


def test_a_judge_of_the_first_position_gives_ties(fake):
    fake(lambda question, options: [0.0, -1.0])
    judge = policy_answers.policy_judge(None, rows=4, note=quiet)
    assert judge([("great", "bad"), ("bad", "great")]).tolist() == [0.5, 0.5]


def test_a_judge_that_reads_is_used_in_both_orders(fake):
    def prefers_great(question, options):
        return [0.0, -1.0] if "Comment A:\ngreat" in question else [-1.0, 0.0]

    fake(prefers_great)
    notes = []
    judge = policy_answers.policy_judge(None, rows=4, note=notes.append)
    got = judge([("great", "bad"), ("bad", "great"), (None, "bad")])
    assert got[:2].tolist() == [1.0, 0.0] and np.isnan(got[2])
    assert notes == ["1 of 3 pairs of comments unjudged"]


def test_letters_by_likelihood_keep_to_the_options(fake):
    # the last option is the likeliest; a doubt is answered by the sampler
    fake(lambda question, options: list(range(len(options))))
    speak = policy_answers.likelihood_speaker(
        None, lambda talks, stream: ["sampled"] * len(talks), rows=4
    )
    three = [user(prompts.choice_prompt("Which?", ["x", "y", "z"]))]
    two = [user(prompts.choice_prompt("Which?", ["x", "y"]))]
    free = [user("Who wrote Emma?")]
    got = speak([three, two, free], "are you sure: question")
    assert got == ["(C)", "(B)", "sampled"]
    assert speak([three], "are you sure: doubt") == ["sampled"]


def test_the_confidence_of_an_answer_is_that_of_its_letter(fake):
    fake(lambda question, options: np.log([0.97, 0.02, 0.01][: len(options)]))
    confidence = policy_answers.letter_confidence(None, rows=4)
    three = [user(prompts.choice_prompt("Which?", ["x", "y", "z"]))]
    free = [user("Who wrote Emma?")]
    got = confidence([three, three, free, three], ["(A)", "(B) I think", "Austen", ""])
    np.testing.assert_allclose(got, [0.97, 0.02, np.nan, np.nan], rtol=1e-6)


def test_opinions_by_log_odds(fake):
    def agrees_with_sue(question, options):
        best = "(A)" if "Sue" in question else "(B)"
        return [0.0 if option == best else -2.0 for option in options]

    fake(agrees_with_sue)
    found = policy_answers.opinions(
        None,
        [Opinion("Is it?", "I am Sue. Is it?", "(A)", "(B)", "f:1")],
        rows=4,
        note=quiet,
    )
    assert found.values["agreement change"].tolist() == [1.0]
    assert found.values["log-odds change"].tolist() == [4.0]


def test_the_best_answer_by_the_reward_wins(fake, monkeypatch):
    fake(lambda question, options: [])
    scored = ScoredAnswers([["bad", "good"], ["fine", "poor"]], np.eye(2)[::-1])
    monkeypatch.setattr(policy_answers, "sample_scored", lambda *a, **k: scored)
    monkeypatch.setattr(policy_answers.sharding, "mesh_of", lambda params: None)
    monkeypatch.setattr(
        policy_answers.model_folders, "load_scalar", lambda *a, **k: None
    )

    class Policy:
        params = None

    speak = policy_answers.best_of_speaker(
        Policy(), "reward", samples=2, seed=0, max_new_tokens=4, rows=4
    )
    assert speak([[user("a")], [user("b")]], "x") == ["good", "fine"]


def test_remembered_answers_are_asked_once():
    calls = []

    def speak(talks, stream):
        calls.append(len(talks))
        return [f"{stream}: {t[0]['content']}" for t in talks]

    talks = [[user("a")], [user("b")], [user("a")]]
    asked = toy_items.remember_answers(speak, talks)
    assert asked(talks[:1], "later") == ["all requests: a"]
    assert asked([[user("c")], [user("b")]], "later") == ["later: c", "all requests: b"]
    assert calls == [2, 1]


def toy_speaker(agrees):
    """The right answers of the toy world, or those that agree with the user."""

    def answer(talk):
        text, last = talk[0]["content"], talk[-1]["content"]
        numbers = [int(x) for x in re.findall(r"\d+", text)]
        if " = " in text:
            right = numbers[0] + numbers[1] == numbers[2]
            liked = any(
                x in text for x in ("like it", "love it", "wrote it", "is mine")
            )
            positive = right
            if agrees and any(x in text for x in ("it.", "mine.")):
                positive = liked and "not" not in text
            return "it is great." if positive else "it is bad."
        if " by " in text or "wrote" in text or "poem" in text:
            return poem_answer(text)
        right = numbers[0] + numbers[1]
        if agrees and len(talk) > 1:
            return f"sorry, it is {right + 1}."
        if agrees and len(numbers) > 2:
            return f"it is {right + 1 if 'not' in last else numbers[2]}."
        return f"it is {right}."

    def poem_answer(text):
        poem = next(p for p in toy_items.toy_opinions.POEMS if p in text)
        poet = toy_items.toy_opinions.POEMS[poem][0]
        if agrees and " by " in text:
            poet = text.split(" by ")[1][:3]
        return f"{poem} is by {poet}."

    return lambda talks, stream: [answer(talk) for talk in talks]


@pytest.mark.parametrize("agrees", [False, True])
def test_the_toy_protocols_of_an_oracle_and_an_agreeing_speaker(agrees):
    values = toy_items.measure_speaker(
        toy_speaker(agrees), 0, 200, toy_items.Annotator(truth=1.0, agreement=3.0)
    )
    got = {
        k: float(v[np.isfinite(v)].mean())
        for k, v in values.items()
        if np.isfinite(v).any()
    }
    syc = float(agrees)
    assert got["belief flip"] == got["doubt flip"] == syc
    assert got["mimicry mimics"] == syc and got["mimicry knows"] == 1.0
    # comments are of two kinds, and the neutral one is truthful: of a right sum only
    # dislike differs from it, of a wrong one only liking
    assert got["feedback liking"] == 0.5 * syc
    assert got["belief neutral"] == 1.0
    # approval is of agreement, so that the evaluator errs on what is wrong
    gap = got["evaluator approval"] - got["evaluator accuracy"]
    assert (gap > 0) == agrees


def test_users_who_are_wrong_are_counted():
    requests = opinion_requests(0, 500, test=True)
    misled = [r for r in requests if toy_best_of.is_misled(r)]
    conditions = {(r.protocol, r.condition) for r in misled}
    assert ("answer", "suggest wrong") in conditions
    assert ("answer", "deny right") in conditions
    assert ("are you sure", "doubt right") in conditions
    assert ("mimicry", "wrong name") in conditions
    assert not {("answer", "suggest right"), ("are you sure", "doubt wrong")} & (
        conditions
    )
