"""Optimal transport: by hand, whole batches, permutations."""

import chex
import jax
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.losses.preference import dpo
from tests.losses.cases_preference import CHOSEN, FOUR, REFS, REJECTED

BOTH = pytest.mark.parametrize("loss", [losses.aot, losses.aot_unpaired])


def right(x):
    return np.log1p(np.exp(-np.array(x)))


class TestByHand:
    # rows: chosen -1, -5; rejected -2, -1; references -3, -4 and -1, -6
    ROWS = np.array([[-1, -5], [-2, -1], [-3, -4], [-1, -6]], np.float32)

    def test_paired(self):
        # margins 1, -4 sorted -4, 1; the reference's -2, 2 sorted the same: gaps -2, -1
        loss = losses.aot(*self.ROWS, beta=0.5)
        np.testing.assert_allclose(loss, right([-1.0, -0.5]), rtol=1e-6)

    def test_unpaired(self):
        # ratios of chosen 2, -1 sorted -1, 2; of rejected -1, 5 sorted the same: gaps
        # 0, -3
        loss = losses.aot_unpaired(*self.ROWS, beta=0.5)
        np.testing.assert_allclose(loss, right([0.0, -1.5]), rtol=1e-6)

    @BOTH
    def test_label_smoothing(self, loss):
        # 0.9 * right(x) + 0.1 * right(-x), and right(-x) = right(x) + x
        gaps = {
            losses.aot: [-1.0, -0.5],
            losses.aot_unpaired: [0.0, -1.5],
        }[loss]
        actual = loss(*self.ROWS, beta=0.5, label_smoothing=0.1)
        expected = right(gaps) + 0.1 * np.array(gaps)
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


@BOTH
def test_of_one_pair_is_dpo(loss):
    # nothing to sort, so that one row at a time is dpo, and all rows at once are not
    single = np.concatenate(
        [loss(*[x[i : i + 1] for x in FOUR], beta=0.3) for i in range(6)]
    )
    chex.assert_trees_all_close(single, np.asarray(dpo(*FOUR, beta=0.3)), rtol=1e-5)
    assert abs(loss(*FOUR, beta=0.3).sum() - single.sum()) > 1e-3


@BOTH
def test_order_of_rows_does_not_matter(loss):
    order = np.array([3, 0, 5, 1, 4, 2])
    shuffled = [x[order] for x in FOUR]
    same = loss(*shuffled, beta=0.3)
    chex.assert_trees_all_close(same, loss(*FOUR, beta=0.3), rtol=1e-6)


def test_what_is_paired():
    # paired: the reference's rows may move against the policy's. Unpaired: chosen
    # answers with their references, against rejected ones with theirs.
    roll = lambda x: np.roll(x, 1)
    paired = losses.aot(CHOSEN, REJECTED, *map(roll, REFS), beta=0.3)
    chex.assert_trees_all_close(paired, losses.aot(*FOUR, beta=0.3), rtol=1e-6)
    moved = (CHOSEN, roll(REJECTED), REFS[0], roll(REFS[1]))
    unpaired = losses.aot_unpaired(*moved, beta=0.3)
    expected = losses.aot_unpaired(*FOUR, beta=0.3)
    chex.assert_trees_all_close(unpaired, expected, rtol=1e-6)


@BOTH
def test_gradient_goes_back_to_its_row(loss):
    # -beta * s(-beta * gap), of the rank that the row has
    policy = CHOSEN - (REJECTED if loss is losses.aot else REFS[0])
    rank = np.argsort(np.argsort(policy))
    terms = np.asarray(loss(*FOUR, beta=0.3))
    expected = -0.3 * -np.expm1(-terms[rank])  # s(-x) = 1 - exp(-right(x))
    total = lambda c: loss(c, *FOUR[1:], beta=0.3).sum()
    np.testing.assert_allclose(jax.grad(total)(CHOSEN), expected, rtol=1e-5)
