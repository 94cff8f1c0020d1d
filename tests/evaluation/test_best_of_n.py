"""Best of n from N samples: against every subset, ties, shapes, gradients."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.evaluation.best_of_n import unbiased_best_of_n

RNG = np.random.default_rng(0)
GOLD = RNG.normal(size=(2, 3, 6)).astype(np.float32)
PROXY = RNG.normal(size=(2, 3, 6)).astype(np.float32)
TIED = RNG.integers(0, 3, (2, 3, 6)).astype(np.float32)


def every_subset(gold, proxy, n):
    """The mean over all n-subsets of the gold reward of their first best by proxy."""
    chosen = []
    for subset in itertools.combinations(range(gold.shape[-1]), n):
        subset = list(subset)
        best = np.argmax(proxy[..., subset], axis=-1)[..., None]
        chosen.append(np.take_along_axis(gold[..., subset], best, axis=-1)[..., 0])
    return np.mean(chosen, axis=0)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
@pytest.mark.parametrize("proxy", [PROXY, TIED])
def test_is_the_mean_over_every_subset(proxy, n):
    found = unbiased_best_of_n(GOLD, proxy, n=n)
    np.testing.assert_allclose(
        found, every_subset(GOLD, proxy, n), rtol=1e-5, atol=1e-6
    )


def test_by_hand():
    # N = 4, n = 3: the subsets 012 013 023 123 of proxies 1 2 4 3 are won by the
    # third, fourth, third and third: (3 * 40 + 30) / 4
    gold, proxy = np.float32([10, 20, 40, 30]), np.float32([1, 2, 4, 3])
    np.testing.assert_allclose(unbiased_best_of_n(gold, proxy, n=3), 37.5)


def test_of_ties_the_first_is_best():
    # pairs 01, 02, 12, all tied: won by 0, 0, 1
    gold = np.float32([3.0, 6.0, 9.0])
    np.testing.assert_allclose(unbiased_best_of_n(gold, 0 * gold, n=2), 4.0)


def test_of_one_is_the_mean_and_of_all_the_best():
    np.testing.assert_allclose(
        unbiased_best_of_n(GOLD, PROXY, n=1), GOLD.mean(-1), atol=1e-6
    )
    np.testing.assert_allclose(
        unbiased_best_of_n(PROXY, PROXY, n=6), PROXY.max(-1), rtol=1e-6
    )


def test_unbiased():
    """Its mean over every set of N samples is that of the best of n fresh ones."""
    # three equally probable answers, N = 4 and n = 2: 3^4 sets; of fresh pairs, answer
    # i is the best with probability ((i + 1)^2 - i^2) / 9 = 1/9, 3/9, 5/9
    gold = np.float32([5.0, -1.0, 2.0])
    sets = np.indices((3,) * 4).reshape(4, -1).T
    found = unbiased_best_of_n(gold[sets], sets.astype(np.float32), n=2)
    np.testing.assert_allclose(found.mean(), gold @ [1 / 9, 3 / 9, 5 / 9], rtol=1e-5)


def test_gradient_by_gold_is_how_often_each_is_best():
    # proxies 2 1 3, n = 2: of the pairs 01, 02, 12 the first is best in one, the third
    # in two; the proxy itself gets none
    total = lambda gold, proxy: unbiased_best_of_n(gold, proxy, n=2).sum()
    gold, proxy = np.float32([7, 8, 9]), np.float32([2, 1, 3])
    by_gold, by_proxy = jax.grad(total, (0, 1))(gold, proxy)
    np.testing.assert_allclose(by_gold, [1 / 3, 0, 2 / 3], rtol=1e-6)
    np.testing.assert_array_equal(by_proxy, 0.0)


def test_eager_equals_jit_and_many_samples_are_finite():
    function = lambda g, p: unbiased_best_of_n(g, p, n=3)
    chex.assert_trees_all_close(jax.jit(function)(GOLD, TIED), function(GOLD, TIED))
    # C(5000, 700) has more than 800 digits
    many = 1e4 * jnp.linspace(-1.0, 1.0, 5000)
    found = unbiased_best_of_n(many, many, n=700)
    # the largest of 700 of 5000 even steps on [0, 1] is 700 * 5001 / 701 / 5000
    share = (700 * 5001 / 701 - 1) / 4999
    np.testing.assert_allclose(found, 1e4 * (2 * share - 1), rtol=1e-4)


@pytest.mark.parametrize("n", [0, 7])
def test_more_than_there_are_is_refused(n):
    with pytest.raises(ValueError, match=f"best of {n} needs {n} samples .* are 6"):
        unbiased_best_of_n(GOLD, PROXY, n=n)
