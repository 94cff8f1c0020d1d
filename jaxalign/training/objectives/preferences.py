"""The objective of pairwise preference losses: DPO and its family, or a custom one."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.batches import PairBatch, deinterleave
from jaxalign.estimators import (
    next_token_kl,
    next_token_log_sum_square,
    next_token_logprobs,
)
from jaxalign.masks import masked_sum
from jaxalign.training import forward
from jaxalign.training.objectives.unpaired import kto
from jaxalign.training.preference_loss import (
    ModelLogps,
    PairLogps,
    PairLoss,
    PairwiseLoss,
    Sides,
    UnpairedLoss,
    as_loss,
)
from jaxalign.training.step import Objective, Total
from jaxalign.types import Array, LanguageModel, Params


def preference(
    model: LanguageModel, loss: PairLoss, *, chunk: int | None = None
) -> Objective:
    """Any pairwise loss on pairs, a mean over pairs.

    `objective(params, batch, reference=None, reward_shift=None)` takes a
    `PreferenceBatch` or an `AnswerBatch`, with the reference's log-probs where the loss
    needs them; both answers go through the model in one forward pass. Given the
    reference's parameters, it runs the reference on the batch itself, as losses on
    whole distributions such as TDPO need; BCO needs `reward_shift`, the running mean of
    rewards.

    Metrics (nats): logp/chosen and /rejected; with a reference logratio/chosen,
    /rejected and /margin, and accuracy of the margin (a tie is half right); for a loss
    with beta, rewards/chosen, /rejected and /margins, which are beta times those.
    Without a reference mean_logp/margin, per token, and its accuracy.

    Args:
      loss: such as `pairwise_loss("dpo", beta=0.1)`, or a function of `PairLogps`.
      chunk: as in `forward.token_logps`.
    """
    loss = as_loss(loss)
    beta = loss.hyperparameters.get("beta") if loss.needs_reference else None

    def objective(
        params: Params,
        batch: PairBatch,
        reference: Params | None = None,
        reward_shift: Array | None = None,
    ) -> Total:
        pair = pair_logps(model, params, batch, loss, reference=reference, chunk=chunk)
        pair = pair._replace(reward_shift=reward_shift)
        valid, weight = batch.valid, jnp.sum(batch.valid)
        metrics = pair_metrics(pair, beta)
        sums = {name: (masked_sum(x, valid), weight) for name, x in metrics.items()}
        return masked_sum(loss(pair), valid), (weight, sums)

    return objective


def for_loss(
    model: LanguageModel,
    loss: PairwiseLoss | UnpairedLoss,
    *,
    chunk: int | None = None,
) -> Objective:
    """The objective of a loss of the registry: `preference`, or `kto` if unpaired."""
    if isinstance(loss, UnpairedLoss):
        return kto(model, chunk=chunk, **loss.hyperparameters)
    return preference(model, loss, chunk=chunk)


def step_inputs(
    reference: Params | None = None, reward_shift: Array | None = None
) -> tuple[Any, ...]:
    """The inputs of a step beside the batch, as `preference`'s objective takes them."""
    if reward_shift is not None:
        return (reference, reward_shift)
    return () if reference is None else (reference,)


def pair_logps(
    model: LanguageModel,
    params: Params,
    batch: PairBatch,
    loss: PairwiseLoss,
    *,
    reference: Params | None = None,
    chunk: int | None = None,
) -> PairLogps:
    """The inputs of a pairwise loss, both answers in one forward pass.

    Only what the loss takes is computed, beside log-probs and lengths, which metrics
    need too.

    Args:
      loss: whose inputs are computed.
      reference: parameters of the reference, where it is to run here; else its
        log-probs are those of the batch.
      chunk: as in `forward.token_logps`.
    """
    rows = batch.rows()
    mask = batch.per_answer(rows.loss_mask)
    options: dict[str, Any] = {"chunk": chunk, "logit_cap": model.config.logit_cap}
    hidden, unembed = forward.hidden_and_unembed(model, params, rows)
    logp = next_token_logprobs(hidden, unembed, rows.tokens, **options)
    logp = batch.per_answer(logp)
    tokens = jnp.maximum(jnp.sum(mask, axis=-1), 1).astype(logp.dtype)
    length = Sides(*deinterleave(tokens))
    label_prob = batch.label_prob
    pair = PairLogps(
        policy=model_logps(answer_sums(logp, mask), length),
        length=length,
        margin=batch.margin,
        label_prob=jnp.ones_like(batch.margin) if label_prob is None else label_prob,
    )
    if loss.takes("policy_shared"):
        shared = Sides(*deinterleave(forward.shared_length_sums(logp, mask)))
        pair = pair._replace(policy_shared=shared)
    if loss.takes("wpo_weight"):
        square = batch.per_answer(next_token_log_sum_square(hidden, unembed, **options))
        weight = Sides(*deinterleave(losses.wpo_weight(logp, square, mask)))
        pair = pair._replace(wpo_weight=weight)
    if loss.takes("unlikelihood"):
        total = answer_sums(losses.unlikelihood(logp), mask)
        pair = pair._replace(unlikelihood=per_token(total, length))
    if reference is None:
        return with_batch_reference(pair, batch)
    ref_hidden, ref_unembed = jax.lax.stop_gradient(
        forward.hidden_and_unembed(model, reference, rows)
    )
    ref_logp = next_token_logprobs(ref_hidden, ref_unembed, rows.tokens, **options)
    pair = with_reference_logps(pair, batch.per_answer(ref_logp), mask, loss)
    if loss.takes("kl"):
        kl = next_token_kl(ref_hidden, ref_unembed, hidden, unembed, **options)
        pair = pair._replace(kl=answer_sums(batch.per_answer(kl), mask))
    return pair


def with_reference_logps(
    pair: PairLogps, logp: Array, mask: Array, loss: PairwiseLoss
) -> PairLogps:
    """Adds the reference's log-probs of each token [2B T] to the inputs of a loss."""
    assert pair.length is not None
    pair = pair._replace(reference=model_logps(answer_sums(logp, mask), pair.length))
    if loss.takes("reference_shared"):
        shared = Sides(*deinterleave(forward.shared_length_sums(logp, mask)))
        pair = pair._replace(reference_shared=shared)
    return pair


def with_batch_reference(pair: PairLogps, batch: PairBatch) -> PairLogps:
    """Adds the reference's log-probs that a batch has, if it has any."""
    if batch.reference is None:
        return pair
    assert pair.length is not None
    reference = jax.lax.stop_gradient(batch.reference)
    sums = Sides(reference.chosen, reference.rejected)
    pair = pair._replace(reference=model_logps(sums, pair.length))
    if reference.chosen_shared is None:
        return pair
    shared = Sides(reference.chosen_shared, reference.rejected_shared)
    return pair._replace(reference_shared=shared)


def answer_sums(x: Array, mask: Array) -> Sides:
    """Sums over the tokens of chosen and rejected answers, side by side in [2B T]."""
    return Sides(*deinterleave(forward.row_sums(x, mask)[0]))


def per_token(total: Sides, length: Sides) -> Sides:
    """Sums over answers, divided by their lengths."""
    return Sides(total.chosen / length.chosen, total.rejected / length.rejected)


def model_logps(sums: Sides, length: Sides) -> ModelLogps:
    """Sums and means of log-probs of answers."""
    return ModelLogps(*sums, *per_token(sums, length))


def pair_metrics(pair: PairLogps, beta: float | None) -> dict[str, Array]:
    """Metrics of pairs, [B] each; rewards only where beta is given."""
    policy, reference = pair.policy, pair.reference
    metrics = {"logp/chosen": policy.chosen, "logp/rejected": policy.rejected}
    if reference is None:
        margin = policy.chosen_mean - policy.rejected_mean
        metrics["mean_logp/margin"] = margin
    else:
        chosen = policy.chosen - reference.chosen
        rejected = policy.rejected - reference.rejected
        margin = chosen - rejected
        logratios = {"chosen": chosen, "rejected": rejected}
        metrics |= {f"logratio/{side}": x for side, x in logratios.items()}
        metrics["logratio/margin"] = margin
        if beta is not None:
            metrics |= {f"rewards/{side}": beta * x for side, x in logratios.items()}
            metrics["rewards/margins"] = beta * margin
    return metrics | {"accuracy": (margin > 0) + 0.5 * (margin == 0)}
