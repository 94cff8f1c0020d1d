"""Answers sampled from a policy, their per-token log-probs, and minibatches of them."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import sampling, sharding, streams
from jaxalign.batches import AnswerBatch, TokenBatch
from jaxalign.data import special_tokens
from jaxalign.data.records import Prompt
from jaxalign.models.config import ModelConfig
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import TokenizedPrompts, pad_prompts
from jaxalign.training import forward
from jaxalign.training.objectives import grpo
from jaxalign.types import Array, Key, LanguageModel, Params

Batch = TypeVar("Batch")


@dataclasses.dataclass(frozen=True)
class Answers:
    """Sampled answers on the host, those to one prompt side by side.

    Attributes:
      prompts: the prompt of each answer [A].
      texts: the answers as text [A].
      sequences: prompt and answer as tokens [A T]; `loss_mask` is True on the answer.
      finished: whether the answer ended with a stop token, bool [A].
    """

    prompts: list[Prompt]
    texts: list[str]
    sequences: TokenBatch
    finished: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Tokens in each answer, its stop token included, int [A]."""
        return np.asarray(self.sequences.loss_mask).sum(axis=1)


def sample_answers(
    policy: Policy,
    prompts: TokenizedPrompts,
    key: Key,
    *,
    max_new_tokens: int,
    samples: int = 1,
    temperature: float = 1.0,
    rows: int = 256,
) -> Answers:
    """Samples answers to prompts, and decodes them.

    An answer depends neither on the other prompts nor on `rows`.

    Args:
      samples: answers to each prompt.
      rows: answers that are sampled at one time.

    Raises:
      ValueError: there is no prompt, or one leaves no room for an answer.
    """
    params = sampling.SamplingParams(
        max_new_tokens=max_new_tokens, samples=samples, temperature=temperature
    )
    return sample_with_params(policy, prompts, key, params, rows=rows)


def sample_with_params(
    policy: Policy,
    prompts: TokenizedPrompts,
    key: Key,
    sampling_params: sampling.SamplingParams,
    *,
    rows: int = 256,
    row_ids: np.ndarray | None = None,
    width: int = 0,
) -> Answers:
    """`sample_answers` with all sampling parameters; for a part of a list of prompts.

    Args:
      row_ids: noise ids of the answers, int [A 2]; by default `streams.answer_ids` of
        these prompts. A part of a list takes those of its prompts in the whole list.
      width: columns of the prompts' tokens, at least; equal parts of one width share a
        compiled program.

    Raises:
      ValueError: as `sample_answers`.
    """
    samples = sampling_params.samples
    tokens, lengths = pad_prompts(policy, prompts, sampling_params.max_new_tokens)
    tokens = np.pad(tokens, ((0, 0), (0, max(width - tokens.shape[1], 0))))
    if row_ids is None:
        ids = [streams.prompt_id(prompt.messages) for prompt in prompts.records]
        row_ids = streams.answer_ids(ids, samples)
    run = partial(sample, row_ids=row_ids, slots=rows)
    sequences, ended, _ = run(
        policy, policy.params, tokens, lengths, key, sampling_params
    )
    sequences = jax.tree.map(sharding.to_host, sequences)
    return Answers(
        prompts=[prompt for prompt in prompts.records for _ in range(samples)],
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
    sampling_params: sampling.SamplingParams,
    *,
    row_ids: Array | None = None,
    slots: int = 0,
) -> tuple[TokenBatch, Array, Array]:
    """Samples answers to tokenized prompts.

    Args:
      params: the parameters of the policy's model.
      tokens, lengths: prompts as right-padded token ids [P T], and their lengths [P].
      sampling_params: length, number and distribution of the answers, A = P * samples;
        the policy's own stop tokens take the place of its stop tokens.
      row_ids: the noise id of each answer, int [A ...]; by default its place.
      slots: answers in progress at one time, see `sampling.serve`; 0 for all.

    Returns:
      Prompts with their answers, one a row [A T']; whether each answer ended with a
      stop token, bool [A]; and the sampler's log-prob of each answer token, in nats, in
      the token's place [A T'].
    """
    sampler: Callable[..., sampling.Samples] = sampling.generate
    if 0 < slots < len(tokens) * sampling_params.samples:
        sampler = partial(sampling.serve, rows=slots)
    sampled = sampler(
        policy.model,
        params,
        tokens,
        lengths,
        key,
        dataclasses.replace(sampling_params, stop_tokens=policy.stop_tokens),
        row_ids=row_ids,
    )
    stops = jnp.array(policy.stop_tokens)
    return assemble_sequences(jnp.asarray(tokens), jnp.asarray(lengths), sampled, stops)


@jax.jit
def assemble_sequences(
    prompts: Array, lengths: Array, sampled: sampling.Samples, stops: Array
) -> tuple[TokenBatch, Array, Array]:
    """Joins prompts [P T] with their answers; returns what `sample` returns."""
    samples, longest = len(sampled.tokens) // len(prompts), sampled.tokens.shape[1]
    tokens, lengths = (jnp.repeat(x, samples, axis=0) for x in (prompts, lengths))
    ended = jnp.any(sampled.mask & jnp.isin(sampled.tokens, stops), axis=1)
    sequences = sampling.join(tokens, lengths, sampled)
    place = jnp.arange(sequences.tokens.shape[1])[None, :] - lengths[:, None]
    place = jnp.clip(place, 0, longest - 1)
    logp = jnp.take_along_axis(sampled.logp, place, axis=1)
    return sequences, ended, jnp.where(sequences.loss_mask, logp, 0.0)


def texts(policy: Policy, sequences: TokenBatch) -> list[str]:
    """Decodes answers, without the special tokens that texts must not hold."""
    masks = np.asarray(sequences.loss_mask)
    rows = [t[m] for t, m in zip(np.asarray(sequences.tokens), masks, strict=True)]
    return [
        text.strip() for text in special_tokens.decode_answers(policy.tokenizer, rows)
    ]


def prompt_copies(prompts: int, samples: int, *, parts: int) -> int:
    """How many times each prompt is prefilled for its samples: as few as possible.

    Samples that share the prefill of their prompt cost one prefill. The copies must
    divide `samples`, and the rows of all copies must divide over the devices.

    Args:
      prompts: number of prompts.
      samples: answers to each prompt.
      parts: devices that the rows are divided over.

    >>> prompt_copies(4, 8, parts=1), prompt_copies(4, 4, parts=8)
    (1, 2)
    """
    fits = [n for n in range(1, samples) if samples % n == prompts * n % parts == 0]
    return min(fits, default=samples)


def answers_per_row(
    model: ModelConfig, prompts: int, samples: int, *, parts: int
) -> int:
    """How many answers follow one copy of their prompt in a row: as many as possible.

    Answers in one row (`batches.Branches`) cost the prompt's tokens once, in the
    forward pass and in the backward pass.

    Args:
      prompts: prompts of an iteration.
      samples: answers to each prompt.
      parts: into which whole rows must divide: minibatches times devices.
    """
    if not model.supports_shared_prompts:
        return 1
    fits = lambda n: samples % n == prompts * samples // n % parts == 0
    return max(filter(fits, range(1, samples + 1)), default=1)


def minibatches(
    batch: Batch, key: Key, *, epochs: int, parts: int, blocks: int | None = None
) -> Iterator[Batch]:
    """The minibatches of some epochs over a batch, in a new order for each epoch.

    Args:
      batch: its leaves have R rows, or several entries for each row.
      epochs: passes over the batch.
      parts: minibatches in an epoch.
      blocks: pieces of consecutive rows that stay together; must divide R, and `parts`
        must divide it. By default R: each row by itself.
    """
    blocks = blocks or min(len(leaf) for leaf in jax.tree.leaves(batch))
    for epoch in range(epochs):
        order = jax.random.permutation(jax.random.fold_in(key, epoch), blocks)
        for indices in jnp.split(order, parts):
            yield gather_minibatch(batch, indices, blocks)


@partial(jax.jit, static_argnums=2)
def gather_minibatch(batch: Batch, indices: Array, blocks: int) -> Batch:
    """The blocks of these indices, of a batch whose leaves have `blocks` blocks."""

    def take(leaf: Array) -> Array:
        rows = leaf.reshape(blocks, -1, *leaf.shape[1:])[indices]
        rows = rows.reshape(-1, *leaf.shape[1:])
        return sharding.constrain(rows, "batch", *[None] * (leaf.ndim - 1))

    gathered: Batch = jax.tree.map(take, batch)
    return gathered


@partial(jax.jit, static_argnums=0, static_argnames="temperature")
def logprobs(
    model: LanguageModel,
    params: Params,
    reference: Params,
    batch: TokenBatch | AnswerBatch,
    sampler_logp: Array,
    *,
    temperature: float,
) -> tuple[Array, Array, dict[str, Array]]:
    """Per-token log-probs of sampled answers under a policy and its reference.

    Args:
      reference: the reference's parameters, of the same model.
      sampler_logp: the sampler's log-prob of each answer token, in nats [R T].
      temperature: of the sampling, and of all log-probs.

    Returns:
      The log-probs under the policy and under the reference, in nats [R T] each; and
      the scalar metrics of `objectives.rollout_diagnostics`.
    """
    rows, per_answer = batch.rows(), batch.per_answer
    logps = partial(forward.token_logps, model, batch=rows, temperature=temperature)
    logp, ref_logp = logps(params), logps(reference)
    sums = grpo.rollout_diagnostics(
        *map(per_answer, (logp, ref_logp, sampler_logp, rows.loss_mask))
    )
    metrics = {name: total / weight for name, (total, weight) in sums.items()}
    return logp, ref_logp, metrics


@partial(jax.jit, static_argnums=0, static_argnames="temperature")
def token_logps(
    model: LanguageModel,
    params: Params,
    batch: TokenBatch | AnswerBatch,
    *,
    temperature: float,
) -> Array:
    """Per-token log-probs of answers under one set of parameters, in nats [R T]."""
    rows = batch.rows()
    return forward.token_logps(model, params, rows, temperature=temperature)


@jax.jit
def answer_sums(batch: TokenBatch | AnswerBatch, x: Array) -> Array:
    """Sums per-token numbers [R T] over the tokens of each answer [A]."""
    rows, per_answer = batch.rows(), batch.per_answer
    return forward.row_sums(per_answer(x), per_answer(rows.loss_mask))[0]
