"""Answers from a language model: prefill and decode in one compiled program."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.batches import TokenBatch, from_lengths
from jaxalign.sampling import filters
from jaxalign.types import (
    Array,
    Bool,
    Cache,
    Float,
    Int,
    Key,
    LanguageModel,
    Params,
    Scalar,
    typed,
)


class Samples(NamedTuple):
    """Sampled answers.

    Attributes:
      tokens: token ids, 0 after the answer's end.
      mask: True on the answer, its stop token included.
      logp: log-prob of each token at the sampling temperature, before top-k and top-p
        took others away: what `estimators.token_logprobs` gives for it. Of greedy
        answers, at temperature 1.
    """

    tokens: Int[Array, "B N"]
    mask: Bool[Array, "B N"]
    logp: Float[Array, "B N"]


@typed
def generate(
    model: LanguageModel,
    params: Params,
    prompts: Int[Array, "P T"],
    lengths: Int[Array, "P"],
    key: Key,
    *,
    max_new_tokens: int,
    samples: int = 1,
    temperature: Scalar = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_tokens: Sequence[int] = (),
    row_ids: Int[Array, "B *K"] | None = None,
) -> Samples:
    """Samples answers to each prompt; ends early when every row has stopped.

    token ~ p(token | prompt, answer so far)^(1 / temperature), filtered, up to a factor

    The randomness of a row's n-th token comes from (key, row id, n) alone: an answer
    does not depend on the other rows, their order, or the number of devices. One
    program serves every temperature; the model, the filters and the shapes are
    compiled in.

    Args:
      prompts: right-padded.
      lengths: tokens of each prompt, at least 1.
      samples: answers to a prompt, which come side by side and share its reading.
      temperature: 0 is greedy.
      top_k: keep the k likeliest tokens. None keeps all.
      top_p: keep the fewest tokens whose probabilities reach p. None keeps all.
      stop_tokens: an answer ends with any of these.
      row_ids: what identifies each row's randomness [P * samples], or several numbers
        of each, such as prompt and repeat [P * samples K]; by default its place.

    Raises:
      ValueError: an empty prompt, a limit out of range, no room in the context, or
        row ids that are not those of the answers.
    """
    check_request(model, prompts, lengths, max_new_tokens, top_k, top_p, temperature)
    row_ids = answer_row_ids(len(prompts) * samples, row_ids)
    return decode_loop(
        model,
        max_new_tokens,
        top_k,
        top_p,
        tuple(stop_tokens),
        params,
        jnp.asarray(prompts),
        jnp.asarray(lengths, jnp.int32),
        key,
        jnp.asarray(temperature, jnp.float32),
        row_ids,
    )


def check_request(
    model: LanguageModel,
    prompts: Array,
    lengths: Array,
    max_new_tokens: int,
    top_k: int | None,
    top_p: float | None,
    temperature: Scalar,
) -> None:
    """Refuses what cannot be sampled, as far as it is known before running."""
    if not isinstance(temperature, jax.Array) and temperature < 0:
        raise ValueError(f"temperature {temperature} is negative")
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; at least 1 is sampled")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k is {top_k}; at least 1 token must be kept")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ValueError(f"top_p is {top_p}; it must be above 0 and at most 1")
    longest = prompts.shape[1]
    if is_concrete(lengths):
        known = np.asarray(lengths)
        bad = (known < 1) | (known > longest)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"the prompt of row {row} has {known[row]} tokens; it must have 1 to "
                f"{longest}"
            )
        longest = int(known.max())
    if longest + max_new_tokens > model.config.context:
        raise ValueError(
            f"prompts of up to {longest} tokens and {max_new_tokens} new ones do not "
            f"fit in the model's context of {model.config.context}"
        )


def answer_row_ids(answers: int, row_ids: Array | None) -> Array:
    """What identifies each answer's randomness: what is told, or its place."""
    found = jnp.arange(answers) if row_ids is None else jnp.asarray(row_ids)
    if not len(found) == answers > 0:
        raise ValueError(f"{len(found)} row_ids are given for {answers} answers")
    return found


def is_concrete(x: Array) -> bool:
    """Whether values can be read here: not while tracing, nor from other hosts."""
    if isinstance(x, jax.core.Tracer):
        return False
    return not isinstance(x, jax.Array) or x.is_fully_addressable


class DecodeState(NamedTuple):
    """What the decode loop hands on: the last tokens, and all that came before."""

    step: Array
    cache: Cache
    token: Array
    stopped: Array
    samples: Samples


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def decode_loop(
    model: LanguageModel,
    max_new_tokens: int,
    top_k: int | None,
    top_p: float | None,
    stop_tokens: tuple[int, ...],
    params: Params,
    prompts: Array,
    lengths: Array,
    key: Key,
    temperature: Array,
    row_ids: Array,
) -> Samples:
    """The compiled program of `generate`."""
    rows, width = len(row_ids), prompts.shape[1]
    each = lambda x: jnp.repeat(x, rows // len(prompts), axis=0)
    params = model.prepare(params)
    unembed = model.unembed(params)
    uniforms = uniform_numbers(key, row_ids, max_new_tokens)
    stops = jnp.asarray(stop_tokens, jnp.int32)

    def sample(carry: DecodeState, hidden: Array) -> DecodeState:
        n, done = carry.step, carry.stopped
        logits = next_logits(hidden, unembed, model.config.logit_cap)
        token, logp = sample_token(logits, uniforms[:, n], temperature, top_k, top_p)
        tokens, mask, logps = carry.samples
        samples = Samples(
            tokens.at[:, n].set(jnp.where(done, 0, token)),
            mask.at[:, n].set(~done),
            logps.at[:, n].set(jnp.where(done, 0.0, logp)),
        )
        done |= jnp.any(token[:, None] == stops[None, :], axis=1)
        return DecodeState(n + 1, carry.cache, token, done, samples)

    def body(carry: DecodeState) -> DecodeState:
        hidden, cache = model.extend(params, carry.token[:, None], carry.cache)
        return sample(carry._replace(cache=cache), hidden[:, 0])

    cache = model.init_cache(len(prompts), width + max_new_tokens)
    hidden, cache = model.extend(params, prompts, cache)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    cache = cache._replace(length=lengths)
    cache = model.branch(cache, rows // len(prompts), max_new_tokens)
    empty = lambda dtype: jnp.zeros((rows, max_new_tokens), dtype)
    start = DecodeState(
        step=jnp.int32(0),
        cache=cache,
        token=jnp.zeros(rows, jnp.int32),
        stopped=jnp.zeros(rows, bool),
        samples=Samples(empty(jnp.int32), empty(bool), empty(jnp.float32)),
    )
    going = lambda carry: (carry.step < max_new_tokens) & ~jnp.all(carry.stopped)
    return jax.lax.while_loop(going, body, sample(start, each(last))).samples


def next_logits(hidden: Array, unembed: Array, logit_cap: float | None) -> Array:
    """Logits [B V] in float32, as `estimators.token_logprobs` has them."""
    logits = jnp.einsum(
        "bd,dv->bv", hidden, unembed, preferred_element_type=jnp.float32
    )
    return logits if logit_cap is None else logit_cap * jnp.tanh(logits / logit_cap)


def uniform_numbers(key: Key, row_ids: Array, count: int) -> Array:
    """Of [0, 1), for each row and step [B N], from (key, row id, step) alone."""

    def of_row(row: Array) -> Array:
        known = row_key(key, row)
        steps = jax.vmap(lambda n: jax.random.fold_in(known, n))(jnp.arange(count))
        return jax.vmap(jax.random.uniform)(steps)

    return jax.vmap(of_row)(row_ids)


def row_key(key: Key, row: Array) -> Key:
    """The key of a row, folded from each number of its id."""
    return functools.reduce(jax.random.fold_in, jnp.atleast_1d(row), key)


def sample_token(
    logits: Array,
    uniform: Array,
    temperature: Array,
    top_k: int | None,
    top_p: float | None,
) -> tuple[Array, Array]:
    """The next token of each row [B], and its log-prob before filtering."""
    greedy = temperature == 0.0
    scaled = logits / jnp.where(greedy, 1.0, temperature)
    highest = jnp.max(scaled, axis=-1, keepdims=True)
    mass = jnp.exp(scaled - highest)
    vocabulary = logits.shape[1]

    def likeliest() -> Array:
        # the first of the highest: XLA's argmax is ten times slower on a CPU
        tokens = jnp.arange(vocabulary, dtype=jnp.int32)[None, :]
        found = jnp.where(scaled == highest, tokens, vocabulary - 1)
        return jnp.min(found, axis=-1)

    def drawn() -> Array:
        kept = mass if top_k is None else filters.top_k(mass, top_k)
        kept = kept if top_p is None else filters.top_p(kept, top_p)
        return filters.sample_categorical(kept, uniform)

    token = jax.lax.cond(greedy, likeliest, drawn)
    picked = jnp.take_along_axis(scaled - highest, token[:, None], axis=1)[:, 0]
    return token, picked - jnp.log(jnp.sum(mass, axis=-1))


@jax.jit
@typed
def join(
    prompts: Int[Array, "B T"], lengths: Int[Array, "B"], samples: Samples
) -> TokenBatch:
    """Prompts with their answers right behind them [B T+N]; the answers count."""
    prompts, lengths = jnp.asarray(prompts), jnp.asarray(lengths, jnp.int32)
    new = samples.tokens.shape[1]
    room = jnp.pad(prompts, ((0, 0), (0, new)))
    put = lambda row, answer, at: jax.lax.dynamic_update_slice(row, answer, (at,))
    tokens = jax.vmap(put)(room, samples.tokens, lengths)
    total = lengths + jnp.sum(samples.mask, axis=1)
    position = jnp.arange(tokens.shape[1])
    tokens = jnp.where(position[None, :] < total[:, None], tokens, 0)
    return from_lengths(tokens, total, lengths)
