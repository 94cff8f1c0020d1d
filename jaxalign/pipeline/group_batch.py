"""From the scores of sampled answers to the batch of group methods: advantages."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import estimators, sharding
from jaxalign.batches import AnswerBatch, GroupBatch, TokenBatch
from jaxalign.pipeline import rollouts
from jaxalign.training.group_methods import GroupMethod
from jaxalign.types import Array


def informative_prompts(reward: Array, samples: int) -> Array:
    """Whether the answers to each prompt differ in reward, bool [P].

    Args:
      reward: of each answer, before any penalty; `samples` to a prompt side by side
        [P * samples].
    """
    by_prompt = reward.reshape(-1, samples)
    return jnp.any(by_prompt != by_prompt[:, :1], axis=1)


def group_advantages(
    method: GroupMethod,
    batch: TokenBatch | AnswerBatch,
    score: Array,
    logp: Array,
    ref_logp: Array,
    *,
    beta: float,
    samples: int,
) -> Array:
    """The advantage of each answer [A], or of each of its tokens [A T].

    A KL that the method has in the reward is subtracted here: before advantages are
    computed, as a sum over each answer; or after, token by token (reward to go).

    Args:
      score: of each answer, `samples` to a prompt side by side [A].
      logp, ref_logp: per-token log-probs of `batch` under the policy that sampled it
        and under its reference, in nats [R T].
      beta: coefficient of the KL.
    """
    if method.kl == "reward":
        kl = rollouts.answer_sums(batch, estimators.kl_k1(logp, ref_logp))
        score = score - beta * kl
    advantage = method.advantage(score.reshape(-1, samples)).reshape(-1)
    if method.kl == "reward_to_go":
        advantage = kl_to_go_advantages(batch, advantage, logp, ref_logp, beta=beta)
    return advantage


@jax.jit
def kl_to_go_advantages(
    batch: TokenBatch | AnswerBatch,
    advantage: Array,
    logp: Array,
    ref_logp: Array,
    *,
    beta: float,
) -> Array:
    """Advantages of answers [A] less the KL to go, whitened over all tokens [A T]."""
    rows, per_answer = batch.rows(), batch.per_answer
    logp, ref_logp, mask = map(per_answer, (logp, ref_logp, rows.loss_mask))
    return estimators.reinforce_plus_plus(advantage, logp, ref_logp, mask, beta=beta)


def select_informative(
    batches: Sequence[GroupBatch], informative: Sequence[Array], count: int
) -> GroupBatch:
    """The first `count` informative prompts of several batches, with their answers.

    If there are fewer, others fill the batch up; none of their tokens counts.

    Args:
      informative: of each batch, `informative_prompts`, bool [P] each.
    """
    is_informative = np.concatenate(list(map(sharding.to_host, informative)))
    order = np.argsort(~is_informative, kind="stable")[:count]

    def select(*leaves: Array) -> Array:
        joined = jnp.concatenate(leaves)
        by_prompt = joined.reshape(len(is_informative), -1, *joined.shape[1:])
        return by_prompt[order].reshape(-1, *joined.shape[1:])

    batch: GroupBatch = jax.tree.map(select, *batches)
    rows = batch.sequences.rows()
    counts = jnp.repeat(is_informative[order], len(rows.tokens) // len(order))[:, None]
    rows = dataclasses.replace(rows, loss_mask=rows.loss_mask & counts)
    sequences: TokenBatch | AnswerBatch = rows
    if isinstance(batch.sequences, AnswerBatch):
        sequences = dataclasses.replace(batch.sequences, sequences=rows)
    return dataclasses.replace(batch, sequences=sequences)
