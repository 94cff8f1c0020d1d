"""Continuous batching: a slot whose answer has ended takes the next prompt.

A batch of `generate` takes as many steps as its longest answer; here a row that has
ended continues with another answer, within one compiled program. Where rows are split
over devices, each shard has its own prompts, slots and queue.

Reference: Yu et al. 2022, Orca: A Distributed Serving System for Transformer-Based
Generative Models, OSDI (iteration-level scheduling).
"""

import functools

import jax
import jax.numpy as jnp

from jaxalign.sampling import slots as slots_lib
from jaxalign.sampling.decode import answer_row_ids, check_request
from jaxalign.sampling.next_token import next_logits, sample_token, step_uniforms
from jaxalign.sampling.prefill import prefill
from jaxalign.sampling.samples import Samples
from jaxalign.sampling.sampling_params import SamplingParams
from jaxalign.sampling.slots import (
    PromptQueue,
    ServeConfig,
    ServeContext,
    ServeState,
    Slots,
    init_state,
    put_rows,
    take_rows,
)
from jaxalign.types import Array, Int, Key, LanguageModel, Params, typed

REFILL_DIVISOR = 4  # a prefill waits until this fraction of the slots, 1 in 4, is free


@typed
def serve(
    model: LanguageModel,
    params: Params,
    prompts: Int[Array, "P T"],
    lengths: Int[Array, "P"],
    key: Key,
    sampling_params: SamplingParams,
    *,
    rows: int,
    row_ids: Int[Array, "B *K"] | None = None,
) -> Samples:
    """Sample the answers of `generate`, a limited number at a time.

    For more answers than fit in memory at once, or of uneven lengths: about
    sum(answer lengths) / rows steps, where batches take the longest answer of each.
    Prompts are read in ascending order of their lengths.

    Args:
      params, prompts, lengths, key, sampling_params, row_ids: as of `generate`.
      rows: answers in progress at a time, at least 1; more than there are answers has
        no effect, and the number is rounded up to divide among devices.

    Raises:
      ValueError: as `generate`; `rows` below 1; a model whose cache does not have its
        rows first.
    """
    check_request(model, prompts, lengths, sampling_params)
    check_servable(model, rows)
    row_ids = answer_row_ids(len(prompts) * sampling_params.samples, row_ids)
    shards = slots_lib.row_shards(len(prompts))
    slots = -(-min(rows, len(row_ids)) // shards)
    config = ServeConfig(model, shards, slots, refill=-(-slots // REFILL_DIVISOR))
    queue = PromptQueue(jnp.asarray(prompts), jnp.asarray(lengths, jnp.int32), row_ids)
    traced = sampling_params.with_float32_temperature()
    samples, _ = serve_loop(config, traced, params, queue, key)
    return samples


def check_servable(model: LanguageModel, rows: int) -> None:
    """Validate the number of rows and the layout of the model's cache.

    Raises:
      ValueError: fewer rows than 1, or a cache array whose first axis is not its rows.
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}; it must be at least 1")
    for leaf in jax.tree.leaves(jax.eval_shape(lambda: model.init_cache(3, 2))):
        if leaf.shape[:1] != (3,):
            raise ValueError(
                "continuous batching needs a cache with rows first; this model's has "
                f"an array of shape {leaf.shape} for 3 rows: use generate"
            )


@functools.partial(jax.jit, static_argnums=0)
def serve_loop(
    config: ServeConfig,
    sampling_params: SamplingParams,
    params: Params,
    queue: PromptQueue,
    key: Key,
) -> tuple[Samples, Array]:
    """The compiled program of `serve`.

    Returns:
      The answers in the order of the queue, and the number of decode steps.
    """
    params = config.model.prepare(params)
    order = slots_lib.map_shards(config.shards, jnp.argsort, queue.lengths)
    prompts, lengths = slots_lib.map_shards(
        config.shards, take_rows, (queue.tokens, queue.lengths), order
    )
    queue = PromptQueue(prompts, lengths, queue.row_ids)
    unembed = config.model.unembed(params)
    context = ServeContext(config, sampling_params, params, unembed, queue, order, key)

    def refill_and_decode(state: ServeState) -> ServeState:
        decoding = lambda state: (
            jnp.any(state.slots.active) & ~should_refill(context, state)
        )
        step = functools.partial(decode_step, context)
        return jax.lax.while_loop(decoding, step, refill_slots(context, state))

    unfinished = lambda state: (
        jnp.any(state.started < context.answers) | jnp.any(state.slots.active)
    )
    end = jax.lax.while_loop(unfinished, refill_and_decode, init_state(context))
    mask = end.tokens >= 0
    return Samples(jnp.where(mask, end.tokens, 0), mask, end.logp), end.steps


def should_refill(context: ServeContext, state: ServeState) -> Array:
    """Whether free slots, over all shards, can take the answers of one prefill."""
    config = context.config
    waiting = context.answers - state.started
    free = jnp.sum(~state.slots.active.reshape(config.shards, -1), axis=1)
    needed = jnp.sum(jnp.minimum(waiting, config.refill))
    return (needed > 0) & (jnp.sum(jnp.minimum(waiting, free)) >= needed)


def refill_slots(context: ServeContext, state: ServeState) -> ServeState:
    """Prefill the next prompts, and give free slots their answers."""
    config, samples = context.config, context.sampling_params.samples
    free_slots = lambda active: jnp.nonzero(
        ~active, size=config.refill, fill_value=config.slots
    )[0]
    at = context.map_shards(free_slots, state.slots.active)
    nth = state.started[:, None] + jnp.arange(config.refill)[None, :]
    active = (nth < context.answers).reshape(-1) & (at < config.slots)
    nth = jnp.minimum(nth, context.answers - 1)
    # the prompts to read, and which of them each new answer belongs to
    first = (state.started // samples)[:, None]
    prompt = first + jnp.arange(config.prefill_rows(samples))[None, :]
    prompt = jnp.minimum(prompt, context.answers // samples - 1).reshape(-1)
    source = (nth // samples - first).reshape(-1)
    queued = (context.queue.tokens, context.queue.lengths, context.order)
    prompts, lengths, order = context.map_shards(take_rows, queued, prompt)
    hidden, cache = prefill(
        config.model, context.params, context.unembed, prompts, lengths, context.width
    )
    hidden, cache, order = context.map_shards(take_rows, (hidden, cache, order), source)
    answer = order * samples + nth.reshape(-1) % samples
    zeros = jnp.zeros_like(answer)
    new = Slots(cache, token=zeros, answer=answer, length=zeros, active=active)
    state, new = sample_step(context, state, new, hidden)
    started = state.started + jnp.sum(active.reshape(config.shards, -1), axis=1)
    slots = context.map_shards(put_rows, state.slots, at, new)
    return state._replace(slots=slots, started=started)


def decode_step(context: ServeContext, state: ServeState) -> ServeState:
    """Read the last token of each slot and sample the next; free slots do not move."""
    slots = state.slots
    hidden, cache = context.config.model.extend(
        context.params, slots.token[:, None], slots.cache
    )
    length = jnp.where(slots.active, cache.length, slots.cache.length)
    slots = slots._replace(cache=cache._replace(length=length))
    state, slots = sample_step(context, state, slots, hidden[:, 0])
    return state._replace(slots=slots, steps=state.steps + 1)


def sample_step(
    context: ServeContext, state: ServeState, slots: Slots, hidden: Array
) -> tuple[ServeState, Slots]:
    """Sample the next token of each active slot, and write it to its answer.

    Args:
      slots: those to sample for, which need not be those of the state.
      hidden: final hidden state of the last token of each slot [S D].
    """
    settings, model = context.sampling_params, context.config.model
    row_ids = context.map_shards(take_rows, context.queue.row_ids, slots.answer)
    uniform = step_uniforms(context.key, row_ids, slots.length)
    logits = next_logits(hidden, context.unembed, model.config.logit_cap)
    answer = None
    if settings.once_tokens:
        answer = context.map_shards(take_rows, state.tokens, slots.answer)
    token, logp = sample_token(logits, uniform, settings, answer)
    # beyond the last answer, where writes are dropped, for slots that are not active
    at = (jnp.where(slots.active, slots.answer, context.answers), slots.length)
    tokens, logps = context.map_shards(
        put_rows, (state.tokens, state.logp), at, (token, logp)
    )
    stops = jnp.asarray(settings.stop_tokens, jnp.int32)
    ended = jnp.any(token[:, None] == stops[None, :], axis=1)
    length = slots.length + 1
    active = slots.active & ~ended & (length < settings.max_new_tokens)
    slots = slots._replace(token=token, length=length, active=active)
    return state._replace(tokens=tokens, logp=logps), slots
