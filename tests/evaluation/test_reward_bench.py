"""RewardBench 1: counts of the published subsets, sections, and what is absent."""

import numpy as np
import pytest

from jaxalign.evaluation.reward_benchmarks import reward_bench, strata
from jaxalign.evaluation.reward_benchmarks.reward_bench import SECTIONS, pair_results


def results_of(accuracy: dict[str, float]) -> dict[str, np.ndarray]:
    """Ten pairs of each subset, of which a share is right."""
    return {
        subset: (np.arange(10) < round(10 * share)).astype(float)
        for subset, share in accuracy.items()
    }


def units_of(results):
    return dict.fromkeys(results, "each")


EVERY = {subset: 1.0 for subsets in SECTIONS.values() for subset in subsets}


class TestPairResults:
    def test_equal_scores_are_wrong_for_rewards_and_half_for_judges(self):
        chosen, rejected = np.array([1.0, 0.0, 2.0]), np.array([0.0, 1.0, 2.0])
        assert pair_results(chosen, rejected).tolist() == [1.0, 0.0, 0.0]
        assert pair_results(chosen, rejected, equal=0.5).tolist() == [1.0, 0.0, 0.5]

    def test_a_nan_names_its_row(self):
        with pytest.raises(ValueError, match="a score of row 1 is NaN"):
            pair_results(np.array([1.0, np.nan]), np.array([0.0, 0.0]))


class TestSections:
    def test_the_published_numbers_of_rows(self):
        # Lambert et al. 2024, table 1, and the published code's EXAMPLE_COUNTS
        totals = {name: sum(subsets.values()) for name, subsets in SECTIONS.items()}
        assert totals == {
            "Chat": 358,
            "Chat Hard": 456,
            "Safety": 740,
            "Reasoning": 1968,
        }
        assert SECTIONS["Reasoning"]["math-prm"] == 6 * 164, "mathematics as all code"

    def test_a_section_weighs_subsets_by_their_published_rows(self):
        # math-prm 0.2 (984 of 1968), code 1.0 (984): 0.6, whatever rows are at hand
        accuracy = dict.fromkeys(SECTIONS["Reasoning"], 1.0) | {"math-prm": 0.2}
        results = results_of(accuracy)
        scores = reward_bench.section_scores(results, units=units_of(results))
        assert scores["Reasoning"].accuracy.mean == pytest.approx(0.6, abs=1e-12)
        assert scores["Reasoning"].missing == ()
        assert scores["Reasoning"].rows == 70
        assert scores["Chat"] == (None, 0, tuple(SECTIONS["Chat"]))

    def test_a_partial_section_says_what_is_absent(self):
        # (100 * 0.5 + 134 * 0.2) / 234 = 76.8 / 234
        results = results_of({"llmbar-natural": 0.5, "llmbar-adver-neighbor": 0.2})
        score = reward_bench.section_scores(results, units=units_of(results))
        hard = score["Chat Hard"]
        assert hard.accuracy.mean == pytest.approx(76.8 / 234, abs=1e-12)
        assert "mt-bench-hard" in hard.missing and len(hard.missing) == 4

    def test_the_section_of_a_subset(self):
        assert reward_bench.section_of("hep-rust") == "Reasoning"
        assert reward_bench.section_of("my own") is None


class TestOverall:
    def test_the_plain_mean_of_the_sections(self):
        # Chat 1, Chat Hard 1, Safety 1, Reasoning 0.5 * 0 + 0.5 * 1: 3.5 / 4
        results = results_of(EVERY | {"math-prm": 0.0})
        overall = reward_bench.overall_score(results, units=units_of(results))
        assert overall.mean == pytest.approx(0.875, abs=1e-12)

    def test_the_older_board_has_prior_sets_at_half_weight(self):
        # (4 + 0.5 * (1 + 0 + 0 + 0) / 4) / 4.5
        prior = dict.fromkeys(reward_bench.PRIOR_SETS, 0.0) | {"shp": 1.0}
        results = results_of(EVERY | prior)
        overall = reward_bench.overall_score(
            results, units=units_of(results), prior_sets=True
        )
        assert overall.mean == pytest.approx(4.125 / 4.5, abs=1e-12)  # float64 rounding
        sections = reward_bench.section_scores(results, units=units_of(results))
        assert sections["Prior sets"].accuracy.mean == pytest.approx(0.25)

    @pytest.mark.parametrize("absent", ["math-prm", "donotanswer"])
    def test_none_where_a_subset_is_absent(self, absent):
        results = results_of(EVERY)
        del results[absent]
        assert reward_bench.overall_score(results, units=units_of(results)) is None

    def test_none_of_the_older_board_without_prior_sets(self):
        results = results_of(EVERY)
        units = units_of(results)
        assert reward_bench.overall_score(results, units=units, prior_sets=True) is None


class TestIntervals:
    def test_the_standard_error_of_a_stratified_mean(self):
        # SE^2 = sum w^2 p (1 - p) / n = .75^2 * .25 / 400 + .25^2 * .21 / 100
        first = (np.arange(400) < 200).astype(float)
        second = (np.arange(100) < 30).astype(float)
        interval = strata.stratified_bootstrap(
            [first, second], [3, 1], units=["each", "each"]
        )
        assert interval.mean == pytest.approx(0.75 * 0.5 + 0.25 * 0.3)
        error = (0.75**2 * 0.25 / 400 + 0.25**2 * 0.21 / 100) ** 0.5
        half = (interval.high - interval.low) / 2
        # 2000 resamples: a percentile's relative error is about 4 %
        assert half == pytest.approx(1.96 * error, rel=0.1)

    def test_no_spread_has_the_bound_of_a_proportion(self):
        # 60 of 60 right: (1 - level) / 2 = low ** 60, low = 0.94
        ones = [np.ones(40), np.ones(20)]
        interval = strata.stratified_bootstrap(
            ones, [1, 1], units=["each", "each"], share=True
        )
        assert interval == pytest.approx((1.0, 0.025 ** (1 / 60), 1.0))

    def test_units_are_resampled_together(self):
        # ten prompts of ten equal pairs are ten observations, not a hundred
        values = np.repeat([1.0, 0.0], 50)
        prompts = np.repeat(np.arange(10), 10)
        wide = strata.stratified_bootstrap([values], [1], units=[prompts])
        narrow = strata.stratified_bootstrap([values], [1], units=["each"])
        ratio = (wide.high - wide.low) / (narrow.high - narrow.low)
        # bounds of 2000 resamples are uncertain by 3 %, and ten units are few
        assert ratio == pytest.approx(10**0.5, rel=0.15)

    def test_no_groups_are_refused(self):
        with pytest.raises(ValueError, match="needs one at least"):
            strata.stratified_bootstrap([], [], units=[])

    def test_a_ratio_weighs_rows_by_their_denominator(self):
        # (2 + 0 + 1) / (2 + 0 + 4); a mean of ratios would differ
        ratio = strata.ratio_bootstrap(
            np.array([2.0, 0.0, 1.0]), np.array([2.0, 0.0, 4.0]), units="each"
        )
        assert ratio.mean == 0.5
        assert ratio.low == pytest.approx(0.25)  # resamples of the last row alone
        assert ratio.high == pytest.approx(1.0)  # and of the first alone
