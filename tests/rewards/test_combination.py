"""Several rewards as one, by hand."""

import jax
import numpy as np

from jaxalign.rewards import combination

logit = lambda p: float(np.log(p / (1 - p)))


def test_llama_2_takes_safety_where_it_matters():
    helpful = np.array([1.0, 1.0, 1.0, 4.0], np.float32)
    # at 0.14 it is unsafe, at 0.16 not; the third is tagged, however safe it is
    safety = np.array([logit(p) for p in (0.14, 0.16, 0.9, 0.9)], np.float32)
    tagged = np.array([False, False, True, False])
    actual = jax.jit(combination.piecewise_safety)(helpful, safety, tagged)
    combined = np.array([logit(0.14), 1.0, logit(0.9), 4.0])
    white = (combined - combined.mean()) / combined.std()
    np.testing.assert_allclose(actual, white, rtol=1e-5)
    # another threshold, and the second is unsafe too
    actual = combination.piecewise_safety(helpful, safety, tagged, threshold=0.17)
    assert actual[1] < actual[2] < actual[3]
    assert np.argsort(actual).tolist() == [0, 1, 2, 3]


def test_groups_are_normalised_each_by_itself():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(2, 3, 4)).astype(np.float32)
    scores[1, 2] = 7.0  # all the same: says nothing
    weights = np.array([0.5, 2.0], np.float32)
    actual = combination.group_normalized_sum(scores, weights, eps=0)
    for p in range(3):
        expected = np.zeros(4)
        for m in range(2):
            group = scores[m, p].astype(np.float64)
            if group.std() > 1e-6:
                expected += weights[m] * (group - group.mean()) / group.std()
        np.testing.assert_allclose(actual[p], expected, rtol=1e-4, atol=1e-5)
    # neither scale nor level of a reward matters, beyond its weight
    other = scores * np.array([9.0, 0.1], np.float32)[:, None, None] + 3
    same = combination.group_normalized_sum(other, weights, eps=0)
    np.testing.assert_allclose(actual, same, atol=2e-5)


def test_an_ensemble_is_its_mean_its_worst_or_its_mean_less_doubt():
    scores = np.array([[1.0, 0.0], [2.0, 0.0], [6.0, 0.0]], np.float32)
    assert combination.ensemble_mean(scores).tolist() == [3.0, 0.0]
    assert combination.ensemble_minimum(scores).tolist() == [1.0, 0.0]
    # variance (4 + 1 + 9) / 3
    actual = combination.variance_penalized_mean(scores, coefficient=0.3)
    np.testing.assert_allclose(actual, [3 - 0.3 * 14 / 3, 0.0], rtol=1e-6)
    weights = np.array([1.0, 1.0, -1.0], np.float32)
    assert combination.weighted_sum(scores, weights).tolist() == [-3.0, 0.0]
