"""Kahneman-Tversky optimization: learns from answers labeled desirable or undesirable.

Data are unpaired answers, {"prompt": ..., "completion": ..., "label": true}, or pairs,
of which each answer counts by itself: the chosen one is desirable, the rejected not.

    python -m experiments.kto --model runs/sft/policy --data unpaired.jsonl
    python -m experiments.kto --model runs/sft/policy --data preferences.jsonl

The reference point z0 is the mean log-ratio of a batch's prompts with answers to other
prompts, at least 0, without a gradient (`objectives.kto`). Which mismatched answer a
prompt has is fixed by the data set, as in TRL, so that all log-probs of the reference
are computed once and cached. The rarer kind of answer is weighted up, unless
--desirable-weight and --undesirable-weight are given:

    desirable_weight * n_desirable / (undesirable_weight * n_undesirable) in [1, 4/3]

(Ethayarajh et al. 2024, arXiv:2402.01306, eq. 9). `experiments.dpo --loss kto` is the
same on pairs, at weights of 1.

Metrics: `kl` is z0, `logratio/desirable` and `logratio/undesirable` the mean log-ratios
to the reference (nats), `rewards/...` beta times these. Of at most --eval-rows
held-out answers, at the start, at the end and every --eval-every steps: `eval/loss`,
`eval/kl`, `eval/logratio/...`, their difference `eval/margin`, `eval/rewards/...`, and
`eval/accuracy`, the share of answers on the right side of z0 (above it where desirable,
below where not), of all with its 95 % interval over prompts, and of each kind.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import numpy as np

from jaxalign import sharding
from jaxalign.data import batch_size, dataset_ops, packing
from jaxalign.data.examples import Example, example_values
from jaxalign.data.records import Unpaired
from jaxalign.pipeline import (
    datasets,
    held_out_groups,
    held_out_metrics,
    policies,
    reference,
    run_plan,
    trainable,
)
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loggers import LogFunction, Logger
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives, state, step

MAX_WEIGHT_RATIO = 4 / 3  # of all desirable terms' weight to all undesirable ones'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(OfflineConfig):
    """Kahneman-Tversky optimization."""

    EXPERIMENT: ClassVar[str] = "kto"
    RANGES: ClassVar = {"beta": flags.POSITIVE}
    beta: float = 0.1
    """Strength of the hold on the reference."""
    desirable_weight: float | None = None
    """Weight of the terms of desirable answers; balances the two kinds by default."""
    undesirable_weight: float | None = None
    """Weight of the terms of undesirable answers; balances the two kinds by default."""
    eval_rows: int = 8192
    weight_decay: float = 0.0


def main(
    config: Config, loggers: Sequence[Logger | LogFunction] = ()
) -> dict[str, float]:
    """Trains on unpaired answers or pairs; writes the model to OUT/policy.

    Args:
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.

    Returns:
      Held-out metrics (`eval/...`), the last step's (`train/...`), and the number of
      training answers.

    Raises:
      ValueError: both weights are 0.
    """
    if (config.desirable_weight, config.undesirable_weight) == (0.0, 0.0):
        raise ValueError(
            "--desirable-weight and --undesirable-weight are both 0: nothing trains"
        )
    config = defaults.resolve(config)
    with Run(config, "kto", loggers) as run:
        batch_size.check_divides(
            config.batch,
            micro_batches=config.micro_batches,
            devices=sharding.row_shards(run.mesh),
        )
        source = datasets.load(config)
        policy = trainable.with_frozen_base(
            config, policies.load(config, source, run.mesh)
        )
        train, held_out = datasets.tokenized_unpaired(config, source, policy, run.note)
        run.describe_data(source.accounts())
        held_out_groups.check_split(config, held_out)
        desirable, undesirable = balance_weights(config, *desirable_shares(train))
        run.note(weights_text(train, desirable, undesirable))
        batches = packing.preference_batches(
            train,
            config.batch,
            kind=Unpaired,
            seed=config.seed,
            shares_prompts=False,
            mesh=run.mesh,
        )
        steps = defaults.total_steps(config, len(train), config.batch)
        ref_logps = reference.compute_logps(
            policy,
            train,
            run,
            kind=Unpaired,
            batch_size=config.batch,
            indices=reference.indices_read(batches, train, config.batch, steps),
        )

        optimizer = config.adamw(steps)
        tuned = trainable.make_trainable(config, policy.params)
        objective = objectives.kto(
            policy.model,
            beta=config.beta,
            desirable_weight=desirable,
            undesirable_weight=undesirable,
        )
        update = step.make_step(
            objective,
            optimizer,
            micro_batches=config.micro_batches,
            merge=tuned.merge,
            donate=not config.debug_nans,
        )
        train_state = state.create(tuned.params, optimizer, jax.random.key(config.seed))
        roles = lambda train_state: {"policy": train_state.params}
        loop = LoopState(0, train_state, {"data": batches})
        loop = run.restore(loop, roles(train_state), total=steps, rate=config.rate)
        train_state = loop.state
        work = run_plan.Workload.of(
            train,
            policy,
            kind=Unpaired,
            unit="answers",
            steps=steps,
            batch=config.batch,
        )
        run_plan.show(run, config, policy, roles(train_state), work)
        measure = held_out_metrics.unpaired(
            *(config, run, policy, held_out, tuned.parameters),
            weights=(desirable, undesirable),
            beta=config.beta,
        )
        run.evaluate(loop, roles(train_state), measure)

        for i in run.steps(loop.step, steps):
            batch = sharding.place_batch(ref_logps.attach(next(batches)), run.mesh)
            train_state, metrics = update(train_state, batch)
            tokens = 2 * batch.answers.tokens.size  # with the mismatched answers
            run.log(i, update=metrics, tokens=tokens, rows=batches.rows)
            loop = LoopState(i + 1, train_state, {"data": batches})
            run.evaluate(loop, roles(train_state), measure)
            run.checkpoint(loop, roles(train_state))

        train_state = run.exported_state(loop, roles(train_state))
        params = tuned.parameters(train_state.params)
        trainable.save(config, run.folder, policy, params, train_state.params)
        return run.finish(run.results() | {"answers": len(train)})


def desirable_shares(examples: Sequence[Example]) -> tuple[float, float]:
    """The shares of desirable and of undesirable answers in batches."""
    if isinstance(examples, dataset_ops.Mixture):
        parts = [desirable_shares(part)[0] for part in examples.parts]
        desirable = float(np.average(parts, weights=examples.weights))
    else:
        desirable = float((example_values(examples) > 0).mean())
    return desirable, 1.0 - desirable


def balance_weights(config: Config, n_d: float, n_u: float) -> tuple[float, float]:
    """The weights of desirable and of undesirable terms.

    A weight without a flag is 1, or what brings desirable * n_d / (undesirable * n_u)
    to the nearer end of [1, 4/3]: above 1 for the rarer kind if both are free. Where
    one kind is missing, or has no weight, there is nothing to balance.

    Args:
      n_d, n_u: numbers of desirable and undesirable answers, or their shares.

    >>> balance_weights(Config(), 1, 3), balance_weights(Config(), 4, 1)
    ((3.0, 1.0), (1.0, 3.0))
    >>> balance_weights(Config(), 6, 5)
    (1.0, 1.0)
    >>> balance_weights(Config(undesirable_weight=1.0), 4, 2)
    (0.6666666666666666, 1.0)
    """
    d, u = config.desirable_weight, config.undesirable_weight
    desirable, undesirable = (1.0 if x is None else x for x in (d, u))
    total_d, total_u = desirable * n_d, undesirable * n_u
    if not (total_d and total_u):
        return desirable, undesirable
    ratio = total_d / total_u
    change = min(max(ratio, 1.0), MAX_WEIGHT_RATIO) / ratio
    if d is None and (change > 1 or u is not None):
        return desirable * change, undesirable
    if u is None:
        return desirable, undesirable / change
    return desirable, undesirable


def weights_text(
    examples: Sequence[Example], desirable: float, undesirable: float
) -> str:
    """A line for the log: the number of answers of each kind, and their weights."""
    count = int((example_values(examples) > 0).sum())
    return (
        f"{count} desirable answers of weight {desirable:.4g}, "
        f"{len(examples) - count} undesirable ones of weight {undesirable:.4g}"
    )


if __name__ == "__main__":
    launch(main, Config)
