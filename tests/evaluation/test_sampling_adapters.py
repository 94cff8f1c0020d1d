"""Sampling adapters keep what their papers say; precision and recall by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.evaluation import sampling_adapters as adapters

Q = jnp.array([[0.5, 0.25, 0.15, 0.1], [0.97, 0.01, 0.01, 0.01]])
LOG_Q = jnp.log(Q)


def test_what_each_adapter_keeps():
    kept = lambda adapter: np.asarray(jnp.exp(adapter(LOG_Q)), float).round(4).tolist()
    assert kept(adapters.top_k(2))[0] == [0.6667, 0.3333, 0.0, 0.0]
    assert kept(adapters.top_p(0.7))[0] == [0.6667, 0.3333, 0.0, 0.0]
    assert kept(adapters.top_p(0.7))[1] == [1.0, 0.0, 0.0, 0.0]
    # p^2, normalized: .25, .0625, .0225, .01 of .345
    assert kept(adapters.temperature(0.5))[0] == [0.7246, 0.1812, 0.0652, 0.029]
    # entropy 1.208; surprisals .693, 1.386, 1.897, 2.303: nearest is the second
    assert kept(adapters.typical(0.2))[0] == [0.0, 1.0, 0.0, 0.0]
    assert kept(adapters.typical(0.6))[0] == [0.6667, 0.3333, 0.0, 0.0]
    # sqrt(.2) exp(-1.208) = .1336 < .2: the last falls; of the second row, sqrt(.2)
    # exp(-.168) = .378, so that epsilon, .2, is the bound
    assert kept(adapters.eta(0.2))[0] == [0.5556, 0.2778, 0.1667, 0.0]
    assert kept(adapters.eta(0.2))[1] == [1.0, 0.0, 0.0, 0.0]
    assert kept(adapters.eta(0.99))[1] == [1.0, 0.0, 0.0, 0.0]  # never nothing


@pytest.mark.parametrize(
    "adapter",
    [adapters.top_k(4), adapters.top_p(1.0), adapters.temperature(1.0)]
    + [adapters.typical(1.0), adapters.eta(1e-9)],
)
def test_an_adapter_at_its_limit_changes_nothing(adapter):
    np.testing.assert_allclose(adapter(LOG_Q), LOG_Q, atol=1e-6)


def test_coverage_by_hand():
    p, q = jnp.array([[0.5, 0.5, 0.0]]), jnp.array([[0.5, 0.25, 0.25]])
    found = adapters.coverage(jnp.log(p), jnp.log(q), share=1e-9)
    np.testing.assert_allclose(found.forward, 1.5 * np.log(2.0), rtol=1e-5)
    # q gives .25 to a token that has 1e-9 / 3 of p
    reverse = 0.75 * np.log(2.0) - 0.25 * np.log(1e-9 / 3)
    np.testing.assert_allclose(found.reverse, reverse, rtol=1e-5)
    np.testing.assert_allclose(found.total_variation, 0.25, rtol=1e-5)
    m = np.array([0.5, 0.375, 0.125])
    js = 0.5 * (0.5 * np.log(0.5 / m[1]) + 0.25 * np.log(0.25 / m[1]))
    js += 0.5 * 0.25 * np.log(0.25 / m[2])
    np.testing.assert_allclose(found.jensen_shannon, js, rtol=1e-4)
    np.testing.assert_allclose(found.entropy, 1.5 * np.log(2.0), rtol=1e-5)


def test_truncation_of_a_noisy_copy_loses_recall_and_gains_precision():
    key = jax.random.key(0)
    log_p = jax.nn.log_softmax(4.0 * jax.random.normal(key, (64, 50)))
    log_q = jnp.logaddexp(log_p + jnp.log(0.8), jnp.log(0.2 / 50))  # a flat tail
    shares = (1.0, 0.9, 0.7, 0.4)
    found = [adapters.coverage(log_p, adapters.top_p(p)(log_q)) for p in shares]
    forward = [float(jnp.mean(x.forward)) for x in found]
    reverse = [float(jnp.mean(x.reverse)) for x in found]
    total = [float(jnp.mean(x.total_variation)) for x in found]
    assert forward[1:] == sorted(forward[1:])  # a little truncation removes the tail
    assert reverse == sorted(reverse, reverse=True)
    assert max(total[1:3]) < min(total[0], total[3])  # best between the ends
