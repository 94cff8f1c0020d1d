"""Answers sampled from a policy, in batches of one shape, with their scores."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxalign import sampling, sharding, streams
from jaxalign.batches import AnswerBatch, TokenBatch
from jaxalign.data import chat, mixing, special_tokens
from jaxalign.data.records import Prompt, RowReport
from jaxalign.pipeline.policies import Policy
from jaxalign.rewards import reward_model
from jaxalign.training import forward, group_objectives
from jaxalign.types import Array, Key, LanguageModel, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Answers:
    """Sampled answers, `samples` to a prompt, those of one prompt side by side.

    Attributes:
      prompts: the prompt of each answer [R].
      texts: the answers as text [R].
      sequences: prompt and answer as tokens [R T]; `loss_mask` on the answer.
      finished: whether the answer ended with the end token [R].
    """

    prompts: list[Prompt]
    texts: list[str]
    sequences: TokenBatch
    finished: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each answer, its end token counted [R]."""
        return np.asarray(self.sequences.loss_mask).sum(axis=1)


def padded_prompts(
    policy: Policy, prompts: Sequence[Prompt], max_new_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """The prompts as right-padded tokens [P T] and their lengths [P].

    Raises:
      ValueError: a prompt leaves no `max_new_tokens` for its answer within the model's context,
        or there is none.
    """
    if not prompts:
        raise ValueError(
            f"no prompt leaves room for {max_new_tokens} new tokens in a context of "
            f"{policy.config.context}: lower --max-new-tokens"
        )
    talks = [chat.Conversation(p.messages, p.tools) for p in prompts]
    rows = chat.encode_prompts(policy.tokenizer, talks)
    lengths = np.array([len(row) for row in rows], np.int32)
    limit = policy.model.config.context - max_new_tokens
    if lengths.max() > limit:
        where = prompts[int(lengths.argmax())].location
        raise ValueError(
            f"the prompt of {lengths.max()} tokens at {where} leaves no room for "
            f"{max_new_tokens} new tokens in a context of {policy.model.config.context}"
        )
    return pad_rows(rows, limit)


def pad_rows(rows: Sequence[Any], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids as right-padded rows [P T] and their lengths [P].

    Args:
      limit: the most columns, which hold the longest; fewer, by 16, where that fits.
    """
    lengths = np.array([len(row) for row in rows], np.int32)
    longest = -(-int(lengths.max()) // 16) * 16
    tokens = np.zeros((len(rows), min(longest, limit)), np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return tokens, lengths


def select_prompts(
    policy: Policy,
    prompts: Sequence[Prompt],
    max_new_tokens: int,
    note: Callable[[str], None],
    name: str,
) -> list[Prompt]:
    """The prompts that leave `max_new_tokens` for an answer; a mixture stays one.

    Those left out are counted and shown, as are those which the chat template does not
    show whole.

    Args:
      note: shows a line, such as `Run.note`.
      name: what the line calls the prompts.

    Raises:
      ValueError: none does, of a mixture of one of its parts.
    """
    context = policy.config.context
    talks = [chat.Conversation(p.messages, p.tools) for p in prompts]
    rows = chat.try_encode_prompts(policy.tokenizer, talks)
    reasons = collections.Counter(row.drop_reason for row in rows if row.drop_reason)
    shown = np.array([not row.drop_reason for row in rows], bool)
    if reasons:
        told = RowReport(len(rows), int(shown.sum()), reasons)
        note(f"{name}: {told}")
        prompts = mixing.select(prompts, shown)
    lengths = np.array([len(row.tokens) for row in rows], np.int64)[shown]
    fit = lengths <= context - max_new_tokens
    if not fit.all():
        note(
            f"{name}: {fit.sum()} of {len(prompts)} prompts ({(~fit).sum()} longer than"
            f" {context - max_new_tokens} tokens, {lengths.max()} at most, left out: they leave "
            f"no room for {max_new_tokens} new tokens in a context of {context})"
        )
    return mixing.select(prompts, fit)


def cyclic_slice(prompts: Sequence[Prompt], first: int, count: int) -> list[Prompt]:
    """At most so many prompts, beginning with one; after the last comes the first.

    Of a mixture each part has its share of them, and begins again by itself.

    >>> cyclic_slice("abcde", 4, 3), cyclic_slice("ab", 3, 5)
    (['e', 'a', 'b'], ['b', 'a'])
    """
    few = min(count, len(prompts))
    if isinstance(prompts, mixing.MixedRecords):
        order = mixing.mixed_order(prompts.sizes, prompts.weights)
        return [prompts[order[first + i]] for i in range(few)]
    return [prompts[(first + i) % len(prompts)] for i in range(few)]


def sample_answers(
    policy: Policy,
    prompts: Sequence[Prompt],
    key: Key,
    *,
    max_new_tokens: int,
    samples: int = 1,
    temperature: float = 1.0,
    rows: int = 256,
) -> Answers:
    """Samples answers, `rows` at a time; none depends on that, nor on other prompts."""
    tokens, lengths = padded_prompts(policy, prompts, max_new_tokens)
    ids = [streams.prompt_id(prompt.messages) for prompt in prompts]
    sequences, ended, _ = sample(
        policy,
        policy.params,
        tokens,
        lengths,
        key,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        row_ids=streams.answer_ids(ids, samples),
        samples=samples,
        slots=rows,
    )
    sequences = jax.tree.map(sharding.to_host, sequences)
    return Answers(
        prompts=[prompt for prompt in prompts for _ in range(samples)],
        texts=texts(policy, sequences),
        sequences=sequences,
        finished=sharding.to_host(ended),
    )


def sample(
    policy: Policy,
    params: Params,
    tokens: Array,
    lengths: Array,
    key: Key,
    *,
    max_new_tokens: int,
    temperature: float,
    row_ids: Array | None = None,
    samples: int = 1,
    slots: int = 0,
) -> tuple[TokenBatch, Array, Array]:
    """One answer a row: prompts with their answers, and whether each ended [B].

    Third comes the sampler's log-prob of each answer token, in its place [B T].

    Args:
      params: of the policy, as it is now.
      tokens, lengths: prompts, right-padded [P T], and their lengths [P].
      row_ids: by which the noise of each answer is told apart [B ...].
      samples: answers to a prompt, side by side: B = P * `samples`.
      slots: answers at a time, where there are more (`sampling.serve`); 0 for all.
    """
    sampler: Callable[..., sampling.Samples] = sampling.generate
    if 0 < slots < len(tokens) * samples:
        sampler = partial(sampling.serve, rows=slots)
    drawn = sampler(
        policy.model,
        params,
        tokens,
        lengths,
        key,
        sampling.SamplingParams(
            max_new_tokens=max_new_tokens,
            samples=samples,
            temperature=temperature,
            stop_tokens=policy.stop_tokens,
        ),
        row_ids=row_ids,
    )
    stops = jnp.array(policy.stop_tokens)
    return assemble_sequences(jnp.asarray(tokens), jnp.asarray(lengths), drawn, stops)


@jax.jit
def assemble_sequences(
    prompts: Array, lengths: Array, drawn: sampling.Samples, stops: Array
) -> tuple[TokenBatch, Array, Array]:
    """What `sample` returns, of prompts and what was drawn for each."""
    samples, room = len(drawn.tokens) // len(prompts), drawn.tokens.shape[1]
    tokens, lengths = (jnp.repeat(x, samples, axis=0) for x in (prompts, lengths))
    ended = jnp.any(drawn.mask & jnp.isin(drawn.tokens, stops), axis=1)
    sequences = sampling.join(tokens, lengths, drawn)
    nth = jnp.arange(sequences.tokens.shape[1])[None, :] - lengths[:, None]
    at = jnp.clip(nth, 0, room - 1)
    logp = jnp.take_along_axis(drawn.logp, at, axis=1)
    return sequences, ended, jnp.where(sequences.loss_mask, logp, 0.0)


def texts(policy: Policy, sequences: TokenBatch) -> list[str]:
    """The answers as text, without special tokens but those that texts may hold."""
    masks = np.asarray(sequences.loss_mask)
    rows = [t[m] for t, m in zip(np.asarray(sequences.tokens), masks, strict=True)]
    return [
        text.strip() for text in special_tokens.decode_answers(policy.tokenizer, rows)
    ]


def minibatches(key: jax.Array, rows: int, *, epochs: int, parts: int) -> list[Array]:
    """Indices of each minibatch, in a new order for each epoch."""
    order = lambda epoch: jax.random.permutation(jax.random.fold_in(key, epoch), rows)
    return [part for n in range(epochs) for part in jnp.split(order(n), parts)]


@partial(jax.jit, static_argnums=2)
def gather_minibatch(rollout: Any, chosen: Array, blocks: int) -> Any:
    """Those blocks of a rollout, whose leaves are cut into so many each."""

    def take(leaf: Array) -> Array:
        kept = leaf.reshape(blocks, -1, *leaf.shape[1:])[chosen]
        kept = kept.reshape(-1, *leaf.shape[1:])
        return sharding.constrain(kept, "batch", *[None] * (leaf.ndim - 1))

    return jax.tree.map(take, rollout)


@partial(jax.jit, static_argnums=0, static_argnames="temperature")
def logprobs(
    model: LanguageModel,
    params: Params,
    reference: Params,
    batch: TokenBatch | AnswerBatch,
    sampled: Array,
    *,
    temperature: float,
) -> tuple[Array, Array, dict[str, Array]]:
    """Log-probs of answers under a policy and under its reference [R T].

    And what is seen of them, see `group_objectives.rollout_diagnostics`.

    Args:
      sampled: the sampler's log-prob of each answer token [R T].
      temperature: of the sampling, and of all log-probs.
    """
    rows, apart = forward.rows_and_unpack(batch)
    logps = partial(forward.token_logps, model, batch=rows, temperature=temperature)
    logp, ref_logp = logps(params), logps(reference)
    told = map(apart, (logp, ref_logp, sampled, rows.loss_mask))
    seen = group_objectives.rollout_diagnostics(*told)
    return logp, ref_logp, {n: total / weight for n, (total, weight) in seen.items()}


@partial(jax.jit, static_argnums=0, static_argnames="temperature")
def token_logps(
    model: LanguageModel,
    params: Params,
    batch: TokenBatch | AnswerBatch,
    *,
    temperature: float,
) -> Array:
    """Log-probs of answers under one set of parameters [R T]."""
    rows, _ = forward.rows_and_unpack(batch)
    return forward.token_logps(model, params, rows, temperature=temperature)


@jax.jit
def answer_sums(batch: TokenBatch | AnswerBatch, x: Array) -> Array:
    """What is known of each token [R T], summed over each answer [A]."""
    rows, apart = forward.rows_and_unpack(batch)
    return forward.row_sums(apart(x), apart(rows.loss_mask))[0]


@partial(jax.jit, static_argnums=0, static_argnames="temperature")
def answer_logp(
    model: LanguageModel, params: Params, batch: TokenBatch, *, temperature: float = 1.0
) -> Array:
    """Log-prob of each whole answer, sampled at a temperature [B]."""
    logp = forward.token_logps(model, params, batch, temperature=temperature)
    return forward.row_sums(logp, batch.loss_mask)[0]


def answer_logps(
    policy: Policy, params: Params, answers: Answers, *, temperature: float = 1.0
) -> np.ndarray:
    """Log-prob of each whole answer, sampled at a temperature [R]."""
    logp = partial(answer_logp, policy.model, params, temperature=temperature)
    mesh = sharding.mesh_of(params)
    cut = partial(sharding.shard_from_replicated, mesh=mesh)
    return map_batches(lambda b: logp(cut(b)), answers.sequences, 256, mesh)


def learned_scores(
    model: ScalarModel, params: Params, sequences: TokenBatch, *, rows: int = 256
) -> np.ndarray:
    """The reward model's score of each whole answer [R]."""
    score = jax.jit(reward_model.score, static_argnums=0)
    mesh = sharding.mesh_of(params)
    cut = partial(sharding.shard_from_replicated, mesh=mesh)
    return map_batches(
        lambda batch: score(model, params, cut(batch)), sequences, rows, mesh
    )


def map_batches(
    function: Callable[[Any], Array], many: Any, rows: int, mesh: Mesh | None
) -> np.ndarray:
    """Applies a function to batches of one shape, of rows that every process has."""
    total = len(jax.tree.leaves(many)[0])
    rows = round_up_to_devices(min(rows, total), mesh)
    parts = []
    for start in range(0, total, rows):
        chosen = np.resize(np.arange(start, min(start + rows, total)), rows)
        part = function(jax.tree.map(lambda x, i=chosen: x[i], many))
        parts.append(sharding.to_host(part)[: total - start])
    return np.concatenate(parts)


def round_up_to_devices(rows: int, mesh: Mesh | None) -> int:
    """At least so many rows, which divide among the devices."""
    shards = sharding.row_shards(mesh)
    return -(-rows // shards) * shards
