"""Objectives on preferences: any pairwise loss by name or by function, and KTO."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import AnswerBatch, PreferenceBatch, TokenBatch, UnpairedBatch
from jaxalign.masks import masked_sum
from jaxalign.training import scoring
from jaxalign.training.pairwise import PairLogps, PairLoss
from jaxalign.training.step import Objective, Total, TwoPass
from jaxalign.types import Array, Float, LanguageModel, Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairsWithReference:
    """Pairs with what the reference says of them, summed over answer tokens."""

    pairs: PreferenceBatch | AnswerBatch
    ref_chosen: Float[Array, "B"]
    ref_rejected: Float[Array, "B"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UnpairedWithReference:
    """Unpaired answers with what the reference says of them, summed over tokens."""

    unpaired: UnpairedBatch
    ref_logp: Float[Array, "B"]
    ref_mismatched: Float[Array, "B"]


def preference(
    model: LanguageModel, loss: PairLoss, *, chunk: int | None = None
) -> Objective:
    """Any pairwise loss on pairs, a mean over pairs.

    Takes `PairsWithReference`, or a `PreferenceBatch` or `AnswerBatch` for losses
    without a reference; both answers go through the model in one forward. Metrics:
    logp/chosen and /rejected and, with a reference, rewards/chosen, rewards/rejected
    (log-ratios, free of beta), margin and accuracy (a tie is half right) of those;
    without one, of the means.

    Args:
      loss: `PairLogps` -> one term a pair, such as `pairwise("dpo", beta=0.1)`.
    """

    def objective(
        params: Params, batch: PairsWithReference | PreferenceBatch | AnswerBatch
    ) -> Total:
        if isinstance(batch, PairsWithReference):
            pairs, ref = batch.pairs, (batch.ref_chosen, batch.ref_rejected)
        else:
            pairs, ref = batch, None
        logps = pair_logps(model, params, pairs, ref, chunk=chunk)
        weight = jnp.sum(pairs.valid)
        metrics = pair_metrics(logps)
        sums = {n: (masked_sum(x, pairs.valid), weight) for n, x in metrics.items()}
        return masked_sum(loss(logps), pairs.valid), (weight, sums)

    return objective


def pair_logps(
    model: LanguageModel,
    params: Params,
    pairs: PreferenceBatch | AnswerBatch,
    ref: tuple[Array, Array] | None,
    *,
    chunk: int | None = None,
) -> PairLogps:
    """The log-probs of pairs, both answers in one forward.

    Args:
      ref: the reference's sums for chosen and rejected.
    """
    sums, counts = scoring.side_logps(model, params, pairs, chunk=chunk)
    counts = jnp.maximum(counts, 1.0)
    chosen, rejected = sums.T
    chosen_mean, rejected_mean = (sums / counts).T
    frozen: Any = jax.lax.stop_gradient(ref) if ref else (None, None)
    ref_means = (frozen[0] / counts[:, 0], frozen[1] / counts[:, 1]) if ref else frozen
    return PairLogps(
        chosen=chosen,
        rejected=rejected,
        ref_chosen=frozen[0],
        ref_rejected=frozen[1],
        chosen_mean=chosen_mean,
        rejected_mean=rejected_mean,
        ref_chosen_mean=ref_means[0],
        ref_rejected_mean=ref_means[1],
        chosen_nll=-chosen_mean,
        margin=pairs.margin,
        chosen_length=counts[:, 0],
        rejected_length=counts[:, 1],
    )


def pair_metrics(p: PairLogps) -> dict[str, Array]:
    """What is watched of pairs, a number a pair."""
    metrics = {"logp/chosen": p.chosen, "logp/rejected": p.rejected}
    if p.ref_chosen is None:
        margin = p.chosen_mean - p.rejected_mean
    else:
        metrics["rewards/chosen"] = p.chosen - p.ref_chosen
        metrics["rewards/rejected"] = p.rejected - p.ref_rejected
        margin = metrics["rewards/chosen"] - metrics["rewards/rejected"]
    accuracy = (margin > 0) + 0.5 * (margin == 0)
    return metrics | {"margin": margin, "accuracy": accuracy}


def kto(
    model: LanguageModel,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
    chunk: int | None = None,
) -> TwoPass:
    """Kahneman-Tversky optimisation on single answers with a thumb up or down.

    z0 = max(0, mean over the whole batch of logp - ref_logp of mismatched answers)

    and the terms of `losses.kto`, a mean over answers. Takes `UnpairedWithReference`.
    z0 is over all micro-batches and carries no gradient. Metrics: kl (z0),
    rewards/desirable, rewards/undesirable (log-ratios).

    Reference: Ethayarajh et al. 2024, arXiv:2402.01306, section 4.1.
    """

    def sums(params: Params, batch: TokenBatch) -> Array:
        logp = scoring.token_logps(model, params, batch, chunk=chunk)
        return scoring.row_sums(logp, batch.loss_mask)[0]

    def statistic(params: Params, batch: UnpairedWithReference) -> tuple[Array, Array]:
        ratio = sums(params, batch.unpaired.mismatched) - batch.ref_mismatched
        valid = batch.unpaired.valid
        return masked_sum(ratio, valid), jnp.sum(valid)

    def terms(params: Params, batch: UnpairedWithReference, mean: Array) -> Total:
        up, valid = batch.unpaired.desirable, batch.unpaired.valid
        logp = sums(params, batch.unpaired.answers)
        kl = jax.lax.stop_gradient(jnp.maximum(mean, 0.0))
        loss = losses.kto(
            logp,
            batch.ref_logp,
            up,
            kl,
            beta=beta,
            desirable_weight=desirable_weight,
            undesirable_weight=undesirable_weight,
        )
        ratio, weight = logp - batch.ref_logp, jnp.sum(valid)
        metrics: dict[str, tuple[Array, Array]] = {"kl": (kl * weight, weight)}
        for name, which in {
            "desirable": valid & up,
            "undesirable": valid & ~up,
        }.items():
            metrics[f"rewards/{name}"] = (masked_sum(ratio, which), jnp.sum(which))
        return masked_sum(loss, valid), (weight, metrics)

    return TwoPass(statistic, terms)
