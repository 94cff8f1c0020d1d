"""Hidden state -> next token: logits, random numbers, and the sampled token."""

import functools

import jax
import jax.numpy as jnp

from jaxalign.sampling import filters
from jaxalign.sampling.cpu_friendly import first_argmax, sample_categorical
from jaxalign.sampling.sampling_params import SamplingParams
from jaxalign.types import Array, Key


def next_logits(hidden: Array, unembed: Array, logit_cap: float | None) -> Array:
    """Next-token logits [B V] in float32, equal to those of training.

    logits = cap tanh(hidden @ unembed / cap)    with a soft cap, else without the tanh

    Args:
      hidden: final hidden states [B D].
      unembed: [D V].
      logit_cap: soft cap on the logits; None for none.
    """
    logits = jnp.einsum(
        "bd,dv->bv", hidden, unembed, preferred_element_type=jnp.float32
    )
    return logits if logit_cap is None else logit_cap * jnp.tanh(logits / logit_cap)


def sample_token(
    logits: Array, uniform: Array, sampling_params: SamplingParams
) -> tuple[Array, Array]:
    """Sample the next token of each row.

    Args:
      logits: [B V] float32.
      uniform: one number in [0, 1) per row [B].
      sampling_params: temperature, an array, and filters.

    Returns:
      The token [B], and its log-prob [B] under softmax(logits / temperature), before
      the filters; at temperature 0, the argmax and its log-prob at temperature 1.
    """
    greedy = sampling_params.temperature == 0.0
    scaled = logits / jnp.where(greedy, 1.0, sampling_params.temperature)
    highest = jnp.max(scaled, axis=-1, keepdims=True)
    mass = jnp.exp(scaled - highest)

    def sample() -> Array:
        k, p = sampling_params.top_k, sampling_params.top_p
        filtered = mass if k is None else filters.top_k(mass, k)
        filtered = filtered if p is None else filters.top_p(filtered, p)
        return sample_categorical(filtered, uniform)

    token = jax.lax.cond(greedy, lambda: first_argmax(scaled, highest), sample)
    centered = jnp.take_along_axis(scaled - highest, token[:, None], axis=1)[:, 0]
    return token, centered - jnp.log(jnp.sum(mass, axis=-1))


def row_key(key: Key, row_id: Array) -> Key:
    """The random key of a row: the run's key folded with each number of the row's id.

    Args:
      row_id: one number, or several [K].
    """
    return functools.reduce(jax.random.fold_in, jnp.atleast_1d(row_id), key)


def uniform_numbers(key: Key, row_ids: Array, count: int) -> Array:
    """One number in [0, 1) per row and step [B N], from (key, row id, step) alone.

    Args:
      row_ids: [B] or [B K] integers.
      count: steps N, numbered from 0.
    """

    def row_uniforms(row_id: Array) -> Array:
        folded = row_key(key, row_id)
        keys = jax.vmap(lambda n: jax.random.fold_in(folded, n))(jnp.arange(count))
        return jax.vmap(jax.random.uniform)(keys)

    return jax.vmap(row_uniforms)(row_ids)


def step_uniforms(key: Key, row_ids: Array, steps: Array) -> Array:
    """The numbers of `uniform_numbers` at one step of each row [B].

    Args:
      steps: index of the step of each row [B].
    """
    fold = jax.random.fold_in
    number = lambda row, n: jax.random.uniform(fold(row_key(key, row), n))
    return jax.vmap(number)(row_ids, steps)
