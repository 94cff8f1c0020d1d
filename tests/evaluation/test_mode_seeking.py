"""Forward KL covers and matches moments; reverse KL seeks the mode it starts near."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.evaluation import mode_seeking
from jaxalign.evaluation.mode_seeking import DIVERGENCES, Gaussian, fit

GRID = jnp.linspace(-16.0, 16.0, 641)
MEANS, STDS, WEIGHTS = (-3.0, 3.0), (0.6, 0.8), (0.7, 0.3)
TARGET = mode_seeking.log_mixture(GRID, *map(jnp.array, (WEIGHTS, MEANS, STDS)))


def test_the_forward_fit_has_the_targets_mean_and_variance():
    fitted = fit(GRID, TARGET, Gaussian(4.0, 0.0), divergence=DIVERGENCES["forward KL"])
    # by hand: mean -.7*3 + .3*3, variance E[std^2] + E[mean^2] - mean^2
    mean = -1.2
    variance = 0.7 * 0.36 + 0.3 * 0.64 + 9.0 - mean**2
    # float32 sums over the grid; its ends are 5 deviations of the fit away
    np.testing.assert_allclose(fitted.mean, mean, atol=1e-4)
    np.testing.assert_allclose(jnp.exp(2 * fitted.log_std), variance, rtol=1e-4)
    # sums over a grid of step 0.05, in float32
    np.testing.assert_allclose(
        mode_seeking.moments(GRID, TARGET), (mean, 0.5 * np.log(variance)), atol=1e-5
    )


@pytest.mark.parametrize("mode", [0, 1])
def test_the_reverse_fit_is_the_mode_it_starts_near(mode):
    start = Gaussian(MEANS[mode] / 2, 0.0)
    fitted = fit(GRID, TARGET, start, divergence=DIVERGENCES["reverse KL"])
    np.testing.assert_allclose(fitted.mean, MEANS[mode], atol=0.01)
    np.testing.assert_allclose(jnp.exp(fitted.log_std), STDS[mode], rtol=0.02)
    # a fit that is a mode of weight w is log(1 / w) away from the target
    log_q = mode_seeking.log_gaussian(GRID, *fitted)
    away = mode_seeking.reverse_kl(TARGET, log_q)
    np.testing.assert_allclose(away, -np.log(WEIGHTS[mode]), atol=2e-3)


def test_sft_on_samples_covers_and_policy_gradients_seek():
    sft = mode_seeking.fit_to_samples(GRID, TARGET, jax.random.key(0), samples=20_000)
    # the standard error of the mean is 2.83 / sqrt(20,000) = 0.02
    np.testing.assert_allclose(sft.mean, -1.2, atol=0.08)
    for mode, place in enumerate(MEANS):
        start = Gaussian(place / 2, 0.0)
        rl = mode_seeking.fit_by_policy_gradient(
            GRID, TARGET, start, jax.random.key(1), steps=600
        )
        # noise of 64 samples a step, which the cosine averages out
        np.testing.assert_allclose(rl.mean, MEANS[mode], atol=0.15)


def test_the_jensen_shannon_divergence_has_both_kinds_of_minima():
    divergence = DIVERGENCES["Jensen-Shannon"]
    fits = [
        fit(GRID, TARGET, start, divergence=divergence)
        for start in (Gaussian(-2.0, 0.0), Gaussian(0.0, 1.0))
    ]
    seeking, covering = (mode_seeking.log_gaussian(GRID, *each) for each in fits)
    np.testing.assert_allclose(fits[0].mean, -3.0, atol=0.01)
    mass = mode_seeking.mode_mass(GRID, covering, MEANS, width=2.4)
    assert (np.asarray(mass) > 0.15).all()
    assert divergence(TARGET, seeking) < divergence(TARGET, covering) < np.log(2.0)


def test_mass_near_modes_and_the_tilt_as_beta_falls():
    mass = mode_seeking.mode_mass(
        GRID, TARGET, MEANS, width=2.4
    )  # 3 stds at least: .3 %
    np.testing.assert_allclose(mass, WEIGHTS, atol=2e-3)
    reward = jnp.where(GRID > 0, 1.0, 0.0)
    for beta in (10.0, 1.0, 0.25):
        log_q = mode_seeking.tilt_by_reward(TARGET, reward, beta=beta)
        gained = mode_seeking.mode_mass(GRID, log_q, MEANS, width=2.4)
        odds = 0.3 / 0.7 * np.exp(1 / beta)  # pi_ref exp(r / beta), by hand
        np.testing.assert_allclose(gained[1], odds / (1 + odds), atol=4e-3)
    np.testing.assert_allclose(
        mode_seeking.tilt_by_reward(TARGET, reward, beta=1e6), TARGET, atol=1e-4
    )


def test_the_entropy_of_a_uniform_table_is_the_logarithm_of_its_size():
    log_p = jax.nn.log_softmax(jnp.zeros(50))
    np.testing.assert_allclose(mode_seeking.entropy(log_p), np.log(50.0), rtol=1e-6)
