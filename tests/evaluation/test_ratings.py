"""Bradley-Terry ratings: by hand, golden values, and what the data do not determine."""

import csv

import numpy as np
import pytest
from scipy import special

from jaxalign.evaluation.ratings import battles as battle_arrays
from jaxalign.evaluation.ratings import bradley_terry as ratings
from jaxalign.evaluation.ratings import elo
from jaxalign.evaluation.ratings.answer_style import style_counts, style_differences
from jaxalign.evaluation.ratings.battles import make_battles

OUTCOMES = {"left": 1.0, "right": 0.0, "tie": 0.5}


def read_battles(path):
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    outcome = [OUTCOMES[row["winner"]] for row in rows]
    left, right = ([row[side] for row in rows] for side in ("left", "right"))
    return make_battles(left, right, outcome), rows


def golden_scores(public_data, algorithm, models):
    with (public_data / "llmfao-battles" / "food-golden.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["algorithm"] == algorithm]
    scores = {row["item"]: float(row["score"]) for row in rows}
    return np.array([scores[name] for name in models])


@pytest.fixture(scope="module")
def food(public_data):
    if not (public_data / "llmfao-battles").is_dir():
        pytest.skip(f"no llmfao-battles in {public_data}")
    return read_battles(public_data / "llmfao-battles" / "food.csv")[0]


@pytest.fixture(scope="module")
def llmfao(public_data):
    if not (public_data / "llmfao-battles").is_dir():
        pytest.skip(f"no llmfao-battles in {public_data}")
    return read_battles(public_data / "llmfao-battles" / "llmfao.csv")


def test_two_models_by_hand():
    """a wins 3 of 4: a difference of log 3, with a variance of 1 / (n p q) = 4/3."""
    battles = make_battles(["a", "a", "b", "a"], ["b", "b", "a", "b"], [1, 1, 1, 1])
    fit = ratings.rate(battles)
    # float64 rounding
    np.testing.assert_allclose(np.diff(fit.theta), -np.log(3.0), rtol=1e-9)
    # 1000 +- 200 log10(3)
    np.testing.assert_allclose(fit.rating, [1095.4243, 904.5757], atol=1e-4)
    # G = sum (o - p)^2 = 3/16 + 9/16 = 3/4 = H: the sandwich is the model's variance
    difference = ratings.SCALE * np.sqrt(4 / 3)
    np.testing.assert_allclose(fit.difference_se()[0, 1], difference, rtol=1e-9)
    np.testing.assert_allclose(fit.se, difference / 2, rtol=1e-9)  # centered: a half


def test_ties_are_half_a_win_and_the_sandwich_knows_that_they_vary_less():
    """Ties alone: no residual, so no error, where the model's variance is 4/n."""
    fit = ratings.rate(make_battles(["a"] * 5, ["b"] * 5, [0.5] * 5))
    np.testing.assert_allclose(fit.rating, 1000.0)
    np.testing.assert_allclose(fit.se, 0.0, atol=1e-9)  # float64 rounding


def test_weights_are_repeated_battles():
    once = make_battles(["a", "b"], ["b", "a"], [1, 1], weight=np.array([3.0, 1.0]))
    many = make_battles(["a", "a", "a", "b"], ["b", "b", "b", "a"], [1] * 4)
    np.testing.assert_allclose(ratings.rate(once).theta, ratings.rate(many).theta)


def test_golden_scores(food, public_data):
    score = lambda name: golden_scores(public_data, name, food.models)
    strength = np.log(score("bradley_terry"))
    # evalica iterates until a step is below 1e-6
    found = ratings.rate(food).theta
    np.testing.assert_allclose(found, strength - strength.mean(), atol=2e-7)
    # the same additions in the same order, but for rounding
    np.testing.assert_allclose(elo.elo(food)[0], score("elo"), atol=1e-10)
    counts = battle_arrays.win_shares(food) * food.counts
    np.testing.assert_allclose(counts, score("counting"))


def test_llmfao_has_the_published_ratings(llmfao):
    battles, rows = llmfao
    fit = ratings.rate(battles)
    rating = dict(zip(fit.models, fit.rating, strict=True))
    error = dict(zip(fit.models, fit.se, strict=True))
    # to the digits that were published
    assert rating["GPT 4"] == pytest.approx(1172.13, abs=0.005)
    assert error["GPT 4"] == pytest.approx(27.9, abs=0.05)
    assert rating["Platypus-2 Instruct (70B)"] == pytest.approx(1112.45, abs=0.005)
    assert rating["command"] == pytest.approx(1110.17, abs=0.005)
    assert fit.rating.mean() == pytest.approx(1000.0) and not fit.half_wins
    voters = np.unique([row["worker"] for row in rows], return_inverse=True)[1]
    clustered = ratings.rate(battles, clusters=voters)
    assert len(set(voters)) == 124
    assert np.mean(clustered.se / fit.se) > 1.1  # votes of a person are alike


def test_clusters_of_one_battle_are_no_clusters(food):
    alone = ratings.rate(food, clusters=np.arange(len(food)))
    np.testing.assert_allclose(alone.se, ratings.rate(food).se)


def test_an_anchor_moves_all_ratings_and_no_interval(food):
    centered, anchored = (
        ratings.rate(food),
        ratings.rate(food, anchor=("Sushi", 1200.0)),
    )
    sushi = food.models.index("Sushi")
    assert anchored.rating[sushi] == pytest.approx(1200.0)
    moved = anchored.rating - centered.rating
    np.testing.assert_allclose(moved, moved[0])
    np.testing.assert_array_equal(anchored.se, centered.se)
    with pytest.raises(
        ValueError, match="no battle has the anchor 'Soup'; there are B"
    ):
        ratings.rate(food, anchor=("Soup", 1200.0))


def test_a_model_that_never_lost_gets_half_wins():
    battles = make_battles(["a", "a", "b", "b"], ["b", "c", "c", "c"], [1, 1, 1, 0])
    assert battle_arrays.undefeated_groups(battles) == [["b", "c"], ["a"]]
    fit = ratings.rate(battles)
    assert fit.half_wins and np.isfinite(fit.rating).all()
    extra = battle_arrays.half_wins(battles)
    pairs = zip(extra.first.tolist(), extra.second.tolist(), strict=True)
    assert set(pairs) == {(0, 1), (0, 2), (1, 2)}
    assert extra.outcome.tolist() == [0.5] * 3
    # a tie with b makes the chain of wins whole
    tied = make_battles([*"aabba"], [*"bcccb"], [1, 1, 1, 0, 0.5])
    assert not ratings.rate(tied).half_wins


def test_groups_that_never_met_are_refused():
    battles = make_battles([*"aabd"], [*"bcce"], [1, 0, 1, 0.5])
    words = "2 groups that never met, such as a, b, c and d, e: their ratings cannot"
    with pytest.raises(ValueError, match=words):
        ratings.rate(battles)


@pytest.mark.parametrize(
    "first, second, outcome, words",
    [
        ([], [], [], "there are no battles to rate models by"),
        (["a"], ["a"], [1], "battle 0: 'a' meets itself"),
        (["a", "b"], ["b", "a"], [1, 2], "battle 1: outcome 2 is not from 0 to 1"),
        (["a"], ["b"], [np.nan], "battle 0: outcome nan is not from 0 to 1"),
        (["a"], ["b", "c"], [1], "1 first models, 2 second models and 1 outcomes"),
    ],
)
def test_bad_battles_are_refused(first, second, outcome, words):
    with pytest.raises(ValueError, match=words):
        make_battles(first, second, outcome)


def stylish_battles(rng, count=20_000):
    """Equal models, of which b writes longer, before a judge that counts characters."""
    names = np.array(["a", "b", "c"])
    first = rng.integers(0, 3, count)
    second = (first + rng.integers(1, 3, count)) % 3
    scale = np.array([100.0, 300.0, 100.0])
    lengths = [scale[k] * rng.lognormal(0.0, 0.5, count) for k in (first, second)]
    x = style_differences(lengths[0][:, None], lengths[1][:, None])
    won = (rng.random(count) < special.expit(1.5 * x[:, 0])) * 1.0
    return make_battles(names[first], names[second], won), x


def test_style_control_finds_equal_models_under_a_judge_of_length():
    battles, x = stylish_battles(np.random.default_rng(0))
    raw, controlled = ratings.rate(battles), ratings.rate(battles, x)
    assert raw.rating[1] - raw.rating[0] > 200
    # the penalty takes half a percent; standard errors are about 4 points and 0.02
    np.testing.assert_allclose(controlled.rating, 1000.0, atol=4 * controlled.se.max())
    assert controlled.se.max() < 6
    shrunk = abs(controlled.style[0] - 1.5)
    assert shrunk < 4 * controlled.style_se[0] + 0.02
    # arena_rank's penalty leaves a small part of the coefficient
    heavy = ratings.rate(battles, x, style_ridge=1.0)
    assert heavy.style[0] < 0.5 and heavy.rating[1] > 1050


def test_style_counts_and_differences_by_hand():
    text = "## A\n1. **x** and __y__\n* z\n\n~~~\n- code **b**\n~~~\nsnake__case__name"
    # the fence's list item and bold are code, snake__case__name is no bold
    assert style_counts(text) == (len(text), 1, 2, 2)
    assert style_counts("") == (0, 0, 0, 0)
    x = style_differences(np.array([[3, 0], [1, 0]]), np.array([[1, 0], [3, 0]]))
    # 0.5 and -0.5 with a standard deviation of 1 / sqrt(2); 0 where both are 0
    np.testing.assert_allclose(x, [[np.sqrt(0.5), 0.0], [-np.sqrt(0.5), 0.0]])
