"""The choice of the next pair: by hand, and unbiased by enumeration of all choices."""

import itertools

import numpy as np
import pytest

from jaxalign.evaluation import pair_choice

VALUES = np.array([1.0, 10.0, 100.0, 1000.0])
MEAN = 277.75


def all_open(n=4):
    return np.ones(n, bool)


class TestScores:
    def test_certain_pairs_tell_nothing(self):
        # p (1 - p) is 0 at log-odds of 100; equal answers have no difference
        features = np.array([[100.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        gain = pair_choice.expected_information(features, np.ones(2), np.eye(2))
        p = 1 / (1 + np.exp(-1.0))
        expected = [0.0, 0.0, 0.5 * np.log(1 + p * (1 - p))]
        np.testing.assert_allclose(gain, expected, atol=1e-12)

    def test_the_gain_is_that_of_the_determinant(self):
        rng = np.random.default_rng(0)
        x, mean = rng.normal(size=(5, 3)), rng.normal(size=3)
        root = rng.normal(size=(3, 3))
        precision = root @ root.T + np.eye(3)
        gain = pair_choice.expected_information(x, mean, np.linalg.inv(precision))
        for i in range(5):
            p = 1 / (1 + np.exp(-x[i] @ mean))
            after = precision + p * (1 - p) * np.outer(x[i], x[i])
            more = np.linalg.slogdet(after)[1] - np.linalg.slogdet(precision)[1]
            np.testing.assert_allclose(gain[i], more / 2, rtol=1e-9)

    def test_the_posterior_by_hand(self):
        # 3 of 4 wins and a flat prior: log 3, and variance 1 / (4 * 3/4 * 1/4)
        outcome = np.array([1.0, 1.0, 1.0, 0.0])
        mean, covariance = pair_choice.score_posterior(
            np.ones((4, 1)), outcome, prior_sd=1e6
        )
        np.testing.assert_allclose(mean, [np.log(3.0)], rtol=1e-8)
        np.testing.assert_allclose(covariance, [[4 / 3]], rtol=1e-8)

    def test_a_prior_keeps_a_perfect_record_finite(self):
        mean, covariance = pair_choice.score_posterior(
            np.ones((50, 1)), np.ones(50), prior_sd=1.0
        )
        # stationary: 50 (1 - s(mean)) = mean
        np.testing.assert_allclose(50 / (1 + np.exp(mean)), mean, rtol=1e-8)
        assert 0 < covariance[0, 0] < 1

    def test_one_model_does_not_disagree(self):
        with pytest.raises(ValueError, match="two models or more"):
            pair_choice.ensemble_disagreement(np.zeros((1, 3)))


class TestChoice:
    def test_probabilities_sum_to_1_and_none_is_0(self):
        score = np.array([0.0, 2.0, 2.0, 1.0])
        q = pair_choice.choice_probabilities(score, all_open(), random_share=0.2)
        np.testing.assert_allclose(q, [0.05, 0.37, 0.37, 0.21])  # .05 + .8 / 5 each
        np.testing.assert_allclose(q.sum(), 1.0)

    def test_where_nothing_tells_the_choice_is_random(self):
        q = pair_choice.choice_probabilities(np.zeros(4), all_open(), random_share=0.2)
        np.testing.assert_allclose(q, [0.25] * 4)

    def test_a_negative_score_is_refused(self):
        with pytest.raises(ValueError, match="negative"):
            pair_choice.choice_probabilities(
                np.array([1.0, -1.0]), all_open(2), random_share=0.2
            )

    def test_random_is_uniform_over_the_open(self):
        open_pairs = np.array([True, False, True, True])
        q = pair_choice.choice_probabilities(None, open_pairs, random_share=0.1)
        np.testing.assert_allclose(q, [1 / 3, 0, 1 / 3, 1 / 3])

    def test_a_closed_pair_needs_no_score(self):
        score = np.array([np.nan, 1.0])
        q = pair_choice.choice_probabilities(
            score, np.array([False, True]), random_share=0.5
        )
        np.testing.assert_allclose(q, [0.0, 1.0])

    def test_the_choice_has_its_probability(self):
        rng = np.random.default_rng(0)
        score = np.array([0.0, 1.0, 0.0, 0.0])
        choices = [
            pair_choice.choose_pair(score, all_open(), rng, random_share=0.4)
            for _ in range(2000)
        ]
        q = {1: 0.7, 0: 0.1, 2: 0.1, 3: 0.1}
        np.testing.assert_allclose(
            [c.probability for c in choices], [q[c.pair] for c in choices]
        )
        share = np.bincount([c.pair for c in choices]) / 2000
        # standard error sqrt(.7 * .3 / 2000) = 0.01
        np.testing.assert_allclose(share, [0.1, 0.7, 0.1, 0.1], atol=0.04)

    @pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
    def test_no_random_share_is_refused(self, share):
        with pytest.raises(ValueError, match="random share"):
            pair_choice.choice_probabilities(None, all_open(), random_share=share)

    def test_nothing_open_is_refused(self):
        with pytest.raises(ValueError, match="no pair is open"):
            pair_choice.choice_probabilities(None, ~all_open(), random_share=0.5)


class TestWeights:
    """Expectations are sums over all sequences of choices, not simulations."""

    SCORES = np.array([0.5, 3.0, 1.0, 20.0])

    def test_of_pairs_that_stay_open_the_mean_is_unbiased(self):
        q = pair_choice.choice_probabilities(self.SCORES, all_open(), random_share=0.3)
        expected = 0.0
        for pairs in itertools.product(range(4), repeat=2):
            chosen = list(pairs)
            w = pair_choice.independent_weights(q[chosen], 4)
            expected += np.prod(q[chosen]) * np.mean(w * VALUES[chosen])
        np.testing.assert_allclose(expected, MEAN, rtol=1e-12)

    @pytest.mark.parametrize("judged", [1, 2, 3, 4])
    def test_of_pairs_that_are_closed_the_mean_is_unbiased(self, judged):
        expected = 0.0
        for pairs in itertools.permutations(range(4), judged):
            open_pairs, q, score = all_open(), [], self.SCORES
            for pair in pairs:
                each = pair_choice.choice_probabilities(
                    score, open_pairs, random_share=0.3
                )
                q.append(each[pair])
                open_pairs = open_pairs & (np.arange(4) != pair)
                # scores depend on what was judged, as a model's do
                score = score * (1 + VALUES[pair] % 7)
                score = np.roll(score, pair)
            w = pair_choice.leveled_weights(np.array(q), 4)
            expected += np.prod(q) * np.mean(w * VALUES[list(pairs)])
        np.testing.assert_allclose(expected, MEAN, rtol=1e-12)

    def test_without_weights_it_is_biased(self):
        q = pair_choice.choice_probabilities(self.SCORES, all_open(), random_share=0.3)
        assert abs(q @ VALUES - MEAN) > 100

    def test_all_judged_weigh_the_same(self):
        w = pair_choice.leveled_weights(np.array([0.7, 0.1, 0.6, 1.0]), 4)
        np.testing.assert_allclose(w, np.ones(4))

    def test_more_judgements_than_pairs_are_refused(self):
        with pytest.raises(ValueError, match="5 judgements of 4 pairs"):
            pair_choice.leveled_weights(np.ones(5), 4)
