"""Distillation: by hand, limits, identities, the teacher gets no gradient."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import losses
from jaxalign.estimators.kl import exact_kl

TEACHER, STUDENT = np.random.default_rng(5).normal(0, 2, (2, 4, 7)).astype(np.float32)
# T = (1/2, 1/2), S = (1/4, 3/4)
T, S = np.log(np.array([[[0.5, 0.5]], [[0.25, 0.75]]], np.float32))
FORWARD = 0.5 * np.log(2.0) + 0.5 * np.log(2 / 3)
REVERSE = 0.25 * np.log(1 / 2) + 0.75 * np.log(3 / 2)
DIVERGENCES = {
    "forward_kl": losses.forward_kl_distillation,
    "reverse_kl": losses.reverse_kl_distillation,
    "generalized_jsd": lambda t, s: losses.generalized_jsd(t, s, beta=0.3),
}


def top(logits, k):
    """The k largest log-probs and their ids."""
    return jax.lax.top_k(jax.nn.log_softmax(logits), k)


@pytest.mark.parametrize("name", DIVERGENCES)
class TestDivergences:
    def test_the_teacher_gets_no_gradient(self, name):
        total = lambda t: DIVERGENCES[name](t, STUDENT).sum()
        chex.assert_trees_all_equal(jax.grad(total)(TEACHER), 0 * TEACHER)

    def test_of_equals_is_0_and_flat(self, name):
        # equal up to a constant, which no softmax sees
        total = lambda s: DIVERGENCES[name](TEACHER + 3, s).sum()
        actual, gradient = jax.value_and_grad(total)(TEACHER)
        np.testing.assert_allclose(actual, 0.0, atol=1e-5)
        np.testing.assert_allclose(gradient, 0 * TEACHER, atol=1e-5)

    def test_what_both_rule_out_takes_no_part(self, name):
        ruled_out = np.full((4, 1), -np.inf, np.float32)
        wider = [np.concatenate([x, ruled_out], 1) for x in (TEACHER, STUDENT)]
        of = lambda s, t: DIVERGENCES[name](t, s)
        actual, back = jax.vjp(lambda s: of(s, wider[0]), wider[1])
        expected, back_expected = jax.vjp(lambda s: of(s, TEACHER), STUDENT)
        chex.assert_trees_all_close(actual, expected, rtol=1e-5)
        ones = np.ones(4, np.float32)
        gradient = np.pad(back_expected(ones)[0], ((0, 0), (0, 1)))
        chex.assert_trees_all_close(back(ones)[0], gradient, rtol=1e-5, atol=1e-7)

    def test_what_one_rules_out_is_finite(self, name):
        ruled_out = np.where(np.arange(7) == 2, -np.inf, 0.0)[None].astype(np.float32)
        for pair in [(TEACHER + ruled_out, STUDENT), (TEACHER, STUDENT + ruled_out)]:
            total = lambda s, t=pair[0]: DIVERGENCES[name](t, s).sum()
            chex.assert_tree_all_finite(jax.value_and_grad(total)(pair[1]))


class TestKl:
    def test_by_hand(self):
        np.testing.assert_allclose(
            losses.forward_kl_distillation(T, S), [FORWARD], rtol=1e-5
        )
        np.testing.assert_allclose(
            losses.reverse_kl_distillation(T, S), [REVERSE], rtol=1e-5
        )

    def test_reverse_is_the_exact_kl_of_the_student(self):
        actual = losses.reverse_kl_distillation(TEACHER, STUDENT)
        chex.assert_trees_all_close(actual, exact_kl(STUDENT, TEACHER), rtol=1e-5)

    def test_gradient_of_the_forward_kl_is_cross_entropys(self):
        # S - T, as of any softmax against soft labels
        total = lambda s: losses.forward_kl_distillation(TEACHER, s).sum()
        expected = jax.nn.softmax(STUDENT) - jax.nn.softmax(TEACHER)
        np.testing.assert_allclose(jax.grad(total)(STUDENT), expected, atol=1e-6)

    def test_half_precision_is_summed_in_float32(self):
        small = jnp.asarray(STUDENT, jnp.bfloat16)
        actual = losses.forward_kl_distillation(TEACHER, small)
        assert actual.dtype == jnp.float32
        expected = losses.forward_kl_distillation(TEACHER, small.astype(jnp.float32))
        chex.assert_trees_all_equal(actual, expected)


class TestGeneralisedJsd:
    def test_by_hand(self):
        # beta 1/2: M = (3/8, 5/8)
        teacher = 0.5 * np.log(4 / 3) + 0.5 * np.log(4 / 5)
        student = 0.25 * np.log(2 / 3) + 0.75 * np.log(6 / 5)
        loss = losses.generalized_jsd(T, S, beta=0.5)
        np.testing.assert_allclose(loss, [(teacher + student) / 2], rtol=1e-5)

    def test_which_of_the_two_beta_weighs(self):
        # beta 1/4: M = (5/16, 11/16); 1/4 of KL(T || M), 3/4 of KL(S || M)
        teacher = 0.5 * np.log(8 / 5) + 0.5 * np.log(8 / 11)
        student = 0.25 * np.log(4 / 5) + 0.75 * np.log(12 / 11)
        loss = losses.generalized_jsd(T, S, beta=0.25)
        np.testing.assert_allclose(loss, [teacher / 4 + student * 3 / 4], rtol=1e-5)

    def test_limits(self):
        # loss / beta -> KL(T || S), loss / (1 - beta) -> KL(S || T), to order beta; in
        # float64, since the parts cancel to order beta^2
        with jax.enable_x64(True):
            t, s = jnp.asarray(TEACHER, jnp.float64), jnp.asarray(STUDENT, jnp.float64)
            forward = losses.generalized_jsd(t, s, beta=1e-7) / 1e-7
            reverse = losses.generalized_jsd(t, s, beta=1 - 1e-7) / 1e-7
            expected = (
                losses.forward_kl_distillation(t, s),
                losses.reverse_kl_distillation(t, s),
            )
        np.testing.assert_allclose(forward, expected[0], rtol=1e-3)
        np.testing.assert_allclose(reverse, expected[1], rtol=1e-3)

    @pytest.mark.parametrize("beta", [0.0, 1.0])
    def test_at_the_ends_it_is_0_and_finite(self, beta):
        total = lambda s: losses.generalized_jsd(TEACHER, s, beta=beta).sum()
        actual, gradient = jax.value_and_grad(total)(STUDENT)
        np.testing.assert_allclose(actual, 0.0, atol=1e-6)
        np.testing.assert_allclose(gradient, 0 * STUDENT, atol=1e-6)

    def test_swapping_the_two_swaps_beta(self):
        loss = losses.generalized_jsd(TEACHER, STUDENT, beta=0.3)
        swapped = losses.generalized_jsd(STUDENT, TEACHER, beta=0.7)
        chex.assert_trees_all_close(loss, swapped, rtol=1e-5)

    def test_bounded_by_the_entropy_of_beta(self):
        # opposite certainties: the most there can be, log 2 at beta 1/2
        sure = np.array([[99.0, 0.0]], np.float32)
        loss = losses.generalized_jsd(sure, -sure, beta=0.5)
        np.testing.assert_allclose(loss, [np.log(2.0)], rtol=1e-6)


class TestTopKDistillation:
    def test_by_hand(self):
        # T keeps 1/2 of token 2 and 1/4 of token 0, leaving 1/4; S is uniform over 4:
        # 1/2 log 2 + 1/4 log 1 + 1/4 log(1/4 / 1/2)
        top_logp = np.log(np.array([[0.5, 0.25]], np.float32))
        student = np.zeros((1, 4), np.float32)
        loss = losses.top_k_distillation(top_logp, np.array([[2, 0]]), student)
        np.testing.assert_allclose(loss, [np.log(2.0) / 4], rtol=1e-5)

    def test_of_all_tokens_is_the_forward_kl(self):
        actual = losses.top_k_distillation(*top(TEACHER, 7), STUDENT)
        expected = losses.forward_kl_distillation(TEACHER, STUDENT)
        chex.assert_trees_all_close(actual, expected, rtol=1e-5)

    def test_of_all_but_one_is_too(self):
        # the bucket is one token
        actual = losses.top_k_distillation(*top(TEACHER, 6), STUDENT)
        expected = losses.forward_kl_distillation(TEACHER, STUDENT)
        chex.assert_trees_all_close(actual, expected, rtol=1e-5)

    def test_more_tokens_tell_more(self):
        # coarser distributions are nearer to each other (data processing)
        terms = [
            losses.top_k_distillation(*top(TEACHER, k), STUDENT) for k in range(1, 8)
        ]
        assert (np.diff(np.stack(terms), axis=0) > -1e-6).all()

    def test_gradient(self):
        # S - T on the top tokens; on the rest S - rest(T) * S / rest(S)
        logp, ids = top(TEACHER, 3)
        total = lambda s: losses.top_k_distillation(logp, ids, s).sum()
        student = np.array(jax.nn.softmax(STUDENT))
        in_top = np.zeros((4, 7), bool)
        np.put_along_axis(in_top, np.array(ids), True, axis=1)
        rest = np.sum(np.where(in_top, 0, student), axis=1, keepdims=True)
        left = 1 - np.exp(logp).sum(axis=1, keepdims=True)
        teacher = np.array(jax.nn.softmax(TEACHER))
        expected = student - np.where(in_top, teacher, left * student / rest)
        np.testing.assert_allclose(jax.grad(total)(STUDENT), expected, atol=1e-6)

    def test_the_teacher_gets_no_gradient(self):
        logp, ids = top(TEACHER, 3)
        total = lambda t: losses.top_k_distillation(t, ids, STUDENT).sum()
        chex.assert_trees_all_equal(jax.grad(total)(logp), 0 * logp)

    @pytest.mark.parametrize("excess", [1e-6, -1e-6, 0.0])
    def test_a_sure_teacher_is_finite(self, excess):
        # all of it on the top token, up to rounding, and the student just as sure
        top_logp = np.full((1, 1), excess, np.float32)
        student = np.array([[200.0, 0.0]], np.float32)
        total = lambda s: losses.top_k_distillation(top_logp, np.array([[0]]), s)[0]
        actual, gradient = jax.value_and_grad(total)(student)
        # a rest of 1e-6 against the student's exp(-200) is 2e-4
        np.testing.assert_allclose(actual, 0.0, atol=3e-4)
        np.testing.assert_allclose(gradient, 0 * student, atol=2e-6)
