"""Data rows of a judge's labels, by hand."""

import jax
import numpy as np

from jaxalign.pipeline import (
    judge_rows,
)
from jaxalign.pipeline.llm_judge import Comparison
from tests.support.tiny_judge import ANSWER_SETS


def test_rows_of_labels_by_hand():
    answers = ANSWER_SETS[0].answers
    pairs = [Comparison(0, 1, 0, 0, 0.75), Comparison(0, 2, 0, 0, 0.5)]
    pairs.append(Comparison(1, 2, 0, 0, 0.0))
    one, other = judge_rows.soft_pairs(ANSWER_SETS[0], pairs)
    assert (one["chosen"], one["rejected"]) == (answers[0], answers[1])
    assert one["label_prob"] == 0.75 and np.isclose(one["margin"], np.log(3.0))
    assert (other["chosen"], other["rejected"]) == (answers[2], answers[1])
    assert np.isclose(other["margin"], np.log(0.9999 / 0.0001))
    worth = judge_rows.mean_win_probabilities(ANSWER_SETS[0], pairs)
    # (3/4 + 1/2) / 2, (1/4 + 0) / 2, (1/2 + 1) / 2
    assert worth.tolist() == [0.625, 0.125, 0.75]
    row = judge_rows.ranking_row(ANSWER_SETS[0], worth)
    assert row["answers"] == [answers[2], answers[0], answers[1]]
    # of equal ratings nothing is preferred
    ratings = [np.array([1.0, 4.0, 2.0]), np.array([2.0, 2.0])]
    (row,) = judge_rows.zephyr_pairs(ANSWER_SETS, ratings, jax.random.key(0))
    assert row["chosen"] == answers[1] and row["rejected"] in (answers[0], answers[2])
    assert row["rewards"] == [4, 1 + (row["rejected"] == answers[2])]
