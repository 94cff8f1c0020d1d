"""KL estimators: by hand, their expectations, and the controller."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxalign import estimators
from jaxalign.estimators.kl import proportional_kl_coefficient

LOGITS = np.array([0.3, -0.7, 1.2, 0.1], np.float32)
REF = np.array([0.0, 0.4, 0.5, -0.2], np.float32)
P = np.exp(LOGITS) / np.exp(LOGITS).sum()
Q = np.exp(REF) / np.exp(REF).sum()
KL = float((P * np.log(P / Q)).sum())
REVERSED = float((Q * np.log(Q / P)).sum())
ESTIMATORS = (estimators.kl_k1, estimators.kl_k2, estimators.kl_k3)


def test_by_hand():
    # d = 0.5: k1 0.5, k2 0.125, k3 exp(-0.5) - 1 + 0.5
    logp, ref = np.float32([-1.0]), np.float32([-1.5])
    actual = [float(f(logp, ref)[0]) for f in ESTIMATORS]
    np.testing.assert_allclose(actual, [0.5, 0.125, np.exp(-0.5) - 0.5], rtol=1e-5)


def test_expected_values():
    # under the policy, k1 and k3 have mean KL(p || q); k2 has not
    values = [float((P * f(np.log(P), np.log(Q))).sum()) for f in ESTIMATORS]
    np.testing.assert_allclose([values[0], values[2]], KL, rtol=1e-5)
    assert abs(values[1] - KL) > 1e-3


def test_expected_gradients():
    """With sampling held fixed: k1 has none, k2 that of KL, k3 that of its reverse."""

    def gradient(estimator):
        fixed = jnp.asarray(P)
        loss = lambda x: jnp.sum(
            fixed * estimator(jax.nn.log_softmax(x), jax.nn.log_softmax(REF))
        )
        return jax.grad(loss)(jnp.asarray(LOGITS))

    forward = jax.grad(lambda x: estimators.exact_kl(x, REF))(jnp.asarray(LOGITS))
    reverse = jax.grad(lambda x: estimators.exact_kl(REF, x))(jnp.asarray(LOGITS))
    np.testing.assert_allclose(gradient(estimators.kl_k1), 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient(estimators.kl_k2), forward, atol=1e-6)
    np.testing.assert_allclose(gradient(estimators.kl_k3), reverse, atol=1e-6)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_zero_at_the_reference_finite_far_from_it(estimator):
    x = np.float32([-3.0, -1.0])
    np.testing.assert_array_equal(estimator(x, x), 0.0)
    far = np.float32([-1e4, 0.0])
    total = lambda a, b: estimator(a, b).sum()
    values, gradient = jax.value_and_grad(total)(far, far[::-1])
    assert np.isfinite(values) and np.isfinite(gradient).all()
    with jax.enable_x64(True):
        wide = jnp.asarray(x, jnp.float64)
        check_grads(lambda a: estimator(a, wide - 0.3), (wide,), order=1, modes=["rev"])


def test_exact_kl():
    np.testing.assert_allclose(estimators.exact_kl(LOGITS, REF), KL, rtol=1e-5)
    np.testing.assert_allclose(estimators.exact_kl(REF, LOGITS), REVERSED, rtol=1e-5)


def test_exact_kl_of_what_the_policy_rules_out():
    # p = (1/2, 1/2, 0), q = (1/3, 1/3, 1/3): log(3/2), with a finite gradient
    logits = jnp.array([0.0, 0.0, -jnp.inf])
    both = jax.value_and_grad(estimators.exact_kl, (0, 1))
    kl, (by_logits, by_ref) = both(logits, jnp.zeros(3))
    np.testing.assert_allclose(kl, np.log(1.5), rtol=1e-6)
    # p (log p/q - KL) and q - p
    np.testing.assert_allclose(by_logits, np.zeros(3), atol=1e-6)
    np.testing.assert_allclose(by_ref, [-1 / 6, -1 / 6, 1 / 3], rtol=1e-5)
    # what both rule out takes no part, not even on the way
    with jax.debug_nans(True):
        kl, gradients = both(logits, logits)
    np.testing.assert_allclose(kl, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradients, np.zeros((2, 3)), atol=1e-6)


@pytest.mark.parametrize("kl, factor", [(12.0, 1.01024), (6.0, 1.0), (0.0, 0.98976)])
def test_adaptive_kl_by_hand(kl, factor):
    # target 6: errors 1 -> 0.2, 0, -1 -> -0.2; times 512 / 10000
    actual = estimators.adaptive_kl_coefficient(
        0.1, kl, target=6.0, horizon=1e4, samples=512
    )
    np.testing.assert_allclose(actual, 0.1 * factor, rtol=1e-6)


def test_eager_equals_jit():
    for f in (*ESTIMATORS, estimators.exact_kl):
        chex.assert_trees_all_close(jax.jit(f)(LOGITS, REF), f(LOGITS, REF), rtol=1e-5)


@pytest.mark.parametrize("kl, error", [(12.0, 0.2), (6.0, 0.0), (5.4, -0.1)])
def test_proportional_kl_by_hand(kl, error):
    # target 6: errors 1 -> 0.2, 0, -0.1
    actual = proportional_kl_coefficient(0.1, kl, target=6.0, gain=0.5)
    np.testing.assert_allclose(actual, 0.1 * np.exp(0.5 * error), rtol=1e-6)


def test_proportional_kl_undoes_itself():
    # +0.1 and -0.1: exp(g) * exp(-g) = 1, where (1 + g) * (1 - g) would be 1 - g^2
    up = proportional_kl_coefficient(0.3, 6.6, target=6.0, gain=5.0)
    down = proportional_kl_coefficient(up, 5.4, target=6.0, gain=5.0)
    np.testing.assert_allclose(down, 0.3, rtol=1e-5)


def test_proportional_kl_is_adaptive_kl_to_first_order():
    # gain * error = 0.01: they differ by exp(x) - 1 - x = x^2 / 2 = 5e-5
    ours = proportional_kl_coefficient(1.0, 12.0, target=6.0, gain=0.05)
    theirs = estimators.adaptive_kl_coefficient(
        1.0, 12.0, target=6.0, horizon=1e4, samples=500
    )
    np.testing.assert_allclose(ours - theirs, 5e-5, rtol=1e-2)


@pytest.mark.parametrize("kl", [-1e4, 1e4])
def test_proportional_kl_at_extremes(kl):
    by = jax.value_and_grad(proportional_kl_coefficient, (0, 1))
    chex.assert_tree_all_finite(by(0.1, kl, target=6.0, gain=0.1))
    hyperparameters = jnp.array([0.1, 0.7])
    actual = jax.vmap(
        lambda k: proportional_kl_coefficient(0.1, kl, target=1.0, gain=k)
    )(hyperparameters)
    np.testing.assert_allclose(
        actual, 0.1 * np.exp(np.sign(kl) * 0.2 * hyperparameters), rtol=1e-6
    )
