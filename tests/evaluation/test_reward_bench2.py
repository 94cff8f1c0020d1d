"""RewardBench 2: best of four with ties, and the Ties score by hand."""

import numpy as np
import pytest

from jaxalign.evaluation.reward_benchmarks import reward_bench2
from jaxalign.evaluation.reward_benchmarks.reward_bench2 import (
    answer_spread,
    best_of_result,
)


class TestBestOf:
    @pytest.mark.parametrize(
        ("scores", "result"),
        [
            ([3.0, 1.0, 2.0, 0.0], 1.0),  # the chosen is the only maximum
            ([2.0, 2.0, 2.0, 0.0], 1 / 3),  # it shares the maximum with two
            ([1.0, 1.0, 1.0, 1.0], 0.25),  # chance
            ([2.0, 3.0, 0.0, 0.0], 0.0),  # another is better
        ],
    )
    def test_one_over_the_number_of_maxima(self, scores, result):
        assert best_of_result(np.array(scores)) == pytest.approx(result)

    def test_several_right_answers_at_the_maximum(self):
        # two right and one wrong answer at the maximum
        assert best_of_result(np.array([2.0, 2.0, 2.0, 1.0]), 2) == pytest.approx(2 / 3)

    def test_a_nan_names_its_answer(self):
        with pytest.raises(ValueError, match="the score of answer 2 is NaN"):
            best_of_result(np.array([0.0, 1.0, np.nan]))


def ties(ref, tied, right):
    """The parts and the score of one prompt, from the scores of its two rows."""
    one = answer_spread([np.array(ref)], [1])
    several = answer_spread([np.array(tied)], [right])
    parts = reward_bench2.ties_parts(one, several)
    score = reward_bench2.ties_scores(one, several)[0]
    return {name: float(part[0]) for name, part in parts.items()}, float(score)


class TestTies:
    def test_by_hand(self):
        # ref: right 5, wrong 1: M_ref 4. tied: right 4 and 3, wrong 0: M_tied 3, S 1;
        # min(4, 3) = 3 > 1; tanh(3 / 1 - 1) = tanh 2
        parts, score = ties([5.0, 1.0], [4.0, 3.0, 0.0], 2)
        assert parts == pytest.approx(
            dict(
                accurate_tied=1.0,
                accurate_ref=1.0,
                closer=1.0,
                closer_hard=1.0,
                gap=np.tanh(2.0),
            )
        )
        assert score == pytest.approx(1.0 + 0.01 * np.tanh(2.0))

    def test_spread_wider_than_the_margin(self):
        # M_ref 4; tied: right 5 and 2, wrong 1: M 1, S 3: accurate, not closer;
        # tanh(1 / 3 - 1)
        parts, score = ties([5.0, 1.0], [5.0, 2.0, 1.0], 2)
        assert (parts["closer"], parts["closer_hard"]) == (0.0, 0.0)
        assert score == pytest.approx(0.6 + 0.01 * np.tanh(-2 / 3))

    def test_closer_to_each_other_but_not_by_the_reference(self):
        # M_ref 0.5; tied: right 4 and 3, wrong 0: M 3 > S 1, but min(.5, 3) < 1
        parts, score = ties([1.5, 1.0], [4.0, 3.0, 0.0], 2)
        assert (parts["closer"], parts["closer_hard"]) == (1.0, 0.0)
        assert score == pytest.approx(0.8 + 0.01 * np.tanh(0.5 - 1))

    def test_a_wrong_answer_above_a_right_one(self):
        # tied: worst right 0 < wrong 1; ref right: 0.3; min(4, -1) / 3 - 1 = -4/3
        parts, score = ties([5.0, 1.0], [3.0, 0.0, 1.0], 2)
        assert (parts["accurate_tied"], parts["accurate_ref"]) == (0.0, 1.0)
        assert score == pytest.approx(0.3 + 0.01 * np.tanh(-4 / 3))

    def test_equal_right_answers_have_no_gap(self):
        # S = 0: the fifth part is 0, not NaN; margins above 0 are closer
        parts, score = ties([2.0, 1.0], [3.0, 3.0, 1.0], 2)
        assert parts["gap"] == 0.0
        assert score == pytest.approx(1.0)

    def test_all_scores_equal(self):
        # no margin is above 0, and S = 0: nothing
        assert ties([1.0, 1.0], [1.0, 1.0, 1.0], 2)[1] == 0.0


class TestOverall:
    def test_the_plain_mean_of_six_subsets(self):
        results = {
            name: np.full(4, k / 10) for k, name in enumerate(reward_bench2.SUBSETS)
        }
        units = dict.fromkeys(results, "each")
        overall = reward_bench2.overall_score(results, units=units)
        assert overall.mean == pytest.approx((0 + 1 + 2 + 3 + 4 + 5) / 60)

    def test_none_without_one(self):
        results = {name: np.ones(4) for name in reward_bench2.SUBSETS[:-1]}
        units = dict.fromkeys(results, "each")
        assert reward_bench2.overall_score(results, units=units) is None
