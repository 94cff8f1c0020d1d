"""The objective of Kahneman-Tversky optimization, on unpaired answers."""

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import TokenBatch, UnpairedBatch, UnpairedReference
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.step import Total, TwoPass
from jaxalign.types import Array, LanguageModel, Params


def kto(
    model: LanguageModel,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    chunk: int | None = None,
) -> TwoPass:
    """Kahneman-Tversky optimization on answers labeled desirable or undesirable.

    z0 = max(0, mean over the whole batch of logp - ref_logp of mismatched answers)

    and the terms of `losses.kto`, a mean over answers. Takes an `UnpairedBatch` with
    its reference log-probs. z0 is over all micro-batches and carries no gradient.
    Metrics: kl (z0, nats), logratio/desirable and logratio/undesirable (nats), and
    rewards/desirable and rewards/undesirable, beta times those.

    Args:
      beta: strength of the hold on the reference, greater than 0.
      desirable_weight, undesirable_weight: weights of the terms, 0 or greater.
      chunk: as in `forward.token_logps`.

    Reference: Ethayarajh et al. 2024, arXiv:2402.01306, section 4.1.
    """

    def answer_logps(params: Params, batch: TokenBatch) -> Array:
        logp = forward.token_logps(model, params, batch, chunk=chunk)
        return forward.row_sums(logp, batch.loss_mask)[0]

    def statistic(params: Params, batch: UnpairedBatch) -> tuple[Array, Array]:
        reference = required_reference(batch)
        logp = answer_logps(params, batch.mismatched_answers)
        ratio = logp - reference.mismatched_answers
        return masked_sum(ratio, batch.valid), jnp.sum(batch.valid)

    def terms(params: Params, batch: UnpairedBatch, mean: Array) -> Total:
        desirable, valid = batch.desirable, batch.valid
        logp, ref_logp = (
            answer_logps(params, batch.answers),
            required_reference(batch).answers,
        )
        kl = jax.lax.stop_gradient(jnp.maximum(mean, 0.0))
        loss = losses.kto(
            logp,
            ref_logp,
            desirable,
            kl,
            beta=beta,
            desirable_weight=desirable_weight,
            undesirable_weight=undesirable_weight,
        )
        ratio, weight = logp - ref_logp, jnp.sum(valid)
        metrics: dict[str, tuple[Array, Array]] = {"kl": (kl * weight, weight)}
        kinds = {"desirable": valid & desirable, "undesirable": valid & ~desirable}
        for kind, counts in kinds.items():
            total, count = masked_sum(ratio, counts), jnp.sum(counts)
            metrics[f"logratio/{kind}"] = (total, count)
            metrics[f"rewards/{kind}"] = (beta * total, count)
        return masked_sum(loss, valid), (weight, metrics)

    return TwoPass(statistic, terms)


def required_reference(batch: UnpairedBatch) -> UnpairedReference:
    """The reference's log-probs of a batch.

    Raises:
      ValueError: the batch has none.
    """
    if batch.reference is None:
        raise ValueError(
            "the loss kto compares with a reference: the batch needs its log-probs, as "
            "reference_cache's `attach` adds them"
        )
    return batch.reference
