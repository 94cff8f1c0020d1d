"""Likelihoods of graded comparisons and of annotators: by hand, and identities."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxalign import losses

A, B = np.random.default_rng(4).normal(0.0, 1.0, (2, 6)).astype(np.float32)
THRESHOLDS = {2: (), 3: (0.7,), 4: (0.7,), 8: (0.4, 1.0, 2.5)}
EXACT = {"sharpness": 1.0, "bias": 0.0, "lapse": 0.0}


def probability(position, levels, a=A, b=B):
    """P(position) of each pair."""
    loss = losses.cumulative_logit(
        a,
        b,
        np.full(np.shape(a), position),
        levels=levels,
        thresholds=THRESHOLDS[levels],
    )
    return np.exp(-loss)


class TestCumulativeLogit:
    def test_by_hand(self):
        # odds 3 for a, cuts at odds 2, 1, 1/2: P(<= k) = s(log 3 - c_k) is
        # 1.5 / 2.5, 3 / 4, 6 / 7, 1; positions have the differences
        a, b = np.log(np.array([3.0] * 4, np.float32)), np.zeros(4, np.float32)
        loss = losses.cumulative_logit(
            a, b, np.arange(1, 5), levels=4, thresholds=[np.log(2.0)]
        )
        expected = [0.6, 0.75 - 0.6, 6 / 7 - 0.75, 1 - 6 / 7]
        np.testing.assert_allclose(np.exp(-loss), expected, rtol=1e-5)

    @pytest.mark.parametrize("levels", THRESHOLDS)
    def test_probabilities_sum_to_1(self, levels):
        total = sum(probability(k, levels) for k in range(1, levels + 1))
        np.testing.assert_allclose(total, np.ones(6), rtol=1e-5)

    @pytest.mark.parametrize("levels", THRESHOLDS)
    def test_no_side_is_preferred(self, levels):
        for k in range(1, levels + 1):
            swapped = probability(levels + 1 - k, levels, B, A)
            np.testing.assert_allclose(probability(k, levels), swapped, rtol=1e-5)

    def test_of_two_levels_is_bradley_terry(self):
        expected = np.exp(-losses.bradley_terry(A, B))
        np.testing.assert_allclose(probability(1, 2), expected, rtol=1e-6)

    @pytest.mark.parametrize("levels", [4, 8])
    def test_sides_alone_are_bradley_terry(self, levels):
        side = sum(probability(k, levels) for k in range(1, levels // 2 + 1))
        expected = np.exp(-losses.bradley_terry(A, B))
        np.testing.assert_allclose(side, expected, rtol=1e-5)

    def test_of_three_levels_is_rao_kupper(self):
        for k, outcome in ((1, 1), (2, 0), (3, -1)):
            ties = losses.rao_kupper(A, B, np.full(6, outcome), theta=np.exp(0.7))
            np.testing.assert_allclose(probability(k, 3), np.exp(-ties), rtol=1e-5)

    def test_thresholds_can_be_learned(self):
        # strong answers alone: the loss falls as their threshold does
        def total(outer):
            return losses.cumulative_logit(
                A, B, np.ones(6, int), levels=4, thresholds=[outer]
            ).sum()

        assert jax.grad(total)(1.0) > 0

    def test_equal_thresholds_are_finite(self):
        loss = lambda t: losses.cumulative_logit(
            A, B, np.full(6, 2), levels=8, thresholds=[0.5, t, t]
        ).sum()
        value, gradient = jax.value_and_grad(loss)(1.0)
        assert value >= 6 * 87 and np.isfinite([value, gradient]).all()

    def test_a_wrong_number_of_thresholds_is_one_line(self):
        with pytest.raises(ValueError, match="8 levels with 2 thresholds; expected"):
            losses.cumulative_logit(0.0, 0.0, 1, levels=8, thresholds=[1.0, 2.0])


class TestAnnotatorBradleyTerry:
    def test_by_hand(self):
        # s(2 log 2 + log 2) = 8 / 9; 0.9 of that and 0.05: 0.85
        loss = losses.annotator_bradley_terry(
            np.log(np.array([2.0, 2.0], np.float32)),
            np.zeros(2, np.float32),
            np.array([True, False]),
            sharpness=2.0,
            bias=np.log(2.0),
            lapse=0.1,
        )
        np.testing.assert_allclose(np.exp(-loss), [0.85, 0.15], rtol=1e-5)

    def test_an_exact_annotator_is_bradley_terry(self):
        ones = np.ones(6, bool)
        chosen = losses.annotator_bradley_terry(A, B, ones, **EXACT)
        chex.assert_trees_all_close(chosen, losses.bradley_terry(A, B), rtol=1e-6)
        rejected = losses.annotator_bradley_terry(A, B, ~ones, **EXACT)
        chex.assert_trees_all_close(rejected, losses.bradley_terry(B, A), rtol=1e-6)

    def test_one_who_lapses_always_learns_nothing(self):
        knobs = EXACT | {"lapse": 1.0}
        total = lambda a: losses.annotator_bradley_terry(
            a, B, np.ones(6, bool), **knobs
        ).sum()
        value, gradient = jax.value_and_grad(total)(A)
        np.testing.assert_allclose(value, 6 * np.log(2.0), rtol=1e-6)
        np.testing.assert_allclose(gradient, np.zeros(6), atol=1e-6)

    def test_each_pair_may_have_its_own_annotator(self):
        lapse = np.linspace(0.1, 0.6, 6, dtype=np.float32)
        chose = np.array([True, False] * 3)
        knobs = {"sharpness": 1 + lapse, "bias": -lapse, "lapse": lapse}
        together = losses.annotator_bradley_terry(A, B, chose, **knobs)
        each = [
            losses.annotator_bradley_terry(
                A[i], B[i], chose[i], **{k: float(v[i]) for k, v in knobs.items()}
            )
            for i in range(6)
        ]
        np.testing.assert_allclose(together, jnp.stack(each), rtol=1e-5)

    def test_sharpness_and_bias_are_learned_with_the_scores(self):
        """One answer of five is the zero; the first annotator's sharpness is 1."""
        rng = np.random.default_rng(0)
        scores = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
        sharpness, bias = np.array([1.0, 2.0]), np.array([0.5, -0.5])
        left, right = rng.integers(0, 5, (2, 8000))
        who = np.arange(8000) % 2
        z = sharpness[who] * (scores[left] - scores[right]) + bias[who]
        chose = rng.random(8000) < 1 / (1 + np.exp(-z))

        def loss(x):
            reward = jnp.concatenate([jnp.zeros(1), x[:4]])
            knobs = {
                "sharpness": jnp.array([1.0, 0.0])[who] + (who == 1) * x[4],
                "bias": x[5:][who],
                "lapse": 0.0,
            }
            return losses.annotator_bradley_terry(
                reward[left], reward[right], chose, **knobs
            ).mean()

        x = jnp.array([0.0] * 4 + [1.0, 0.0, 0.0])
        adam = optax.adam(0.05)
        state, gradient = adam.init(x), jax.jit(jax.grad(loss))
        for _ in range(250):
            updates, state = adam.update(gradient(x), state)
            x = optax.apply_updates(x, updates)
        # of 4000 choices each: standard errors of about 0.05 to 0.1
        np.testing.assert_allclose(x[:4], scores[1:], atol=0.25)
        np.testing.assert_allclose(x[4:], [2.0, 0.5, -0.5], atol=0.25)
