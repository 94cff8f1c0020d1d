"""Batch generation: prefill and decode in one compiled program."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.sampling.next_token import next_logits, sample_token, uniform_numbers
from jaxalign.sampling.samples import Samples
from jaxalign.sampling.sampling_params import SamplingParams
from jaxalign.types import Array, Cache, Int, Key, LanguageModel, Params, typed


@typed
def generate(
    model: LanguageModel,
    params: Params,
    prompts: Int[Array, "P T"],
    lengths: Int[Array, "P"],
    key: Key,
    sampling_params: SamplingParams,
    *,
    row_ids: Int[Array, "B *K"] | None = None,
) -> Samples:
    """Sample answers to each prompt, until every row has ended.

    The randomness of the n-th token of a row comes from (key, row id, n) alone: an
    answer does not depend on the other rows, their order, or the number of devices. One
    program serves every temperature; the model, the other sampling parameters and the
    shapes are compiled in.

    Args:
      params: of the model.
      prompts: right-padded token ids.
      lengths: tokens of each prompt, at least 1.
      sampling_params: length, number and distribution of the answers.
      row_ids: identity of the randomness of each answer: one integer [P * samples], or
        several [P * samples K], such as prompt id and repeat. Default: index of the
        row.

    Returns:
      Answers of up to N = `max_new_tokens` tokens; B = P * samples rows, answers to one
      prompt side by side.

    Raises:
      ValueError: an empty prompt, no room in the model's context, or another number of
        row ids than of answers.
    """
    check_request(model, prompts, lengths, sampling_params)
    row_ids = answer_row_ids(len(prompts) * sampling_params.samples, row_ids)
    return decode_loop(
        model,
        sampling_params.with_float32_temperature(),
        params,
        jnp.asarray(prompts),
        jnp.asarray(lengths, jnp.int32),
        key,
        row_ids,
    )


def check_request(
    model: LanguageModel,
    prompts: Array,
    lengths: Array,
    sampling_params: SamplingParams,
) -> None:
    """Validate prompt lengths, as far as they are known before running.

    Raises:
      ValueError: an empty prompt, or no room for the answers in the model's context.
    """
    longest = prompts.shape[1]
    if is_concrete(lengths):
        known = np.asarray(lengths)
        invalid = (known < 1) | (known > longest)
        if invalid.any():
            row = int(np.argmax(invalid))
            raise ValueError(
                f"prompt {row} has {known[row]} tokens; expected 1 to {longest}"
            )
        longest = int(known.max())
    new, context = sampling_params.max_new_tokens, model.config.context
    if longest + new > context:
        raise ValueError(
            f"prompts of up to {longest} tokens and answers of up to {new} tokens do "
            f"not fit in the model's context of {context} tokens"
        )


def answer_row_ids(answers: int, row_ids: Array | None) -> Array:
    """The identity of the randomness of each answer; by default its index.

    Raises:
      ValueError: another number of ids than of answers.
    """
    ids = jnp.arange(answers) if row_ids is None else jnp.asarray(row_ids)
    if not len(ids) == answers > 0:
        raise ValueError(f"got {len(ids)} row_ids for {answers} answers")
    return ids


def is_concrete(x: Array) -> bool:
    """Whether values are readable: not in a trace, nor on devices of other hosts."""
    if isinstance(x, jax.core.Tracer):
        return False
    return not isinstance(x, jax.Array) or x.is_fully_addressable


class DecodeState(NamedTuple):
    """The carry of the decode loop.

    Attributes:
      step: tokens decoded so far, a scalar.
      cache: of the model, with all tokens but the last.
      token: the last token of each row [B].
      stopped: whether the answer of each row has ended [B].
      samples: the answers so far.
    """

    step: Array
    cache: Cache
    token: Array
    stopped: Array
    samples: Samples


@functools.partial(jax.jit, static_argnums=0)
def decode_loop(
    model: LanguageModel,
    sampling_params: SamplingParams,
    params: Params,
    prompts: Array,
    lengths: Array,
    key: Key,
    row_ids: Array,
) -> Samples:
    """The compiled program of `generate`; its arguments, with row ids for all rows."""
    rows, (count, width) = len(row_ids), prompts.shape
    room = sampling_params.max_new_tokens
    params = model.prepare(params)
    unembed = model.unembed(params)
    uniforms = uniform_numbers(key, row_ids, room)
    stops = jnp.asarray(sampling_params.stop_tokens, jnp.int32)

    def append(state: DecodeState, hidden: Array) -> DecodeState:
        n, stopped = state.step, state.stopped
        logits = next_logits(hidden, unembed, model.config.logit_cap)
        tokens, mask, logps = state.samples
        answer = jnp.where(mask, tokens, -1) if sampling_params.once_tokens else None
        token, logp = sample_token(logits, uniforms[:, n], sampling_params, answer)
        samples = Samples(
            tokens.at[:, n].set(jnp.where(stopped, 0, token)),
            mask.at[:, n].set(~stopped),
            logps.at[:, n].set(jnp.where(stopped, 0.0, logp)),
        )
        stopped |= jnp.any(token[:, None] == stops[None, :], axis=1)
        return DecodeState(n + 1, state.cache, token, stopped, samples)

    def step(state: DecodeState) -> DecodeState:
        hidden, cache = model.extend(params, state.token[:, None], state.cache)
        return append(state._replace(cache=cache), hidden[:, 0])

    cache = model.init_cache(count, width + room)
    hidden, cache = model.extend(params, prompts, cache)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)[:, 0]
    cache = model.branch(cache._replace(length=lengths), rows // count, room)
    empty = lambda dtype: jnp.zeros((rows, room), dtype)
    start = DecodeState(
        step=jnp.int32(0),
        cache=cache,
        token=jnp.zeros(rows, jnp.int32),
        stopped=jnp.zeros(rows, bool),
        samples=Samples(empty(jnp.int32), empty(bool), empty(jnp.float32)),
    )
    start = append(start, jnp.repeat(last, rows // count, axis=0))
    unfinished = lambda state: (state.step < room) & ~jnp.all(state.stopped)
    return jax.lax.while_loop(unfinished, step, start).samples
