"""Objectives on preferences: any pairwise loss by name or by function, and KTO."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import AnswerBatch, PreferenceBatch, TokenBatch, UnpairedBatch
from jaxalign.estimators import (
    next_token_kl,
    next_token_log_sum_square,
    next_token_logprobs,
)
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.preference_loss import PairLogps, PairLoss, as_loss
from jaxalign.training.step import Objective, Total, TwoPass
from jaxalign.types import Array, Float, LanguageModel, Params

SIDES = ("chosen", "rejected")


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class PairsWithReference:
    """Pairs with what the reference says of them, summed over answer tokens.

    The last two are over as many first tokens as the shorter answer has, which LD-DPO
    needs.
    """

    pairs: PreferenceBatch | AnswerBatch
    ref_chosen: Float[Array, "B"]
    ref_rejected: Float[Array, "B"]
    ref_chosen_shared: Float[Array, "B"] | None = None
    ref_rejected_shared: Float[Array, "B"] | None = None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class UnpairedWithReference:
    """Unpaired answers with what the reference says of them, summed over tokens."""

    unpaired: UnpairedBatch
    ref_logp: Float[Array, "B"]
    ref_mismatched_logp: Float[Array, "B"]


def preference(
    model: LanguageModel, loss: PairLoss, *, chunk: int | None = None
) -> Objective:
    """Any pairwise loss on pairs, a mean over pairs.

    Takes `PairsWithReference`, or a `PreferenceBatch` or `AnswerBatch` for losses
    without a reference; both answers go through the model in one forward. Given the
    reference's parameters too, it runs the reference on the batch itself: losses of
    whole distributions, such as token-level DPO, need that; and given `shift`, the
    running mean of rewards, it hands that to BCO. Metrics (nats): logp/chosen and
    /rejected; with a reference logratio/chosen, /rejected and /margin, and accuracy (a
    tie is half right) of the margin; of a loss with beta, rewards/chosen, /rejected and
    /margins, which are beta times those. Without a reference mean_logp/margin, per
    token, and its accuracy.

    Args:
      loss: `PairLogps` -> one term a pair, such as `pairwise("dpo", beta=0.1)`.
    """
    loss = as_loss(loss)
    beta = None if loss.reference == "none" else loss.hyperparameters.get("beta")

    def objective(
        params: Params,
        batch: PairsWithReference | PreferenceBatch | AnswerBatch,
        reference: Params | None = None,
        shift: Array | None = None,
    ) -> Total:
        logps = pair_logps(model, params, batch, reference, chunk=chunk)
        logps = logps._replace(shift=shift)
        pairs = batch.pairs if isinstance(batch, PairsWithReference) else batch
        valid = pairs.valid
        weight = jnp.sum(valid)
        metrics = pair_metrics(logps, beta)
        sums = {n: (masked_sum(x, valid), weight) for n, x in metrics.items()}
        return masked_sum(loss(logps), valid), (weight, sums)

    return objective


def pair_logps(
    model: LanguageModel,
    params: Params,
    batch: PairsWithReference | PreferenceBatch | AnswerBatch,
    reference: Params | None = None,
    *,
    chunk: int | None = None,
) -> PairLogps:
    """What pairwise losses are made of, both answers in one forward.

    What a loss does not touch, the compiler leaves out.

    Args:
      reference: its parameters, if it is to run here; else its sums are the batch's.
    """
    pairs = batch.pairs if isinstance(batch, PairsWithReference) else batch
    rows, apart = forward.rows_and_unpack(pairs)
    mask, cap = apart(rows.loss_mask), model.config.logit_cap
    here = forward.hidden_and_unembed(model, params, rows)
    logp = apart(next_token_logprobs(*here, rows.tokens, chunk=chunk, logit_cap=cap))
    square = apart(next_token_log_sum_square(*here, chunk=chunk, logit_cap=cap))
    counts = jnp.maximum(jnp.sum(mask, axis=-1), 1).astype(logp.dtype)
    lengths = forward.deinterleave(counts)
    found = {
        "margin": pairs.margin,
        **sides("{}_length", lengths),
        **sides(
            "{}_weight", forward.deinterleave(losses.wpo_weight(logp, square, mask))
        ),
        **summed("{}", *forward.pair_sums(logp, mask), lengths),
    }
    if reference is not None:
        there = jax.lax.stop_gradient(
            forward.hidden_and_unembed(model, reference, rows)
        )
        ref_logp = next_token_logprobs(*there, rows.tokens, chunk=chunk, logit_cap=cap)
        found |= summed("ref_{}", *forward.pair_sums(apart(ref_logp), mask), lengths)
        kl = apart(next_token_kl(*there, *here, chunk=chunk, logit_cap=cap))
        found |= sides("{}_kl", forward.deinterleave(forward.row_sums(kl, mask)[0]))
    elif isinstance(batch, PairsWithReference):
        kept = jax.lax.stop_gradient(batch)
        whole = kept.ref_chosen, kept.ref_rejected
        shared = kept.ref_chosen_shared, kept.ref_rejected_shared
        found |= summed("ref_{}", whole, shared, lengths)
    unlikely = forward.row_sums(losses.unlikelihood(logp), mask)[0]
    found["rejected_unlikelihood"] = forward.deinterleave(unlikely)[1] / lengths[1]
    return PairLogps(chosen_nll=-found["chosen_mean"], **found)


def sides(name: str, pair: Sequence[Array]) -> dict[str, Array]:
    """What is known of the chosen answers, and of the rejected ones, by name."""
    return {name.format(side): x for side, x in zip(SIDES, pair, strict=True)}


def summed(
    name: str, whole: Sequence[Array], shared: Sequence[Array], lengths: Sequence[Array]
) -> dict[str, Array]:
    """Sums over answers and over their shared lengths, and means per token."""
    means = [x / n for x, n in zip(whole, lengths, strict=True)]
    return {
        **sides(name, whole),
        **sides(f"{name}_mean", means),
        **sides(f"{name}_shared", shared),
    }


def pair_metrics(p: PairLogps, beta: float | None) -> dict[str, Array]:
    """What is watched of pairs, a number a pair; rewards where beta is given."""
    metrics = {"logp/chosen": p.chosen, "logp/rejected": p.rejected}
    if p.ref_chosen is None:
        margin = p.chosen_mean - p.rejected_mean
        metrics["mean_logp/margin"] = margin
    else:
        chosen, rejected = p.chosen - p.ref_chosen, p.rejected - p.ref_rejected
        margin = chosen - rejected
        ratios = {"chosen": chosen, "rejected": rejected}
        metrics |= {f"logratio/{side}": x for side, x in ratios.items()}
        metrics["logratio/margin"] = margin
        if beta is not None:
            metrics |= {f"rewards/{side}": beta * x for side, x in ratios.items()}
            metrics["rewards/margins"] = beta * margin
    return metrics | {"accuracy": (margin > 0) + 0.5 * (margin == 0)}


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
    logratio/desirable and /undesirable, and rewards/ of both: beta times those.

    Reference: Ethayarajh et al. 2024, arXiv:2402.01306, section 4.1.
    """

    def sums(params: Params, batch: TokenBatch) -> Array:
        logp = forward.token_logps(model, params, batch, chunk=chunk)
        return forward.row_sums(logp, batch.loss_mask)[0]

    def statistic(params: Params, batch: UnpairedWithReference) -> tuple[Array, Array]:
        ratio = (
            sums(params, batch.unpaired.mismatched_answers) - batch.ref_mismatched_logp
        )
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
            total, count = masked_sum(ratio, which), jnp.sum(which)
            metrics[f"logratio/{name}"] = (total, count)
            metrics[f"rewards/{name}"] = (beta * total, count)
        return masked_sum(loss, valid), (weight, metrics)

    return TwoPass(statistic, terms)
