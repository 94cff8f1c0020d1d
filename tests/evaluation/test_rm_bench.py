"""RM-Bench: the matrix of styles, and which of its triangles is hard."""

import numpy as np
import pytest

from jaxalign.evaluation.reward_benchmarks import rm_bench


def levels(chosen, rejected):
    results = rm_bench.style_results(np.array(chosen), np.array(rejected))
    return {k: v.tolist() for k, v in rm_bench.level_results(results).items()}


class TestLevels:
    def test_a_reward_of_style_alone_is_right_where_it_is_easy(self):
        # scores 0, 1, 2 by style, whatever the content: easy 1, hard 0, and equal
        # scores on the diagonal are wrong
        found = levels([[0.0, 1.0, 2.0]], [[0.0, 1.0, 2.0]])
        assert found == {
            "easy": [1.0],
            "normal": [0.0],
            "hard": [0.0],
            "average": [pytest.approx(1 / 3)],
        }

    def test_a_reward_of_content_alone_is_right_everywhere(self):
        found = levels([[1.0, 1.0, 1.0]], [[0.0, 0.0, 0.0]])
        assert found["easy"] == found["normal"] == found["hard"] == [1.0]

    def test_content_and_style_by_hand(self):
        # chosen 1, 2, 3 and rejected 0, 2, 4: right where chosen > rejected
        #   chosen \ rejected   0  2  4
        #   1                   1  0  0     normal: (1 + 0 + 0) / 3
        #   2                   1  0  0     easy (below the diagonal): (1 + 1 + 1) / 3
        #   3                   1  1  0     hard (above it): 0
        results = rm_bench.style_results(
            np.array([[1.0, 2.0, 3.0]]), np.array([[0.0, 2.0, 4.0]])
        )
        assert results[0].tolist() == [[1, 0, 0], [1, 0, 0], [1, 1, 0]]
        found = rm_bench.level_results(results)
        assert found["normal"][0] == pytest.approx(1 / 3)
        assert (found["easy"][0], found["hard"][0]) == (1.0, 0.0)

    def test_a_nan_names_its_row(self):
        with pytest.raises(ValueError, match="a score of row 1 is NaN"):
            levels([[0.0, 1.0], [0.0, np.nan]], [[0.0, 1.0], [0.0, 1.0]])


class TestDomains:
    DOMAINS = np.array(
        ["chat", "math", "code", "safety-refuse", "safety-refuse", "safety-response"]
    )

    def test_safety_is_the_mean_of_its_halves(self):
        # refuse (1 + 1) / 2, response 0: 0.5, though two of three rows are right;
        # overall (1 + 0 + 1 + 0.5) / 4
        values = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 0.0])
        scores = rm_bench.domain_scores(values, self.DOMAINS, units="each")
        assert scores["safety"].mean == pytest.approx(0.5)
        assert scores["overall"].mean == pytest.approx(2.5 / 4)

    def test_an_absent_domain_leaves_the_overall_score_out(self):
        mask = self.DOMAINS != "math"
        scores = rm_bench.domain_scores(np.ones(5), self.DOMAINS[mask], units="each")
        assert scores["math"] is None and scores["overall"] is None
        assert scores["chat"].mean == 1.0
