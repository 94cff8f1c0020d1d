"""The widest peer's preference losses, written out again in numpy float64.

Its sigmoid, ipo, kto, simpo and orpo are in test_parity.py.
"""

import jax
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.losses import divergence

RNG = np.random.default_rng(2)
FOUR = RNG.normal(-3.0, 1.0, (4, 6))
C, R, A, B = FOUR
H_C, H_R = C - A, R - B
Z = H_C - H_R
UP = np.array([True, False, True, False, True, False])
BETAS = pytest.mark.parametrize("b", [0.1, 2.0])


def s(x):
    return 1 / (1 + np.exp(-x))


def agrees(loss, *arrays_and_expected, **hyperparameters):
    # float64 on both sides: what is left is the rounding of a few operations
    *arrays, expected = arrays_and_expected
    with jax.enable_x64(True):
        actual = loss(*arrays, **hyperparameters)
        np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-11)


@BETAS
class TestDifferences:
    def test_hinge(self, b):
        agrees(losses.hinge, *FOUR, np.maximum(1 - b * Z, 0), beta=b)

    def test_exo_pair(self, b):
        q, e = s(b * Z), 1e-3
        expected = q * (np.log(q) - np.log(1 - e))
        expected += (1 - q) * (np.log(1 - q) - np.log(e))
        agrees(losses.exo, *FOUR, expected, beta=b, label_smoothing=e)

    def test_robust(self, b):
        right, wrong = np.log(s(b * Z)), np.log(s(-b * Z))
        expected = (-(1 - 0.2) * right + 0.2 * wrong) / (1 - 2 * 0.2)
        agrees(losses.robust_dpo, *FOUR, expected, beta=b, flip_rate=0.2)

    def test_discopop(self, b):
        x = b * Z
        m = s(x / 0.05)
        expected = (1 - m) * -np.log(s(x)) + m * np.exp(-x)
        agrees(losses.discopop, *FOUR, expected, beta=b)

    def test_sigmoid_norm(self, b):
        n_c, n_r = np.array([[3, 5, 2, 9, 4, 7], [4, 4, 8, 6, 1, 7]])
        expected = -np.log(s(b * (H_C / n_c - H_R / n_r)))
        means = (C / n_c, R / n_r, A / n_c, B / n_r)
        agrees(losses.length_normalized_dpo, *means, expected, beta=b)

    def test_cpo_sigmoid(self, b):
        # its label smoothing is 0 unless asked for; ours has none
        agrees(losses.cpo, C, R, -np.log(s(b * (C - R))), beta=b)

    def test_reference_free(self, b):
        # removed there in 2026; before, the reference's log-ratio was 0
        agrees(losses.reference_free_dpo, C, R, -np.log(s(b * (C - R))), beta=b)

    def test_cpo_hinge(self, b):
        # theirs is relu(1 - b (c - r)); ours is SLiC's, in nats: 1/b of it at delta 1/b
        expected = np.maximum(1 - b * (C - R), 0) / b
        agrees(losses.slic, C, R, expected, delta=1 / b)


@BETAS
class TestAbsolute:
    def test_nca_pair(self, b):
        expected = -np.log(s(b * H_C))
        expected += -0.5 * np.log(s(-b * H_C)) - 0.5 * np.log(s(-b * H_R))
        agrees(losses.nca, *FOUR, expected, beta=b)

    def test_bco_pair(self, b):
        # there without the running delta, ours at its default
        expected = -np.log(s(b * H_C)) - np.log(s(-b * H_R))
        agrees(losses.bco, *FOUR, expected, beta=b)

    def test_bco(self, b):
        # its former BCO trainer, of singles, with delta
        h = b * H_C - 0.3
        expected = np.where(UP, -np.log(s(h)), -np.log(s(-h)))
        agrees(losses.bco_unpaired, C, A, UP, expected, beta=b, delta=0.3)

    def test_sppo_hard(self, b):
        expected = (H_C - 1 / (2 * b)) ** 2 + (H_R + 1 / (2 * b)) ** 2
        agrees(losses.sppo, *FOUR, expected, beta=b)

    def test_apo_zero(self, b):
        agrees(losses.apo_zero, *FOUR, 1 - s(b * H_C) + s(b * H_R), beta=b)

    def test_apo_zero_unpaired(self, b):
        expected = np.where(UP, 1 - s(b * H_C), s(b * H_C))
        agrees(losses.apo_zero_unpaired, C, A, UP, expected, beta=b)

    def test_apo_down(self, b):
        agrees(losses.apo_down, *FOUR, s(b * H_C) + 1 - s(b * Z), beta=b)


@BETAS
@pytest.mark.parametrize("e", [0.0, 0.1])
class TestTransport:
    def terms(self, d, b, e):
        return -(1 - e) * np.log(s(b * d)) - e * np.log(s(-b * d))

    def test_aot(self, b, e):
        # there per device; ours, of the batch that it is given
        d = np.sort(C - R) - np.sort(A - B)
        expected = self.terms(d, b, e)
        agrees(losses.aot, *FOUR, expected, beta=b, label_smoothing=e)

    def test_aot_unpaired(self, b, e):
        expected = self.terms(np.sort(H_C) - np.sort(H_R), b, e)
        agrees(losses.aot_unpaired, *FOUR, expected, beta=b, label_smoothing=e)


# name -> our score, its formula. It clamps exponents at 80, we at 20: not reached here.
SCORES = {
    "reverse_kl": (divergence.reverse_kl_score, lambda h: h),
    "forward_kl": (divergence.forward_kl_score, lambda h: 1 - np.exp(-h)),
    "js_divergence": (
        divergence.jensen_shannon_score,
        lambda h: np.log(2) + np.log(s(h)),
    ),
    "alpha_divergence": (
        divergence.alpha_score(0.5),
        lambda h: (np.exp((0.5 - 1) * h) - 1) / (0.5 - 1),
    ),
    "alpha_divergence at 1": (divergence.alpha_score(1.0), lambda h: h),
}


@BETAS
@pytest.mark.parametrize("name", SCORES)
def test_f_divergence(name, b):
    score, formula = SCORES[name]
    agrees(score, H_C, formula(H_C))
    expected = -np.log(s(b * (formula(H_C) - formula(H_R))))
    agrees(divergence.f_dpo, *FOUR, expected, beta=b, score=score)


class TestTokens:
    N_C, N_R = np.array([[4, 1, 3, 2, 4, 2], [2, 3, 3, 4, 1, 2]])
    LOGP = RNG.normal(-2.0, 0.5, (4, 6, 4))

    def test_ld_dpo(self):
        # shared part, then 0.3 times the tail, in loops; the loss on it is sigmoid
        def sums(logp, lengths):
            pairs = zip(lengths, np.minimum(self.N_C, self.N_R), strict=True)
            return np.array(
                [
                    row[:k].sum() + 0.3 * row[k:n].sum()
                    for row, (n, k) in zip(logp, pairs, strict=True)
                ]
            )

        sides = (self.N_C, self.N_R, self.N_C, self.N_R)
        c, r, a, b = map(sums, self.LOGP, sides)
        expected = -np.log(s(0.1 * ((c - a) - (r - b))))
        masks = [np.arange(4) < n[:, None] for n in sides]
        shared = np.minimum(masks[0].sum(1), masks[1].sum(1))

        def ours(*rows):
            pairs = zip(rows, masks, strict=True)
            cut = [losses.ld_dpo_logp(x, m, shared, alpha=0.3) for x, m in pairs]
            return losses.dpo(*cut, beta=0.1)

        agrees(ours, *self.LOGP, expected)

    def test_wpo(self):
        # w = exp(mean_t [logp_t - log sum_v p_v^2]) of whole distributions
        logits = RNG.normal(0.0, 2.0, (6, 4, 5))
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        token = RNG.integers(0, 5, (6, 4, 1))
        logp = np.log(np.take_along_axis(p, token, -1)[..., 0])
        log_sum_square = np.log((p**2).sum(-1))
        expected = [
            np.exp(np.mean(x[:n] - y[:n]))
            for x, y, n in zip(logp, log_sum_square, self.N_C, strict=True)
        ]
        mask = np.arange(4) < self.N_C[:, None]
        agrees(losses.wpo_weight, logp, log_sum_square, mask, expected)

    def test_rpo(self):
        # theirs is ["sigmoid", "sft"]: the NLL is a mean over all tokens of the
        # micro-batch. Ours follows Pang et al., per token of each answer: the same in
        # the mean where lengths are equal.
        def ours(*four):
            lengths = np.full(6, 4.0)
            return losses.rpo(*four, lengths, beta=0.1, alpha=0.2).mean()

        sft = -C.sum() / (6 * 4)
        expected = -np.log(s(0.1 * Z)).mean() + 0.2 * sft
        agrees(ours, *FOUR, expected)
