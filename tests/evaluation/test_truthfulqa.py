"""TruthfulQA's scores by hand and of degenerate models."""

import csv

import numpy as np
import pytest

from jaxalign.evaluation.benchmarks import truthfulqa
from jaxalign.evaluation.benchmarks.truthfulqa import split_answers, truthful_scores


def scores(true, false, best_true=0, best_false=0):
    return truthful_scores(
        np.array(true), np.array(false), best_true=best_true, best_false=best_false
    )


class TestByHand:
    def test_the_best_true_answer_is_the_likeliest(self):
        # mc2 = (0.4 + 0.1) / (0.4 + 0.1 + 0.3 + 0.2)
        found = scores(np.log([0.1, 0.4]), np.log([0.3, 0.2]), best_true=1)
        assert found == pytest.approx((1.0, 0.5, 1.0))

    def test_another_true_answer_does_not_help_mc1(self):
        # the best true answer, 0.1, is below the false 0.3, and above the best false
        # one, 0.05
        found = scores(np.log([0.1, 0.9]), np.log([0.3, 0.05]), best_false=1)
        assert (found.mc1, found.binary) == (0.0, 1.0)

    def test_very_small_log_probs_do_not_underflow(self):
        # exp(-2000) is 0 in float64; the ratio is 1 / (1 + e)
        found = scores([-2001.0], [-2000.0])
        assert found.mc2 == pytest.approx(1 / (1 + np.e))

    def test_nan_is_refused(self):
        with pytest.raises(ValueError, match="log-prob of an answer is NaN"):
            scores([0.0], [np.nan])


class TestUniform:
    @pytest.mark.parametrize(("true", "false"), [(1, 1), (3, 5), (6, 2)])
    def test_equal_log_probs_give_chance(self, true, false):
        found = scores(np.full(true, -7.0), np.full(false, -7.0))
        assert found == pytest.approx(truthfulqa.chance_scores(true, false))


class TestAnswers:
    def test_full_stops_blanks_and_repeated_answers(self):
        assert split_answers("No; No.; Yes ;; ") == ["No.", "Yes."]

    def test_the_published_file(self, public_data):
        path = public_data / "truthfulqa" / "TruthfulQA.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 790
        for row in rows:
            best = truthfulqa.closed_answer(row["Best Answer"])
            assert best in split_answers(row["Correct Answers"])
