"""When both likelihoods fall: the exact world's closed form, and what losses do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.evaluation import displacement
from jaxalign.evaluation.displacement import LOSSES, train


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8, 0.9, 0.99])
def test_the_first_step_is_the_closed_form(rho):
    rate, gap = 1e-2, 1 - rho
    path = train(LOSSES["DPO"], rho, steps=1, rate=rate)
    # theta moves by rate * beta * sigmoid(0) * (phi_w - phi_l); a quarter is p(y)
    slope = 0.25 * (4 * gap - np.sqrt(2 * gap))
    np.testing.assert_allclose(
        (path.chosen[1] - path.chosen[0]) / (0.5 * rate),
        slope,
        atol=4e-3,  # the second order: at most rate / 4, and 0.0022 is seen
    )
    falls = bool(path.chosen[1] < path.chosen[0])
    assert falls == (rho > displacement.SIMILARITY)
    assert path.rejected[1] < path.rejected[0]


def test_at_the_similarity_of_7_8_the_chosen_answer_stands_still():
    slope = jax.grad(
        lambda rate: train(
            LOSSES["DPO"], displacement.SIMILARITY, steps=1, rate=rate
        ).chosen[1]
    )(0.0)
    np.testing.assert_allclose(slope, 0.0, atol=1e-6)  # float32: of terms of 0.5


def test_near_duplicates_lose_to_a_third_answer_with_dpo_and_not_with_nll():
    paths = {name: train(loss, 0.97, steps=100) for name, loss in LOSSES.items()}
    change = {name: float(x.chosen[-1] - x.chosen[0]) for name, x in paths.items()}
    assert change["DPO"] < -0.1 and change["SimPO"] < -0.1
    assert change["DPO + NLL"] > 0.1 and change["unlikelihood"] > 0.0
    assert change["DPO-Positive"] > change["DPO"] + 0.1
    for path in paths.values():  # a margin all the same, and probabilities
        assert path.chosen[-1] - path.rejected[-1] > 0
        total = jnp.exp(path.chosen) + jnp.exp(path.rejected) + jnp.exp(path.third)
        assert bool((total < 1).all())
    dpo = paths["DPO"]
    assert dpo.third[-1] - dpo.third[0] > 0.1


def test_a_pair_of_unlike_answers_raises_the_chosen_with_every_loss():
    for name, loss in LOSSES.items():
        path = train(loss, 0.0, steps=100)
        assert path.chosen[-1] > path.chosen[0], name
        assert path.rejected[-1] < path.rejected[0], name
