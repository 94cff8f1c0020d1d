"""The widest peer's formulas, written out again in numpy float64."""

import jax
import numpy as np
import pytest

from jaxalign import losses

FOUR64 = np.random.default_rng(0).normal(-3.0, 1.0, (4, 6))
UP = np.array([True, False, True, False, True, False])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class TestTrlFormulas:
    C, R, A, B = FOUR64
    H = (C - A) - (R - B)

    def agrees(self, loss, *arrays_and_expected, **hyperparameters):
        # float64 on both sides: what is left is the rounding of a few operations
        *arrays, expected = arrays_and_expected
        with jax.enable_x64(True):
            actual = loss(*arrays, **hyperparameters)
            np.testing.assert_allclose(actual, expected, rtol=1e-11)

    @pytest.mark.parametrize("beta", [0.1, 2.0])
    def test_sigmoid(self, beta):
        expected = -np.log(sigmoid(beta * self.H))
        self.agrees(losses.dpo, *FOUR64, expected, beta=beta)

    def test_conservative(self):
        # TRL drops label smoothing here; Mitchell 2023, eq. 3, does not
        right, wrong = -np.log(sigmoid(0.3 * self.H)), -np.log(sigmoid(-0.3 * self.H))
        hyperparameters = {"beta": 0.3, "label_smoothing": 0.1}
        expected = 0.9 * right + 0.1 * wrong
        self.agrees(losses.dpo, *FOUR64, expected, **hyperparameters)

    def test_ipo(self):
        expected = (self.H - 1 / (2 * 0.3)) ** 2
        self.agrees(losses.ipo, *FOUR64, expected, tau=0.3)

    def test_simpo(self):
        expected = -np.log(sigmoid(2.0 * (self.C - self.R) - 0.5))
        self.agrees(losses.simpo, self.C, self.R, expected, beta=2.0, gamma=0.5)

    def test_kto(self):
        h = self.C - self.A
        up, down = 1 - sigmoid(0.3 * (h - 0.2)), 1 - sigmoid(0.3 * (0.2 - h))
        expected = np.where(UP, 1.3 * up, 0.7 * down)
        weights = {"desirable_weight": 1.3, "undesirable_weight": 0.7}
        self.agrees(losses.kto, self.C, self.A, UP, 0.2, expected, beta=0.3, **weights)

    def test_orpo(self):
        c, r = -np.abs(self.C), -np.abs(self.R)
        odds = (c - r) - (np.log1p(-np.exp(c)) - np.log1p(-np.exp(r)))
        self.agrees(losses.orpo, c, r, -0.1 * np.log(sigmoid(odds)), lam=0.1)

    def test_reward(self):
        expected = -np.log(sigmoid(self.C - self.R - 0.7))
        self.agrees(losses.bradley_terry, self.C, self.R, expected, margin=0.7)

    def test_clipped_surrogate(self):
        # GRPO's and PPO's token term
        ratio = np.exp(self.C - self.A)
        expected = -np.minimum(ratio * self.R, np.clip(ratio, 0.8, 1.28) * self.R)
        hyperparameters = {"clip_low": 0.2, "clip_high": 0.28}
        self.agrees(
            losses.clipped_surrogate,
            self.C,
            self.A,
            self.R,
            expected,
            **hyperparameters,
        )

    def test_clipped_value(self):
        clipped = np.clip(self.C, self.A - 0.2, self.A + 0.2)
        errors = (self.C - self.R) ** 2, (clipped - self.R) ** 2
        expected = 0.5 * np.maximum(*errors)
        self.agrees(losses.clipped_value, self.C, self.A, self.R, expected, clip=0.2)
