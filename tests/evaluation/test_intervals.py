"""Intervals that cover what they should, and no more: of means, over their units."""

import numpy as np
import pytest

from jaxalign.evaluation import intervals


def share_covered(found, truth):
    """How often the intervals hold the truth."""
    return np.mean([each.low <= truth <= each.high for each in found])


def binomial(times, level=0.95):
    """The standard deviation of a share of so many simulations."""
    return np.sqrt(level * (1 - level) / times)


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(3.0, 2.0, 1000)
    found = intervals.bootstrap(values, units="each")
    half = 1.96 * values.std() / np.sqrt(1000)
    assert found.mean == values.mean()
    # 2000 rounds place a 2.5 % quantile to about 0.06 standard errors: 5 % of 1.96
    np.testing.assert_allclose(found.low, values.mean() - half, atol=0.1 * half)
    np.testing.assert_allclose(found.high, values.mean() + half, atol=0.1 * half)
    narrower = intervals.bootstrap(values, units="each", level=0.5)
    # half of a normal distribution lies within 0.674 standard deviations
    width = 2 * 0.674 / 1.96 * half
    np.testing.assert_allclose(narrower.high - narrower.low, width, rtol=0.1)


def test_it_covers_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    found = [
        intervals.bootstrap((rng.random(100) < 0.3) + 0.0, units="each", seed=i)
        for i in range(200)
    ]
    # 95 % of 200, give or take 4 binomial deviations of 1.5 %
    assert share_covered(found, 0.3) >= 0.95 - 4 * binomial(200)


def test_the_same_seed_gives_the_same_bits_however_many_are_held(monkeypatch):
    values, units = np.random.default_rng(2).random(500), np.arange(500) // 2
    found = intervals.bootstrap(values, units=units, seed=3)
    assert found == intervals.bootstrap(values, units=units, seed=3)
    assert found != intervals.bootstrap(values, units=units, seed=4)
    monkeypatch.setattr(intervals, "UNITS_PER_CHUNK", 1_300)
    few = intervals.bootstrap(values, units=units, seed=3)
    np.testing.assert_allclose(few, found, rtol=1e-12)


def six_pairs(rng, prompts=100):
    """Whether a model is right on all pairs of 4 answers to each prompt, [6 prompts].

    Answers' worths are standard normal. The model sees them with standard normal noise,
    times 3 on half of the prompts, and not at all on the other half.
    """
    worth = rng.normal(size=(prompts, 4))
    sees = 3.0 * rng.integers(0, 2, (prompts, 1))
    score = sees * worth + rng.normal(size=(prompts, 4))
    a, b = np.triu_indices(4, 1)
    right = (worth[:, a] > worth[:, b]) == (score[:, a] > score[:, b])
    return right.reshape(-1).astype(float)


def test_pairs_of_one_prompt_are_resampled_together():
    rng, times = np.random.default_rng(5), 400
    samples = [six_pairs(rng) for _ in range(times)]
    # two normals of correlation rho have one sign with probability 1/2 + asin(rho)/pi;
    # rho is 3 / sqrt(3^2 + 1) on half of the prompts, and 0 on the others
    truth = 0.5 + 0.5 * np.arcsin(3 / np.sqrt(10)) / np.pi
    prompts = np.repeat(np.arange(100), 6)
    by_prompt = [intervals.bootstrap(x, units=prompts) for x in samples]
    alone = [intervals.bootstrap(x, units="each") for x in samples[:200]]
    # 0.95 of 400, within 3 binomial deviations
    assert abs(share_covered(by_prompt, truth) - 0.95) < 3 * binomial(times)
    # of a pair's variance, 0.21, what the model sees of the prompt makes 0.04: six of
    # them have sqrt(1 + 5 * 0.19) = 1.4 times the deviation of independent ones, or
    # more; within 1.96 / 1.4 deviations lie 84 %, and 2 binomial ones of 200 are 5 %
    assert share_covered(alone, truth) < 0.89


def test_a_mean_over_units_of_different_sizes_is_over_their_values():
    # two units, (0, 0, 0) and (1): the mean of both is 1/4, not 1/2
    found = intervals.bootstrap(
        np.array([0.0, 0.0, 1.0, 0.0]), units=["a", "a", "b", "a"]
    )
    # drawing a twice gives 0, b twice 1: each a quarter of the draws
    assert found == (0.25, 0.0, 1.0)


def test_one_unit_has_no_interval():
    found = intervals.bootstrap(np.array([0.0, 1.0]), units=["a", "a"])
    assert found.mean == 0.5 and np.isnan([found.low, found.high]).all()
    assert str(found) == "0.500 ± ?"


def test_units_are_told():
    values = np.ones(3)
    with pytest.raises(TypeError, match="units"):
        intervals.bootstrap(values)
    with pytest.raises(ValueError, match="2 units for 3 values"):
        intervals.bootstrap(values, units=[0, 1])
    with pytest.raises(ValueError, match="or 'each'; not 'prompt'"):
        intervals.bootstrap(values, units="prompt")


def seed_rewards(rng, seeds, spread, *, same=False, prompts=256):
    """Rewards as README's: 0.5 from prompt to prompt, `spread` from seed to seed.

    Of the prompts' 0.5, 0.4 is the prompt's own and 0.3 of what is sampled.
    """
    own = rng.normal(0.0, 0.4, (1 if same else seeds, prompts))
    sampled = rng.normal(0.0, 0.3, (seeds, prompts))
    return list(own + sampled + rng.normal(0.0, spread, (seeds, 1)))


@pytest.mark.parametrize("spread", [0.0, 0.03, 0.1])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_over_seeds_it_covers_with_and_without_spread(seeds, spread):
    rng, times = np.random.default_rng([seeds, int(100 * spread)]), 1000
    found = [
        intervals.interval_over_seeds(
            seed_rewards(rng, seeds, spread), units=["each"] * seeds
        )
        for _ in range(times)
    ]
    # Student's t is exact: 0.95, within 3 binomial deviations of 0.007
    assert abs(share_covered(found, 0.0) - 0.95) < 3 * binomial(times)


@pytest.mark.parametrize("spread", [0.0, 0.1])
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_seeds_that_answer_the_same_prompts_cover_too(seeds, spread):
    rng, times = np.random.default_rng([7, seeds, int(100 * spread)]), 300
    prompts = [np.arange(256)] * seeds
    samples = [seed_rewards(rng, seeds, spread, same=True) for _ in range(times)]
    found = [intervals.interval_over_seeds(x, units=prompts) for x in samples]
    # the level, or a little more: the two parts are added as if both were at their end
    assert share_covered(found, 0.0) > 0.95 - 3 * binomial(times)
    if (
        seeds == 5 and not spread
    ):  # over seeds alone the choice of prompts does not show
        alone = [
            intervals.interval_over_seeds(x, units=["each"] * seeds) for x in samples
        ]
        assert share_covered(alone, 0.0) < 0.8


def test_over_seeds_by_hand():
    found = intervals.interval_over_seeds(
        [np.ones(2), np.full(3, 3.0)], units=["each", "each"]
    )
    # means 1 and 3: variance 2, of the mean of two 1, and t of one degree is 12.706
    np.testing.assert_allclose(found, (2.0, 2 - 12.7062, 2 + 12.7062), rtol=1e-5)
    both = [np.array([0.0, 2.0]), np.array([2.0, 4.0])]
    found = intervals.interval_over_seeds(both, units=[["a", "b"], ["a", "b"]])
    # residuals -1/2 and 1/2 in both: a covariance of 1/4 + 1/4 of the two means
    half = np.sqrt(12.7062**2 * 1.0 + 1.95996**2 * 0.5)
    np.testing.assert_allclose(found, (2.0, 2 - half, 2 + half), rtol=1e-5)


def test_one_seed_is_over_its_prompts():
    values, units = np.random.default_rng(3).random(40), np.arange(40) // 2
    found = intervals.interval_over_seeds([values], units=[units], seed=5)
    assert found == intervals.bootstrap(values, units=units, seed=5)


def test_a_share_stays_one_and_all_of_few_is_not_certain():
    halves = [np.array([1.0, 0.0]), np.ones(2)]
    found = intervals.interval_over_seeds(halves, units=["each", "each"], share=True)
    assert found == (0.75, 0.0, 1.0)
    # all of 60 prompts: a share of p does so with probability p^60, which is 2.5 % at
    # p = exp(log(0.025) / 60) = 0.94
    full = intervals.bootstrap(np.ones(60), units="each", share=True)
    np.testing.assert_allclose(full, (1.0, 0.9404, 1.0), atol=5e-5)
    none = intervals.bootstrap(np.zeros(60), units="each", share=True)
    np.testing.assert_allclose(none, (0.0, 0.0, 0.0596), atol=5e-5)


def test_a_gain_says_on_which_side_of_0_it_is():
    up, down = intervals.Gain(1.0, 0.5, 1.5), intervals.Gain(-1.0, -1.5, -0.5)
    assert str(up).endswith("▲") and str(down).endswith("▼")
    for neither in (
        intervals.Gain(0.1, -0.4, 0.6),
        intervals.Gain(1.0, np.nan, np.nan),
    ):
        assert not {"▲", "▼"} & set(str(neither))


def test_pairs_take_out_what_units_share():
    rng = np.random.default_rng(0)
    shared = 100.0 * rng.normal(size=300)
    theirs, ours = shared + rng.normal(size=300), shared + rng.normal(size=300) + 1.0
    found = intervals.paired_difference(ours, theirs, units="each")
    # differences have deviation sqrt 2: half a width of 1.96 * sqrt(2 / 300) = 0.16
    assert found.low > 0.6 and found.high < 1.4
    apart = intervals.bootstrap(ours, units="each")
    assert apart.high - apart.low > 10.0
    assert intervals.paired_difference(theirs, ours, units="each").mean == -found.mean


@pytest.mark.parametrize("values", [[], [1.0, np.nan], [np.inf, 0.0]])
def test_what_has_no_interval_is_refused(values):
    with pytest.raises(ValueError, match="values, all of them finite"):
        intervals.bootstrap(np.array(values), units="each")
    with pytest.raises(ValueError, match="values, all of them finite"):
        intervals.interval_over_seeds(
            [np.ones(2), np.array(values)], units=["each", "each"]
        )
