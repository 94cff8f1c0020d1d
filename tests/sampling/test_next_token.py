"""Next tokens: random numbers of a row and step, and the order of the filters."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.sampling import SamplingParams, next_token

KEY = jax.random.key(7)


def test_randomness_comes_from_key_row_and_step_alone():
    ids = jnp.array([5, 2, 5])
    numbers = next_token.uniform_numbers(KEY, ids, 4)
    for b, n in [(0, 0), (1, 3), (2, 1)]:
        key = jax.random.fold_in(jax.random.fold_in(KEY, ids[b]), n)
        assert numbers[b, n] == jax.random.uniform(key)
    assert len(np.unique(numbers)) == 8


def test_one_step_has_the_numbers_of_all_steps():
    """Continuous batching, whose rows are at different steps, samples as `generate`."""
    ids = jnp.array([[5, 0], [2, 1], [5, 1]])
    numbers = next_token.uniform_numbers(KEY, ids, 4)
    steps = jnp.array([3, 0, 2])
    expected = numbers[np.arange(3), steps]
    np.testing.assert_array_equal(next_token.step_uniforms(KEY, ids, steps), expected)


def test_top_p_counts_shares_of_what_top_k_left():
    logits = jnp.log(jnp.array([[0.4, 0.3, 0.2, 0.1]]))
    uniform = jnp.array([0.999])

    def sample(k, p):
        settings = SamplingParams(max_new_tokens=1, top_k=k, top_p=p)
        token, _ = next_token.sample_token(
            logits, uniform, settings.with_float32_temperature()
        )
        return int(token[0])

    assert sample(None, None) == 3
    assert sample(2, None) == 1
    assert sample(None, 0.55) == 1  # .4 is short of .55
    assert sample(2, 0.55) == 0  # .4 / .7 = .571 is not
