"""Bootstrap intervals and ranks of ratings, and Elo over shuffles."""

import time

import numpy as np
import pytest
from scipy import special

from jaxalign.evaluation.ratings import arena, elo, rating_intervals
from jaxalign.evaluation.ratings import bradley_terry as ratings
from jaxalign.evaluation.ratings.battles import make_battles

PLANTED = np.array([0.9, 0.4, 0.0, -0.2, -1.1])  # log-odds, with a mean of 0
NAMES = np.array([*"abcde"])


def planted_battles(rng, count=10_000, voters=None, spread=0.0):
    """Battles of five models; voters disagree with the planted ratings by a spread."""
    first = rng.integers(0, 5, count)
    second = (first + rng.integers(1, 5, count)) % 5
    logits = PLANTED[first] - PLANTED[second]
    if voters is not None:
        taste = rng.normal(0.0, spread, (voters.max() + 1, 5))
        logits = logits + taste[voters, first] - taste[voters, second]
    won = (rng.random(count) < special.expit(logits)) * 1.0
    return make_battles(NAMES[first], NAMES[second], won)


def share_covered(low, high, truth):
    return np.mean((low <= truth) & (truth <= high))


def test_sandwich_intervals_cover_planted_ratings():
    rng, covered = np.random.default_rng(0), []
    truth = ratings.to_rating(PLANTED)
    for _ in range(100):
        fit = ratings.rate(planted_battles(rng))
        half = 1.96 * fit.se
        covered.append(share_covered(fit.rating - half, fit.rating + half, truth))
    # 95 % give or take 3 %: 500 intervals, five alike, place a share to 1.3 %
    assert 0.92 <= np.mean(covered) <= 0.98


def test_bootstrap_intervals_cover_planted_ratings():
    rng, covered = np.random.default_rng(1), []
    truth = ratings.to_rating(PLANTED)
    for seed in range(40):
        battles = planted_battles(rng, 2_000)
        found = rating_intervals.bootstrap_ratings(
            battles, ratings.rate(battles), seed=seed, resamples=200
        )
        low, high = rating_intervals.bounds(found.rating)
        covered.append(share_covered(low, high, truth))
    # of 40 x 5, of which the five are alike: 3 deviations of 1.5 to 3.4 %
    assert 0.88 <= np.mean(covered) <= 1.0


def test_voters_with_tastes_need_clusters():
    """40 voters with tastes of their own: intervals over battles are too narrow."""
    rng, alone, clustered = np.random.default_rng(2), [], []
    truth = ratings.to_rating(PLANTED)
    voters = np.arange(4_000) % 40
    for seed in range(20):
        battles = planted_battles(rng, 4_000, voters, spread=1.0)
        fit = ratings.rate(battles)
        # tastes average to slightly smaller logits; compare with the many-voter limit
        shrunk = fit.theta @ PLANTED / (PLANTED @ PLANTED)
        goal = ratings.to_rating(shrunk * PLANTED)
        for clusters, shares in ((None, alone), (voters, clustered)):
            found = rating_intervals.bootstrap_ratings(
                battles, fit, clusters=clusters, seed=seed, resamples=100
            )
            low, high = rating_intervals.bounds(found.rating)
            shares.append(share_covered(low, high, goal))
    assert not np.allclose(truth, 1000)
    assert np.mean(alone) < 0.75 < 0.88 < np.mean(clustered)


def test_a_resample_is_a_fit_of_its_counts():
    """Equal battles are counted as one row: the same ratings as of repeated rows."""
    rng = np.random.default_rng(3)
    battles = planted_battles(rng, 300)
    x = rng.choice([-1.0, 0.0, 1.0], (300, 1))
    fit = ratings.rate(battles, x)
    clusters = np.arange(300) // 3
    found = rating_intervals.bootstrap_ratings(
        battles, fit, x, clusters=clusters, seed=5, resamples=3
    )
    (times,) = rating_intervals.resample_weights(100, resamples=3, seed=5)
    for k in range(3):
        rows = np.repeat(np.arange(300), times[k][clusters].astype(int))
        again = ratings.rate(
            make_battles(
                NAMES[battles.first[rows]],
                NAMES[battles.second[rows]],
                battles.outcome[rows],
            ),
            x[rows],
        )
        # float32 rounding
        np.testing.assert_allclose(found.rating[k], again.rating, atol=1e-6)
        np.testing.assert_allclose(found.style[k], again.style, atol=1e-8)


def test_resamples_without_a_loss_get_half_wins():
    battles = make_battles(["a"] * 6, ["b"] * 6, [1, 1, 1, 1, 1, 0])
    found = rating_intervals.bootstrap_ratings(
        battles, ratings.rate(battles), resamples=400
    )
    # no loss among six draws: (5/6)^6 = 33.5 %, give or take 4 * 2.4 %
    assert found.half_wins == pytest.approx(0.335, abs=0.1)
    assert np.isfinite(found.rating).all()


def test_a_thousand_resamples_of_nine_thousand_battles_take_seconds():
    rng = np.random.default_rng(4)
    names = np.array([f"model {k:02}" for k in range(59)])
    first = rng.integers(0, 59, 9_000)
    second = (first + rng.integers(1, 59, 9_000)) % 59
    outcome = rng.choice([0.0, 0.5, 1.0], 9_000)
    battles = make_battles(names[first], names[second], outcome)
    start = time.process_time()
    rating_intervals.bootstrap_ratings(
        battles, ratings.rate(battles), clusters=np.arange(9_000) % 124
    )
    # 4 s where it was measured; a loop over resamples took minutes
    assert time.process_time() - start < 30


def test_ranks_of_differences_are_finer_than_those_of_intervals():
    rng = np.random.default_rng(5)
    common = rng.normal(0.0, 50.0, (500, 1))
    noise = rng.normal(0.0, 1.0, (500, 3))
    resamples = np.array([10.0, 5.0, 5.0]) + common + noise
    low, high = rating_intervals.bounds(resamples)
    # what all share cancels: the first leads by 5 with a deviation of 1.4
    assert rating_intervals.upper_bound_ranks(low, high).tolist() == [1, 1, 1]
    assert rating_intervals.difference_ranks(resamples).tolist() == [1, 2, 2]


def test_ranks_of_differences_do_not_depend_on_memory(monkeypatch):
    resamples = np.random.default_rng(6).normal(size=(50, 7)) + np.arange(7) / 2
    ranks = rating_intervals.difference_ranks(resamples)
    monkeypatch.setattr(rating_intervals, "VALUES_PER_CHUNK", 1)
    np.testing.assert_array_equal(rating_intervals.difference_ranks(resamples), ranks)


def test_elo_depends_on_order_and_its_mean_says_how_much():
    """Two battles by hand, then the spread that studies report for K = 4 and 32."""
    battles = make_battles(["a", "a"], ["b", "b"], [1, 0])
    # 1016, 984 after the first; expected 1 / (1 + 10^(-32/400)) = 0.545922
    found = elo.elo(battles, k_factor=32)[0]
    np.testing.assert_allclose(found, [1016 - 32 * 0.545922, 984 + 32 * 0.545922])
    backwards = elo.elo(battles, np.array([[1, 0]]), k_factor=32)[0]
    np.testing.assert_allclose(backwards, found[::-1])
    many = planted_battles(np.random.default_rng(7), 3_000)
    slow = elo.elo_over_shuffles(many, shuffles=40, k_factor=4)
    fast = elo.elo_over_shuffles(many, shuffles=40, k_factor=32)
    assert (slow.mean.sum(), fast.mean.sum()) == pytest.approx((5000, 5000))
    # a stationary rating varies by about sqrt(k): sqrt(8) = 2.8 times as much
    assert 2.0 < np.mean(fast.sd) / np.mean(slow.sd) < 4.0
    again = elo.elo_over_shuffles(many, shuffles=40, k_factor=32)
    np.testing.assert_array_equal(fast.mean, again.mean)


def test_an_arena_has_an_entry_for_each_model():
    battles = planted_battles(np.random.default_rng(8), 1_000)
    rated = arena.rate_arena(
        battles, anchor=("c", 500.0), resamples=50, shuffles=3, seed=1
    )
    entries = arena.rating_entries(rated)
    assert list(entries)[0] == "a" and entries["c"]["rating"] == pytest.approx(500.0)
    names = {"rating", "se", "low", "high", "rank", "elo_mean", "elo_sd", "battles"}
    for entry in entries.values():
        assert names <= set(entry)
        assert entry["low"] < entry["rating"] < entry["high"]
    assert sum(entry["battles"] for entry in entries.values()) == 2_000
    rows = arena.detail_rows(rated)
    leads = [row["lead"].mean for row in rows[:-1]]
    values = [entry["rating"] for entry in entries.values()]
    np.testing.assert_allclose(leads, -np.diff(values))
    assert rows[-1]["lead"] is None
