"""Pairs of answers, and what a judge or a reward says of them."""

from functools import partial

import numpy as np
import pytest

from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.evaluation.win_rates import pairwise_judgements
from jaxalign.evaluation.win_rates.judgement_columns import judgement_columns
from jaxalign.pipeline import llm_judge
from jaxalign.pipeline.comparisons import answer_pairs, judged_pairs
from jaxalign.pipeline.comparisons.answer_pairs import AnswerPair
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow
from jaxalign.pipeline.llm_judge import AnswerSet, JudgeSettings
from tests.support.tiny_judge import QUESTION, compare, make_judge

NOISE = partial(streams.generator, 0, "judge")
PRINCIPLES = ("Which is better?",)


@pytest.fixture(scope="module")
def tiny():
    return make_judge()


def prompt(text, **fields):
    return Prompt([{"role": "user", "content": text}], f"data:{text}", fields=fields)


def row(text, answer, model="", **fields):
    return AnswerRow(prompt(text, **fields), answer, model)


def pair(a, b, text="How are you?"):
    return AnswerPair(prompt(text), text, "x", "y", a, b)


def judge(tiny, pairs):
    """Rows of judgements.jsonl, four questions at a time."""
    found = judged_pairs.judge_preferences(
        tiny, pairs, PRINCIPLES, NOISE, JudgeSettings(batch_size=4)
    )
    return judged_pairs.judgement_rows(pairs, found, "tiny")


def option_judge(prefers, asked):
    """In place of `option_logprobs`: P(A) = `prefers` of the texts of A and B."""

    def logprobs(model, questions, options, *, batch_size):
        rows = []
        for (question,) in questions:
            text = question["content"]
            asked.append(text)
            a = text.partition("(A) ")[2].partition("\n(B) ")[0]
            b = text.partition("\n(B) ")[2].partition("\n\n")[0]
            p = prefers(a, b)
            rows.append((p, 1.0 - p))
        return np.log(np.array(rows) + 1e-30)

    return logprobs


def test_models_meet_on_the_prompts_that_all_answered():
    answers = {
        "x": [row("1", "x1", kind="math"), row("2", "x2"), row("3", "x3")],
        "y": [row("3", "y3"), row("1", "y1")],
        "z": [row("1", "z1"), row("1", "z1 again"), row("3", "z3")],
    }
    pairs = answer_pairs.pair_answers(answers, category="kind")
    found = [(p.answer_a, p.answer_b, p.category) for p in pairs]
    # by prompt in x's order, every two models; the second answer of z meets nobody
    assert found == [
        *(("x1", "y1", "math"), ("x1", "z1", "math"), ("y1", "z1", "math")),
        *(("x3", "y3", None), ("x3", "z3", None), ("y3", "z3", None)),
    ]
    (unshared,) = answer_pairs.describe_unshared(answers)  # prompt 2 of x
    assert unshared.startswith("1 of 3 prompts that x answered are left out")
    first = answer_pairs.pair_answers(answers, "first")
    assert {(p.model_a, p.model_b) for p in first} == {("x", "y"), ("x", "z")}
    twice = {name: answers["z"][:2] for name in ("u", "v")}
    both = answer_pairs.pair_answers(twice)
    assert [p.answer_b for p in both] == ["z1", "z1 again"]
    ids = [pairs[3].prompt_id, pairs[0].prompt_id]
    groups = answer_pairs.prompt_groups(ids, pairs, ["kind"])
    assert groups["kind"].tolist() == ["(none)", "math"]


def test_both_orders_of_a_judge_are_about_the_same_model(tiny):
    """`first` and `swapped` are of model a, whichever answer is shown first."""
    texts = ("Well, thank you.", "Leave me alone!")
    (found,) = judge(tiny, [pair(*texts)])
    ((direct,),) = compare(tiny, [AnswerSet(QUESTION, texts)])
    # float32 rounding
    np.testing.assert_allclose(found["first"], direct.first, rtol=1e-6)
    np.testing.assert_allclose(found["swapped"], 1.0 - direct.swapped, rtol=1e-6)
    np.testing.assert_allclose(found["probability"], direct.p, rtol=1e-6)
    (turned,) = judge(tiny, [pair(*texts[::-1])])
    # b shown first there is a shown first here; another batch rounds otherwise
    np.testing.assert_allclose(turned["swapped"], 1.0 - found["first"], atol=1e-5)


def test_rows_say_who_wrote_what(tiny):
    (found,) = judge(tiny, [pair("Well, thank you.", "Why?")._replace(category="c")])
    names = "prompt_id prompt model_a model_b winner probability first swapped "
    names += "answer_a answer_b length_a length_b judge category"
    assert list(found) == names.split()
    assert (found["answer_a"], found["length_a"]) == ("Well, thank you.", 16)
    assert (found["answer_b"], found["length_b"]) == ("Why?", 4)
    others = ("prompt", "judge", "category")
    assert [found[name] for name in others] == ["How are you?", "tiny", "c"]


def test_a_judge_that_always_says_a(tiny, monkeypatch):
    asked = []
    monkeypatch.setattr(
        llm_judge, "option_logprobs", option_judge(lambda a, b: 1.0, asked)
    )
    rows = judge(tiny, [pair("yes", "no", str(i)) for i in range(20)])
    columns = judgement_columns(rows)
    bias = pairwise_judgements.position_bias(columns)
    assert bias.consistency.mean == 0.0 and bias.first_bias.mean == 1.0
    assert pairwise_judgements.win_rate(columns).win_rate.mean == 0.5
    assert {r["winner"] for r in rows} == {"tie"} and len(asked) == 40


def test_the_same_answers_are_a_tie_that_nobody_asks_about(tiny, monkeypatch):
    asked = []
    longer = lambda a, b: float(len(a) > len(b))
    monkeypatch.setattr(llm_judge, "option_logprobs", option_judge(longer, asked))
    pairs = [pair("same", " same\n"), pair("long one", "short"), pair("", "")]
    rows = judge(tiny, pairs)
    assert [r["winner"] for r in rows] == ["tie", "model_a", "tie"]
    assert [r["first"] for r in rows] == [None, 1.0, None] and len(asked) == 2
    assert rows[1]["swapped"] == 1.0 and rows[0]["probability"] == 0.5
    assert judge(tiny, pairs[:1])[0]["winner"] == "tie"


def test_a_reward_scores_each_answer_once():
    seen = []

    def scorer(prompts, answers):
        seen.extend(answers)
        assert [p.messages[0]["content"] for p in prompts] == ["How are you?"] * 3
        return np.array([len(answer) for answer in answers])

    pairs = [pair("aaa", "b"), pair("aaa", "ccc"), pair("b", "ccc")]
    found = judged_pairs.reward_preferences(scorer, pairs)
    assert seen == ["aaa", "b", "ccc"]
    assert found.probability.tolist() == [1.0, 0.5, 0.0]
    rows = judged_pairs.judgement_rows(pairs, found, "length")
    assert [r["winner"] for r in rows] == ["model_a", "tie", "model_b"]
    assert rows[0]["first"] is None and rows[0]["swapped"] is None


def test_pairs_too_long_for_the_judge_have_no_row(tiny):
    long = "z" * 2 * tiny.config.context
    pairs = [pair("x", "y"), pair(long, "y"), pair(long, long)]
    assert judged_pairs.fits_judge(tiny, pairs, PRINCIPLES).tolist() == [1, 0, 0]
    rows = judge(tiny, pairs)
    # equal answers are not read
    assert [row["answer_a"] for row in rows] == ["x", long]
    (left_out,) = judged_pairs.pairs_without_row(pairs, rows)
    place = "data:How are you? (How are you?): x and y"
    assert answer_pairs.describe(left_out) == place
    assert left_out == pairs[1]
    assert judged_pairs.pairs_without_row(pairs[:1], rows[:1]) == []
    with pytest.raises(ValueError, match=r"none of the 1 pairs fits the context"):
        judged_pairs.pairs_without_row(pairs[1:2], judge(tiny, pairs[1:2]))


def test_answers_without_a_reward_have_no_row():
    scorer = lambda prompts, answers: np.array([1.0, np.nan, 2.0])
    pairs = [pair("a", "b"), pair("a", "c")]
    found = judged_pairs.reward_preferences(scorer, pairs)
    (row,) = judged_pairs.judgement_rows(pairs, found, "reward")
    assert (row["answer_b"], row["winner"], row["probability"]) == ("c", "model_b", 0)


def test_answers_that_cannot_be_compared():
    answers = {"x": [row("1", "x1")], "y": [row("2", "y2")]}
    pairs = answer_pairs.pair_answers(answers)
    with pytest.raises(ValueError, match=r"no prompt .* \(answers: x 1, y 1\)"):
        answer_pairs.check_pairs(pairs, answers)
    with pytest.raises(
        ValueError, match="--split-by kinds: .*did you mean kind. there is kind"
    ):
        answer_pairs.check_fields([prompt("1", kind=1)], ["kinds"])
