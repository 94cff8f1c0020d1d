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
    logits: Array,
    uniform: Array,
    sampling_params: SamplingParams,
    answer: Array | None = None,
) -> tuple[Array, Array]:
    """Sample the next token of each row.

    Args:
      logits: [B V] float32.
      uniform: one number in [0, 1) per row [B].
      sampling_params: temperature, an array, biases, arrays, and filters.
      answer: the answer of each row so far, -1 where there is no token [B N]; needed
        with `once_tokens`.

    Returns:
      The token [B], and its log-prob [B] under softmax(logits / temperature), before
      biases and filters; at temperature 0, the argmax and its log-prob at
      temperature 1.
    """
    greedy = sampling_params.temperature == 0.0
    divisor = jnp.where(greedy, 1.0, sampling_params.temperature)
    scaled = logits / divisor
    highest = jnp.max(scaled, axis=-1, keepdims=True)
    mass = total_mass = jnp.exp(scaled - highest)
    choice, top = scaled, highest
    if sampling_params.logit_bias or sampling_params.once_tokens:
        choice = bias_logits(logits, sampling_params, answer) / divisor
        top = jnp.max(choice, axis=-1, keepdims=True)
        mass = jnp.exp(choice - top)

    def sample() -> Array:
        k, p = sampling_params.top_k, sampling_params.top_p
        filtered = mass if k is None else filters.top_k(mass, k)
        filtered = filtered if p is None else filters.top_p(filtered, p)
        return sample_categorical(filtered, uniform)

    token = jax.lax.cond(greedy, lambda: first_argmax(choice, top), sample)
    centered = jnp.take_along_axis(scaled - highest, token[:, None], axis=1)[:, 0]
    return token, centered - jnp.log(jnp.sum(total_mass, axis=-1))


def bias_logits(
    logits: Array, sampling_params: SamplingParams, answer: Array | None
) -> Array:
    """Add the biases to logits [B V], and forbid repetitions of `once_tokens`.

    Raises:
      ValueError: a token beyond the vocabulary, or once_tokens without the answer.
    """
    once, bias = sampling_params.once_tokens, sampling_params.logit_bias
    largest = max((*once, *bias))
    if not 0 <= min((*once, *bias)) <= largest < logits.shape[1]:
        raise ValueError(
            f"a logit bias, or once_tokens, of a token beyond the {logits.shape[1]} of "
            f"the vocabulary: {sorted({*once, *bias})}"
        )
    for token, value in bias.items():
        logits = logits.at[:, token].add(value)
    if once:
        if answer is None:
            raise ValueError("once_tokens needs the answers so far")
        for token in once:
            repeated = jnp.any(answer == token, axis=1)
            forbidden = jnp.where(repeated, -jnp.inf, logits[:, token])
            logits = logits.at[:, token].set(forbidden)
    return logits


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
