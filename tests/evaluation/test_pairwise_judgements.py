"""Win rates and position bias of judged pairs, by hand-computed tables."""

import math

import numpy as np
import pytest

from jaxalign.evaluation.win_rates import judgement_columns as columns
from jaxalign.evaluation.win_rates import pairwise_judgements as pairwise


def row(prompt, first, swapped, a="x", b="y", **fields):
    """A judgement: P(a better) from both orders."""
    names = {"prompt_id": prompt, "model_a": a, "model_b": b}
    p = (first + swapped) / 2
    return {**names, "probability": p, "first": first, "swapped": swapped, **fields}


# x against y, P(x better) with x shown first and with y shown first:
#   p1  .9 .8   x wins in both orders
#   p2  .7 .4   the answer shown first wins in both orders: a tie
#   p3  .2 .1   y wins
#   p3  .3 .6   the answer shown second wins in both orders: a tie
#   p4  .6 .5   one order has no preference: a tie
TABLE = [
    row("p1", 0.9, 0.8),
    row("p2", 0.7, 0.4),
    row("p3", 0.2, 0.1),
    row("p3", 0.3, 0.6),
    row("p4", 0.6, 0.5),
]


def test_a_win_needs_both_orders():
    judgements = columns.judgement_columns(TABLE)
    assert pairwise.verdicts(judgements).tolist() == [1, 0, -1, 0, 0]
    rate = pairwise.win_rate(judgements)
    assert (rate.pairs, rate.prompts) == (5, 4)
    assert (rate.wins, rate.ties, rate.losses) == (1, 3, 1)
    # (1 + 3 / 2) / 5
    assert rate.win_rate.mean == 0.5
    # (.85 + .55 + .15 + .45 + .55) / 5
    np.testing.assert_allclose(rate.mean_probability.mean, 0.51, rtol=1e-12)


def test_position_bias_by_hand():
    bias = pairwise.position_bias(columns.judgement_columns(TABLE))
    # p1 and the first of p3 agree; p4's orders do not: one has no preference
    assert bias.pairs == 5 and bias.consistency.mean == 2 / 5
    # p2 goes to the first twice, the second of p3 to the second twice: 1/5 - 1/5
    assert bias.first_bias.mean == 0.0
    # of the answer shown first: (.9 + .2 + .7 + .6 + .2 + .9 + .3 + .4 + .6 + .5) / 10
    np.testing.assert_allclose(bias.first_probability.mean, 0.53, rtol=1e-12)


def test_a_judge_that_always_says_a_is_never_consistent():
    # A is x's answer in the first question and y's in the second
    rows = [row(f"p{i}", 1.0, 0.0) for i in range(30)]
    judgements = columns.judgement_columns(rows)
    bias, rate = pairwise.position_bias(judgements), pairwise.win_rate(judgements)
    assert bias.consistency.mean == 0.0 and bias.first_bias.mean == 1.0
    assert bias.first_probability.mean == 1.0
    assert rate.win_rate == rate.mean_probability == (0.5, 0.5, 0.5)
    assert (rate.wins, rate.ties, rate.losses) == (0, 30, 0)
    second = [row(f"p{i}", 0.0, 1.0) for i in range(30)]
    bias = pairwise.position_bias(columns.judgement_columns(second))
    assert bias.first_bias.mean == -1.0 and bias.first_probability.mean == 0.0


def test_a_reward_has_verdicts_and_no_position():
    rows = [
        {"prompt_id": p, "model_a": "x", "model_b": "y", "probability": probability}
        for p, probability in (("p1", 1.0), ("p2", 0.5), ("p3", 0.0), ("p4", 1))
    ]
    judgements = columns.judgement_columns(rows)
    assert pairwise.verdicts(judgements).tolist() == [1, 0, -1, 1]
    assert pairwise.position_bias(judgements) is None
    # (2 + 1 / 2) / 4
    assert pairwise.win_rate(judgements).win_rate.mean == 0.625


def test_the_sides_do_not_matter():
    """The same judgements with a and b exchanged give the same win rate and bias."""
    turned = [
        row(r["prompt_id"], 1 - r["swapped"], 1 - r["first"], "y", "x") for r in TABLE
    ]
    mixed = [*TABLE[:2], *turned[2:]]
    straight = columns.pair_judgements(columns.judgement_columns(TABLE), "x", "y")
    for rows in (turned, mixed):
        found = columns.pair_judgements(columns.judgement_columns(rows), "x", "y")
        assert found.prompts.tolist() == straight.prompts.tolist()
        # 1 - (1 - p) rounds
        np.testing.assert_allclose(found.first, straight.first, atol=1e-15)
        np.testing.assert_allclose(found.swapped, straight.swapped, atol=1e-15)
        ours, theirs = map(pairwise.position_bias, (found, straight))
        assert ours.consistency == theirs.consistency
        assert ours.first_bias == theirs.first_bias
    other = columns.pair_judgements(columns.judgement_columns(TABLE), "y", "x")
    assert pairwise.win_rate(other).wins == 1
    np.testing.assert_allclose(pairwise.win_rate(other).mean_probability.mean, 0.49)


def test_the_matrix_of_win_rates_is_antisymmetric_about_a_half():
    rows = [*TABLE, row("p1", 0.9, 0.9, "z", "x"), row("p2", 0.9, 0.9, "x", "z")]
    rows += [row("p3", 0.9, 0.9, "z", "x"), row("p4", 0.8, 0.7, "z", "x")]
    judgements = columns.judgement_columns(rows)
    assert columns.model_names(judgements) == ["x", "y", "z"]
    assert columns.compared_pairs(judgements) == [("x", "y"), ("x", "z")]
    matrix = pairwise.win_rate_matrix(judgements, ["x", "y", "z"])
    # x wins 1 of 4 against z; y and z were not compared
    expected = [[math.nan, 0.5, 0.25], [0.5, math.nan, math.nan]]
    np.testing.assert_array_equal(matrix[:2], expected)
    np.testing.assert_array_equal(matrix[2], [0.75, math.nan, math.nan])
    with pytest.raises(ValueError, match="no judgement compares 'y' with 'z'"):
        columns.pair_judgements(judgements, "y", "z")


def test_intervals_are_over_prompts():
    """Ten copies of each judgement are no new evidence."""
    rng = np.random.default_rng(0)
    once = [row(f"p{i}", p, p) for i, p in enumerate(rng.random(200))]
    one = pairwise.win_rate(columns.judgement_columns(once)).win_rate
    ten = pairwise.win_rate(columns.judgement_columns(once * 10)).win_rate
    np.testing.assert_allclose(ten, one, rtol=1e-12)  # float64 rounding
    # p > 1/2 of 200 uniform numbers: 1.96 * sqrt(1/4 / 200) = 0.069; 2000 rounds and
    # a share off 1/2 move the bounds by 5 %
    np.testing.assert_allclose((one.high - one.low) / 2, 0.069, rtol=0.07)


@pytest.mark.parametrize(
    "change, error",
    [
        ({"probability": None}, "judgement 2: field 'probability' is missing"),
        ({"probability": 1.5}, "judgement 2: field 'probability' is 1.5; expected"),
        ({"first": math.nan}, "judgement 2: field 'first' is nan; expected"),
        ({"swapped": "A"}, "judgement 2: field 'swapped' is 'A'; expected"),
        ({"model_b": "x"}, "judgement 2: 'x' is judged against itself; give"),
    ],
)
def test_unusable_judgements_are_refused(change, error):
    with pytest.raises(ValueError, match=error):
        columns.judgement_columns([TABLE[0], {**TABLE[1], **change}])


def test_no_judgements_are_refused():
    with pytest.raises(ValueError, match="there are no judgements"):
        columns.judgement_columns([])
