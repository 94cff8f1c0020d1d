"""The objective of distillation: a divergence from a teacher at every answer token."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.batches import TokenBatch
from jaxalign.estimators import LogitInputs
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, LanguageModel, Params

Divergence = Callable[[Array, Array], Array]  # (teacher, student) logits -> terms


class DistillationBatch(NamedTuple):
    """Answers to distill a teacher on.

    Attributes:
      sequences: prompt and answer, one answer a row [R T].
      sampler_logp: the sampler's log-prob of each token, in nats [R T], where the
        student sampled the answers; else None.
    """

    sequences: TokenBatch
    sampler_logp: Array | None = None


class DistillationTerms(NamedTuple):
    """Numbers of each token's distribution, in nats [R T]; 0 before `first_scored`.

    Attributes:
      loss: the divergence that is minimized.
      forward_kl, reverse_kl: KL(teacher || student), KL(student || teacher).
      entropy: of the student.
      logp: log-prob of the row's own token under the student.
    """

    loss: Array
    forward_kl: Array
    reverse_kl: Array
    entropy: Array
    logp: Array


def gkd_divergence(beta: float) -> Divergence:
    """The divergence of GKD: forward KL at beta 0, reverse KL at 1, else JSD.

    The generalized Jensen-Shannon divergence between them is not scaled: near 0 it is
    beta times the forward KL, near 1 (1 - beta) times the reverse KL.

    Args:
      beta: weight of the teacher in the mixture, in [0, 1].

    Returns:
      A function of the teacher's and the student's logits [*S V] to terms [*S].

    Reference: Agarwal et al. 2023, arXiv:2306.13649 (GKD).
    """
    if beta == 0:
        return losses.forward_kl_distillation
    if beta == 1:
        return losses.reverse_kl_distillation
    return functools.partial(losses.generalized_jsd, beta=beta)


def distillation(
    student: LanguageModel,
    teacher: LanguageModel,
    *,
    beta: float,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Objective:
    """Distillation from a teacher, a mean over the answer tokens of the batch.

    loss = gkd_divergence(beta)(teacher logits / T, student logits / T)

    `objective(params, batch, teacher_params)` takes a `DistillationBatch`. Answers are
    data, whoever sampled them: no gradient flows through the sampling, as in GKD. The
    teacher runs on the batch itself, without gradient.

    Metrics, over answer tokens: forward_kl, reverse_kl, entropy (nats); `length`,
    tokens per answer; and, of answers that the student sampled, `logp_gap`, the largest
    difference of the sampler's log-probs from these.

    Args:
      temperature: of both distributions; must be that of `sampler_logp`.
      chunk: as in `forward.token_logps`.

    Reference: Agarwal et al. 2023, arXiv:2306.13649, algorithm 1 (GKD).
    """

    def objective(
        params: Params, batch: DistillationBatch, teacher_params: Params
    ) -> Total:
        mask = batch.sequences.loss_mask
        terms = distillation_terms(
            *(student, params, teacher, teacher_params, batch.sequences),
            beta=beta,
            temperature=temperature,
            chunk=chunk,
        )
        weight, answers = jnp.sum(mask), jnp.sum(jnp.any(mask, axis=1))
        sums = {
            name: (masked_sum(getattr(terms, name), mask), weight)
            for name in ("forward_kl", "reverse_kl", "entropy")
        }
        sums["length"] = weight, answers
        if batch.sampler_logp is not None:
            gap = jnp.where(mask, jnp.abs(terms.logp - batch.sampler_logp), 0.0)
            sums["logp_gap"] = jnp.max(gap), jnp.ones(())
        return masked_sum(terms.loss, mask), (weight, sums)

    return objective


def distillation_terms(
    student: LanguageModel,
    params: Params,
    teacher: LanguageModel,
    teacher_params: Params,
    batch: TokenBatch,
    *,
    beta: float,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> DistillationTerms:
    """The numbers of each token of a batch, in chunks of positions.

    Embeddings may have rows beyond the common vocabulary, as padding: distributions are
    over the rows that both have.

    Args:
      beta, temperature, chunk: as of `distillation`.
    """
    divergence = gkd_divergence(beta)
    own = forward.scored_inputs(student, params, batch)
    other = forward.scored_inputs(teacher, jax.lax.stop_gradient(teacher_params), batch)
    size = min(own.unembed.shape[1], other.unembed.shape[1])

    def of_logits(student: Array, teacher: Array, targets: Array) -> DistillationTerms:
        logp = jax.nn.log_softmax(student)
        target = jnp.take_along_axis(logp, targets[..., None], axis=-1, mode="clip")
        return DistillationTerms(
            loss=divergence(teacher, student),
            forward_kl=losses.forward_kl_distillation(teacher, student),
            reverse_kl=losses.reverse_kl_distillation(teacher, student),
            entropy=-jnp.sum(jnp.exp(logp) * logp, axis=-1),
            logp=target[..., 0],
        )

    models = [
        LogitInputs(x.hidden, x.unembed[:, :size], model.config.logit_cap)
        for x, model in ((own, student), (other, teacher))
    ]
    terms = estimators.map_logits(
        of_logits, models, own.targets, temperature=temperature, chunk=chunk
    )
    aligned: DistillationTerms = jax.tree.map(own.align, terms)
    return aligned
