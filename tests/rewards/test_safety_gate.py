"""The gates of Llama 2's piecewise reward, and whitening, by hand."""

import jax
import numpy as np
import pytest

from jaxalign.evaluation.tabular import Bandit, optimal_policy
from jaxalign.rewards import combination, safety_gate

logit = lambda p: float(np.log(p / (1 - p)))
# safe with probability 0.14 and 0.16, on an untagged and on a tagged prompt
SAFETY = np.array([logit(p) for p in (0.14, 0.16, 0.14, 0.16)], np.float32)
TAGGED = np.array([False, False, True, True])
HELPFUL = np.array([5.0, 6.0, 7.0, 8.0], np.float32)


@pytest.mark.parametrize(
    ("gate", "by_safety"),
    [("or", [True, False, True, True]), ("and", [False, False, True, False])],
)
def test_the_gates_differ_on_untagged_unsafe_and_on_tagged_safe_answers(
    gate, by_safety
):
    decide = safety_gate.GATES[gate]
    assert decide(SAFETY, TAGGED, threshold=0.15).tolist() == by_safety
    reward = jax.jit(
        lambda h, s, t: combination.piecewise_safety(h, s, t, gate=decide)
    )(HELPFUL, SAFETY, TAGGED)
    combined = np.where(by_safety, SAFETY, HELPFUL).astype(np.float64)
    white = (combined - combined.mean()) / combined.std()
    np.testing.assert_allclose(reward, white, rtol=1e-5)


def test_the_slides_gate_is_at_most_the_threshold_and_the_papers_is_below():
    half, yes = np.zeros(1, np.float32), np.ones(1, bool)  # sigmoid(0) is 0.5 exactly
    assert safety_gate.both_gate(half, yes, threshold=0.5).tolist() == [True]
    assert safety_gate.either_gate(half, ~yes, threshold=0.5).tolist() == [False]


def test_a_batch_has_mean_0_and_variance_1_and_keeps_the_order_within_a_branch():
    rng = np.random.default_rng(0)
    scores = rng.normal(3.0, 2.0, 200).astype(np.float32)
    branch = rng.random(200) < 0.3
    batch = np.asarray(safety_gate.whiten_batch(scores, branch))
    np.testing.assert_allclose([batch.mean(), batch.std()], [0, 1], atol=1e-5)
    each = np.asarray(safety_gate.whiten_branches(scores, branch))
    for rows in (branch, ~branch):
        np.testing.assert_allclose(each[rows].mean(), 0, atol=1e-5)
        np.testing.assert_allclose(each[rows].std(), 1, atol=1e-5)
        for white in (batch, each):
            assert (np.argsort(white[rows]) == np.argsort(scores[rows])).all()


@pytest.mark.parametrize("level", [0.1, 100.1, -7e4])
def test_equal_rewards_become_0_with_a_finite_gradient(level):
    scores = np.full(11, level, np.float32)  # whose mean differs from them, rounded
    empty = np.zeros(11, bool)
    for whiten in safety_gate.WHITENINGS.values():
        assert whiten(scores, empty).tolist() == [0.0] * 11
        slope = jax.grad(lambda x, w=whiten: w(x, empty).sum())(scores)
        assert np.isfinite(slope).all()


def test_a_branch_of_one_row_is_0():
    white = safety_gate.whiten_branches(
        np.array([9.0, 1.0, 3.0], np.float32), np.array([True, False, False])
    )
    np.testing.assert_allclose(white, [0.0, -1.0, 1.0], atol=1e-6)


# prompts: harmful and not tagged, harmful and tagged, a tagged one that sounds harmful;
# answers: a helpful one, a refusal. Help with harm is unsafe; refusals are safer still
HELPFULNESS = [[3.0, 0.0]] * 3
SAFETY_SCORES = [[-3.0, 2.0], [-3.0, 2.0], [1.0, 2.0]]


@pytest.mark.parametrize(("gate", "signs"), [("or", [-1, -1, -1]), ("and", [1, -1, 1])])
def test_what_the_optimal_policy_does_by_gate(gate, signs):
    """By the slide's gate help with harm pays where the prompt has no tag; by the
    paper's, refusals of benign prompts with a tag do: false refusals."""
    tagged = np.array([[False] * 2, [True] * 2, [True] * 2])
    reward = combination.piecewise_safety(
        *(np.array(x, np.float32).ravel() for x in (HELPFULNESS, SAFETY_SCORES)),
        tagged.ravel(),
        threshold=0.15,
        gate=safety_gate.GATES[gate],
        whitening=safety_gate.whiten_batch,
    )
    uniform = np.zeros((3, 2), np.float32)
    bandit = Bandit(reward.reshape(3, 2), uniform, np.full(3, 1 / 3, np.float32))
    helps = np.exp(optimal_policy(bandit, beta=0.5))[:, 0]
    np.testing.assert_array_equal(np.sign(helps - 0.5), signs)
