"""Answers to a queue of prompts: a slot whose answer has ended takes the next one.

A batch of `generate` takes as long as its longest answer; here a row that has ended
goes to another answer, within one compiled program. Where rows are split over devices,
each device has a share of the prompts and of the slots, and a queue of its own.

Reference: Yu et al. 2022, Orca: A Distributed Serving System for Transformer-Based
Generative Models, OSDI (scheduling by iteration, since called continuous batching).
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxalign.sampling import decode, shares
from jaxalign.sampling.decode import Samples
from jaxalign.sampling.prefill import prefill
from jaxalign.sampling.slots import (
    PromptQueue,
    ServeConfig,
    ServeContext,
    ServeState,
    Slots,
    init_state,
)
from jaxalign.types import Array, Int, Key, LanguageModel, Params, Scalar, typed

REFILL_DIVISOR = 4  # free slots are refilled once they are one part in so many


@typed
def serve(
    model: LanguageModel,
    params: Params,
    prompts: Int[Array, "P T"],
    lengths: Int[Array, "P"],
    key: Key,
    *,
    rows: int,
    max_new_tokens: int,
    samples: int = 1,
    temperature: Scalar = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop_tokens: Sequence[int] = (),
    row_ids: Int[Array, "B *K"] | None = None,
) -> Samples:
    """Samples the answers that `generate` gives, so many at a time.

    For more answers than fit at once, or of uneven lengths: about sum(lengths) / rows
    steps, where batches take those of the longest answer in each. Prompts are read in
    the order of their lengths.

    Args:
      prompts: right-padded.
      lengths: tokens of each prompt, at least 1.
      rows: slots; at most as many as answers, and made to divide among devices.
      samples: answers to a prompt, which stand side by side and share its reading.
      row_ids: what identifies each answer's randomness, see `generate`.

    The other arguments are `generate`'s.

    Raises:
      ValueError: an empty prompt, a limit out of range, no room in the context, or a
        model whose cache does not have its rows first.
    """
    decode.check_request(
        model, prompts, lengths, max_new_tokens, top_k, top_p, temperature
    )
    check_servable(model, rows)
    row_ids = decode.answer_row_ids(len(prompts) * samples, row_ids)
    split = shares.shard_count(len(prompts))
    slots = -(-min(rows, len(row_ids)) // split)
    plan = ServeConfig(
        model=model,
        shares=split,
        rows=slots,
        refill=-(-slots // REFILL_DIVISOR),
        samples=samples,
        max_new_tokens=max_new_tokens,
        top_k=top_k,
        top_p=top_p,
        stop_tokens=tuple(stop_tokens),
    )
    temperature = jnp.asarray(temperature, jnp.float32)
    asked = PromptQueue(jnp.asarray(prompts), jnp.asarray(lengths, jnp.int32), row_ids)
    found, _ = serve_loop(plan, params, asked, key, temperature)
    return found


def check_servable(model: LanguageModel, rows: int) -> None:
    """Refuses what cannot be served, though it could be sampled."""
    if rows < 1:
        raise ValueError(f"rows is {rows}; at least 1 answer is sampled at a time")
    for leaf in jax.tree.leaves(jax.eval_shape(lambda: model.init_cache(3, 2))):
        if leaf.shape[:1] != (3,):
            raise ValueError(
                "slots are refilled in caches that have their rows first; this model's "
                f"has an array of shape {leaf.shape} for 3 rows: use generate"
            )


@functools.partial(jax.jit, static_argnums=0)
def serve_loop(
    plan: ServeConfig, params: Params, asked: PromptQueue, key: Key, temperature: Array
) -> tuple[Samples, Array]:
    """The compiled program of `serve`; and how many steps it decoded."""
    params = plan.model.prepare(params)
    order = shares.map_shards(plan.shares, jnp.argsort, asked.lengths)
    prompts, lengths = shares.map_shards(
        plan.shares, shares.take_rows, (asked.prompts, asked.lengths), order
    )
    asked = PromptQueue(prompts, lengths, asked.row_ids)
    unembed = plan.model.unembed(params)
    work = ServeContext(plan, params, unembed, asked, order, key, temperature)

    def turn(carry: ServeState) -> ServeState:
        going = lambda carry: jnp.any(carry.slots.busy) & ~should_refill(work, carry)
        step = functools.partial(decode_step, work)
        return jax.lax.while_loop(going, step, refill_slots(work, carry))

    waiting = lambda carry: jnp.any(carry.started < work.total)
    going = lambda carry: waiting(carry) | jnp.any(carry.slots.busy)
    end = jax.lax.while_loop(going, turn, init_state(work))
    mask = end.tokens >= 0
    return Samples(jnp.where(mask, end.tokens, 0), mask, end.logp), end.steps


def should_refill(work: ServeContext, carry: ServeState) -> Array:
    """Whether free slots can take as many answers as are begun at once, all in all."""
    plan = work.plan
    waiting = work.total - carry.started
    free = jnp.sum(~carry.slots.busy.reshape(plan.shares, -1), axis=1)
    wanted = jnp.sum(jnp.minimum(waiting, plan.refill))
    return (wanted > 0) & (jnp.sum(jnp.minimum(waiting, free)) >= wanted)


def refill_slots(work: ServeContext, carry: ServeState) -> ServeState:
    """Gives free slots the next answers, after their prompts are read."""
    plan = work.plan
    place = lambda busy: jnp.nonzero(~busy, size=plan.refill, fill_value=plan.rows)[0]
    at = work.each(place, carry.slots.busy)
    nth = carry.started[:, None] + jnp.arange(plan.refill)[None, :]
    busy = (nth < work.total).reshape(-1) & (at < plan.rows)
    nth = jnp.minimum(nth, work.total - 1)
    # the prompts to be read, and which of them is whose
    first = (carry.started // plan.samples)[:, None]
    prompt = first + jnp.arange(plan.read)[None, :]
    prompt = jnp.minimum(prompt, work.total // plan.samples - 1).reshape(-1)
    whose = (nth // plan.samples - first).reshape(-1)
    told = (work.asked.prompts, work.asked.lengths, work.order)
    prompts, lengths, order = work.each(shares.take_rows, told, prompt)
    hidden, cache = prefill(
        plan.model, work.params, work.unembed, prompts, lengths, work.width
    )
    hidden, cache, order = work.each(shares.take_rows, (hidden, cache, order), whose)
    answer = order * plan.samples + nth.reshape(-1) % plan.samples
    none = jnp.zeros_like(answer)
    carry, new = sample_step(
        work, carry, Slots(cache, none, answer, none, busy), hidden
    )
    begun = jnp.sum(busy.reshape(plan.shares, -1), axis=1)
    slots = work.each(shares.put_rows, carry.slots, at, new)
    return carry._replace(slots=slots, started=carry.started + begun)


def decode_step(work: ServeContext, carry: ServeState) -> ServeState:
    """Reads the last token of each slot; a free one stays where it is."""
    slots = carry.slots
    hidden, cache = work.plan.model.extend(
        work.params, slots.token[:, None], slots.cache
    )
    length = jnp.where(slots.busy, cache.length, slots.cache.length)
    slots = slots._replace(cache=cache._replace(length=length))
    carry, slots = sample_step(work, carry, slots, hidden[:, 0])
    return carry._replace(slots=slots, steps=carry.steps + 1)


def sample_step(
    work: ServeContext, carry: ServeState, slots: Slots, hidden: Array
) -> tuple[ServeState, Slots]:
    """The next token of each busy slot, written to its answer."""
    plan = work.plan
    row_ids = work.each(shares.take_rows, work.asked.row_ids, slots.answer)
    uniform = step_uniforms(work.key, row_ids, slots.size)
    logits = decode.next_logits(hidden, work.unembed, plan.model.config.logit_cap)
    token, logp = decode.sample_token(
        logits, uniform, work.temperature, plan.top_k, plan.top_p
    )
    at = (jnp.where(slots.busy, slots.answer, work.total), slots.size)
    tokens, logps = work.each(
        shares.put_rows, (carry.tokens, carry.logp), at, (token, logp)
    )
    stops = jnp.asarray(plan.stop_tokens, jnp.int32)
    ended = jnp.any(token[:, None] == stops[None, :], axis=1)
    size = slots.size + 1
    busy = slots.busy & ~ended & (size < plan.max_new_tokens)
    slots = slots._replace(token=token, size=size, busy=busy)
    return carry._replace(tokens=tokens, logp=logps), slots


def step_uniforms(key: Key, row_ids: Array, steps: Array) -> Array:
    """Those of `decode.uniform_numbers`, of one step of each row [B]."""
    fold = jax.random.fold_in
    number = lambda row, n: jax.random.uniform(fold(decode.row_key(key, row), n))
    return jax.vmap(number)(row_ids, steps)
