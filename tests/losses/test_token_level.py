"""Token-level pieces: by hand, limits, stop-gradients, masked = removed."""

import chex
import jax
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.losses.preference import dpo
from tests.losses.cases_preference import (
    CHOSEN,
    FOUR,
    LENGTHS,
    MASK,
    REF_CHOSEN,
    REF_REJECTED,
    REJECTED,
    SHARED,
    TOKENS,
)

ONE = np.ones(1, np.float32)
ZEROS = np.zeros(6, np.float32)


class TestTokenDpo:
    ARRAYS = (CHOSEN - REF_CHOSEN, REJECTED - REF_REJECTED, *np.abs(FOUR[2:]))
    # ratios 3 and 1, KLs 1 and 3
    HAND = (3 * ONE, ONE, ONE, 3 * ONE)

    def test_by_hand(self):
        # (3 - 1) - 0.5 * (3 - 1) = 1; version 1: 2 - 2 = 0
        loss = losses.tdpo2(*self.HAND, beta=1.0, alpha=0.5)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0))], rtol=1e-6)
        loss = losses.tdpo1(*self.HAND, beta=1.0)
        np.testing.assert_allclose(loss, [np.log(2.0)], rtol=1e-6)

    def test_without_kl_is_dpo(self):
        expected = dpo(*FOUR, beta=0.3)
        ratios = self.ARRAYS[:2]
        actual = [
            losses.tdpo2(*self.ARRAYS, beta=0.3, alpha=0.0),
            losses.tdpo2(*ratios, ZEROS, ZEROS, beta=0.3, alpha=0.5),
            losses.tdpo1(*ratios, ZEROS, ZEROS, beta=0.3),
        ]
        for loss in actual:
            chex.assert_trees_all_close(loss, expected, rtol=1e-6)

    def test_versions_differ_in_the_gradient_to_the_chosen_kl(self):
        # with p = s(-beta * x), the loss moves by -beta * p with chosen_kl, by
        # beta * p with rejected_kl; version 2 stops the first
        first = lambda *kl: losses.tdpo1(*self.ARRAYS[:2], *kl, beta=0.3)
        second = lambda *kl: losses.tdpo2(*self.ARRAYS[:2], *kl, beta=0.3, alpha=1.0)
        kl = self.ARRAYS[2:]
        chex.assert_trees_all_close(first(*kl), second(*kl), rtol=1e-6)
        gradient = lambda loss: jax.grad(lambda *x: loss(*x).sum(), (0, 1))(*kl)
        p = -np.expm1(-np.asarray(first(*kl)))
        chex.assert_trees_all_close(gradient(first), (-0.3 * p, 0.3 * p), rtol=1e-5)
        chex.assert_trees_all_close(gradient(second), (ZEROS, 0.3 * p), rtol=1e-5)


class TestLdLogp:
    def test_by_hand(self):
        # tokens -1, -2, -4 count; two are shared: -1 - 2 + 0.5 * -4. The second row has
        # a prompt token first, then one shared token and two of tail
        logp = np.array([[-1, -2, -4, -9], [-9, -1, -2, -4]], np.float32)
        mask = np.array([[1, 1, 1, 0], [0, 1, 1, 1]], bool)
        actual = losses.ld_dpo_logp(logp, mask, np.array([2, 1]), alpha=0.5)
        np.testing.assert_allclose(actual, [-5.0, -4.0], rtol=1e-6)

    def test_alpha_1_is_the_sum_and_alpha_0_cuts(self):
        logp = TOKENS[0]
        total = losses.ld_dpo_logp(logp, MASK, SHARED, alpha=1.0)
        np.testing.assert_allclose(total, (logp * MASK).sum(1), rtol=1e-6)
        cut = losses.ld_dpo_logp(logp, MASK, SHARED, alpha=0.0)
        head = MASK & (np.arange(4) < SHARED[:, None])
        np.testing.assert_allclose(cut, (logp * head).sum(1), rtol=1e-6)

    def test_masked_is_removed(self):
        spoilt = np.where(MASK, TOKENS[0], np.nan)
        total = lambda x: losses.ld_dpo_logp(x, MASK, SHARED, alpha=0.3)
        chex.assert_trees_all_equal(total(spoilt), total(TOKENS[0]))
        gradient = jax.grad(lambda x: total(x).sum())(spoilt)
        head = np.arange(4) < SHARED[:, None]
        expected = np.where(MASK, np.where(head, 1.0, 0.3), 0.0)
        np.testing.assert_allclose(gradient, expected, rtol=1e-6)


class TestWpoWeight:
    def test_by_hand(self):
        # of probabilities 1/4 and 3/4, the first: 0.25 / (1/16 + 9/16) = 0.4; of a
        # certain token, 1; the weight is their geometric mean
        logp = np.log(np.array([[0.25, 1.0]], np.float32))
        square = np.log(np.array([[0.625, 1.0]], np.float32))
        weight = losses.wpo_weight(logp, square, np.ones((1, 2), bool))
        np.testing.assert_allclose(weight, [np.sqrt(0.4)], rtol=1e-6)

    def test_of_what_the_policy_is_sure_of_and_of_uniform_is_1(self):
        sure, uniform = np.zeros((1, 3)), np.full((1, 3), -np.log(7.0))
        for logp in (sure.astype(np.float32), uniform.astype(np.float32)):
            weight = losses.wpo_weight(logp, logp, np.ones((1, 3), bool))
            assert weight.tolist() == [1.0]

    def test_masked_is_removed(self):
        spoilt = [np.where(MASK, x, np.nan) for x in TOKENS]
        actual = losses.wpo_weight(*spoilt, MASK)
        rows = [
            losses.wpo_weight(*(x[i : i + 1, :n] for x in TOKENS), MASK[i : i + 1, :n])
            for i, n in enumerate(MASK.sum(1))
        ]
        np.testing.assert_allclose(actual, np.concatenate(rows), rtol=1e-6)
        nothing = losses.wpo_weight(*TOKENS, np.zeros_like(MASK))
        np.testing.assert_array_equal(nothing, np.ones(6))

    @pytest.mark.parametrize("size", [-1e4, 1e4])
    def test_extremes_are_finite(self, size):
        # clamped at exp(20) and exp(-20)
        logp = np.full((6, 4), size, np.float32)
        weight = losses.wpo_weight(logp, 0 * logp, MASK)
        expected = np.full(6, np.exp(np.sign(size) * 20))
        np.testing.assert_allclose(weight, expected, rtol=1e-5)

    def test_gets_no_gradient(self):
        total = lambda *x: losses.wpo_weight(*x, MASK).sum()
        gradients = jax.grad(total, (0, 1))(*TOKENS)
        chex.assert_trees_all_equal(gradients, (0 * TOKENS[0], 0 * TOKENS[1]))


class TestDpoNll:
    def test_by_hand(self):
        # margin 2, beta 0.5: -log s(1); chosen -1 of 4 tokens: 0.2 * 1/4
        arrays = (-ONE, -3 * ONE, -2 * ONE, -2 * ONE, 4 * ONE)
        loss = losses.rpo(*arrays, beta=0.5, alpha=0.2)
        np.testing.assert_allclose(loss, [np.log1p(np.exp(-1.0)) + 0.05], rtol=1e-6)

    def test_at_alpha_0_is_dpo(self):
        loss = losses.rpo(*FOUR, LENGTHS[0], beta=0.3, alpha=0.0)
        chex.assert_trees_all_close(loss, dpo(*FOUR, beta=0.3), rtol=1e-6)

    def test_gradient_is_dpos_and_the_nlls(self):
        gradient = lambda loss: jax.grad(lambda c: loss(c).sum())(CHOSEN)
        both = gradient(
            lambda c: losses.rpo(c, *FOUR[1:], LENGTHS[0], beta=0.3, alpha=0.2)
        )
        single = gradient(lambda c: dpo(c, *FOUR[1:], beta=0.3))
        np.testing.assert_allclose(both, single - 0.2 / LENGTHS[0], rtol=1e-5)

    def test_an_empty_answer_is_finite(self):
        # its log-prob is 0, and so is its NLL
        loss = losses.rpo(0 * ONE, -ONE, 0 * ONE, -ONE, 0 * ONE, beta=0.3, alpha=1)
        np.testing.assert_allclose(loss, [np.log(2.0)], rtol=1e-6)

    def test_the_reference_gets_no_gradient(self):
        total = lambda a, b: losses.rpo(
            CHOSEN, REJECTED, a, b, LENGTHS[0], beta=0.3, alpha=0.2
        ).sum()
        gradients = jax.grad(total, (0, 1))(REF_CHOSEN, REF_REJECTED)
        chex.assert_trees_all_equal(gradients, (ZEROS, ZEROS))
