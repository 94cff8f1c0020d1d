"""MT-Bench: ratings and verdicts in a judge's text, scores, win rates."""

import math

import pytest

from jaxalign.evaluation.benchmarks import mt_bench
from jaxalign.evaluation.benchmarks.mt_bench import Grade, Verdict


@pytest.mark.parametrize(
    ("text", "rating"),
    [
        ("Good. Rating: [[7]]", 7.0),
        ("Rating: [[7.5]]", 7.5),
        ("[[10]] and not [[1]]", 10.0),  # the first counts
        ("[3] is wrong, so [[4]]", 4.0),  # double brackets before single ones
        ("Rating: [8]", 8.0),
        ("Rating: 8", -1.0),
        ("Rating: [[good]]", -1.0),
        ("[[0]]", -1.0),
        ("[[11]]", -1.0),
        ("[[-3]]", -1.0),
        ("", -1.0),
    ],
)
def test_a_rating_in_a_text(text, rating):
    assert mt_bench.parse_rating(text) == rating


@pytest.mark.parametrize(
    ("text", "verdict"),
    [("[[A]]", "A"), ("so [[B]]", "B"), ("[[C]]", "C"), ("A", ""), ("[A]", "")],
)
def test_a_verdict_in_a_text(text, verdict):
    assert mt_bench.parse_verdict(text) == verdict


def test_unparsable_ratings_leave_the_means_and_are_counted():
    grades = [
        Grade(81, "writing", 1, 8.0),
        Grade(81, "writing", 2, 4.0),
        Grade(82, "writing", 1, 6.0),
        Grade(82, "writing", 2, -1.0),
    ]
    found = mt_bench.grade_figures(grades)
    assert (found["ratings"], found["unparsable"]) == (3, 1)
    assert found["score"].mean == pytest.approx(6.0)  # (8 + 4 + 6) / 3
    assert found["turn_1"].mean == pytest.approx(7.0)
    assert found["turn_2"].mean == pytest.approx(4.0)
    # over questions: resamples of (81, 81), (81, 82), (82, 82): 6, 6, 6
    assert found["score"].low == found["score"].high == pytest.approx(6.0)
    none = mt_bench.grade_figures([Grade(81, "writing", 1, -1.0)])
    assert none["unparsable"] == 1 and math.isnan(none["score"].mean)


def verdicts(orders):
    return [Verdict(i, "math", 1, *order) for i, order in enumerate(orders)]


def test_a_win_needs_both_orders():
    # first: the model's answer as A. Steady: AB (wins), BA (loses), CC (ties); AA and
    # BB follow the position; AC is a tie; the last cannot be read
    found = mt_bench.pair_figures(
        verdicts(["AB", "AB", "BA", "CC", "AA", "AA", "BB", "AC", ("A", "")])
    )
    assert (found["pairs"], found["unparsable"]) == (8, 1)
    assert (found["wins"], found["losses"], found["ties"]) == (2, 1, 5)
    assert found["win_rate"].mean == pytest.approx((2 + 5 / 2) / 8)
    assert found["consistent"].mean == pytest.approx(4 / 8)
    assert found["first_bias"].mean == pytest.approx((2 - 1) / 8)


def test_swapping_the_models_turns_the_win_rate_round():
    orders = ["AB", "AB", "BA", "CC", "AA", "AC"]
    ours = mt_bench.pair_figures(verdicts(orders))
    theirs = mt_bench.pair_figures(verdicts([order[::-1] for order in orders]))
    # the same judge, asked about (b, a): its first question was our swapped one
    assert ours["win_rate"].mean + theirs["win_rate"].mean == pytest.approx(1)
    assert ours["first_bias"].mean == theirs["first_bias"].mean
    assert math.isnan(mt_bench.pair_figures(verdicts([("", "")]))["win_rate"].mean)
