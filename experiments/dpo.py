"""Direct preference optimization, and every pairwise loss of its family, by name.

Trains the policy on pairs of answers, one preferred, without a reward model: DPO raises
the log-ratio of the chosen answer to the reference above that of the rejected one. The
reference is the policy before training; its log-probs are computed once per row and
cached. TDPO compares whole next-token distributions, so there the reference runs in
every step. KTO takes pairs apart into unpaired answers; `experiments.kto` also reads
unpaired data, balances the two kinds, and has held-out numbers.

    python -m experiments.dpo --model runs/sft/policy --data preferences.jsonl
    python -m experiments.dpo --loss ipo --tau 0.1 ...
    python -m experiments.dpo --loss rpo --mask-formatting ...    # Llama 3's form

A custom loss is a function of `objectives.PairLogps`, one term per pair:

    dpo.main(dpo.Config(...), loss=lambda pair: losses.dpo(*pair.sums, beta=0.1))

or a `PairwiseLoss`, which says what it needs:

    dpo.main(config, loss=PairwiseLoss(my_loss, needs_reference=False,
                                       couples_batch=False))

Metrics: `accuracy` is the share of pairs whose log-ratio is higher for the chosen
answer; `logratio/chosen` and `logratio/rejected` are the mean log-ratios to the
reference (nats) and `logratio/margin` their difference: both may fall while it grows.
`rewards/chosen`, `rewards/rejected` and `rewards/margins` are beta times these, where
the loss has beta. A loss without a reference has them with `--reference-metrics` only
(and no rewards), and `mean_logp/margin` otherwise.

Held-out metrics, at the start, at the end and every --eval-every steps, of at most
--eval-rows pairs: `eval/loss` (of all of them at once), `eval/accuracy` with its 95 %
interval over prompts, `eval/margin` (of log-ratios or, without a reference, of
log-probs per token), and the metrics above; --split-by category shows accuracy and
margin by a field of the rows, too. With an unpaired loss they are those of
`experiments.kto`.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.data import dataset_ops, loader, packing
from jaxalign.data.examples import Example
from jaxalign.data.records import Preference, Unpaired
from jaxalign.pipeline import (
    datasets,
    held_out_groups,
    held_out_metrics,
    loss_flags,
    policies,
    reference,
    run_plan,
    trainable,
)
from jaxalign.runtime import defaults
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loggers import LogFunction, Logger
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives, reward_shift, state, step
from jaxalign.training.preference_loss import PairwiseLoss, UnpairedLoss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(loss_flags.OfflineLossFlags, OfflineConfig):
    """Direct preference optimization and its family."""

    EXPERIMENT: ClassVar[str] = "dpo"
    mask_formatting: bool = False
    """Count no special tokens of answers, such as the end of the turn, in any loss."""
    weight_decay: float = 0.0


def main(
    config: Config,
    loss: objectives.PairLoss | UnpairedLoss | None = None,
    loggers: Sequence[Logger | LogFunction] = (),
) -> dict[str, float]:
    """Trains on preferences; writes the model to OUT/policy.

    Args:
      loss: in place of the loss that the configuration names. A function of
        `PairLogps` is given whole batches without padding, and the reference's summed
        log-probs; a `PairwiseLoss` says itself what it needs.
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.

    Returns:
      Held-out metrics (`eval/...`), the last step's (`train/...`), and the number of
      training pairs.
    """
    selected = loss_flags.configured_loss(config, loss)
    loss_flags.check_micro_batches(config.micro_batches, selected)
    config = defaults.resolve(config)
    with Run(config, "dpo", loggers) as run:
        source = datasets.load(config)
        policy = trainable.with_frozen_base(
            config, policies.load(config, source, run.mesh)
        )
        train, held_out = tokenized_examples(config, source, policy, selected, run)
        batches = make_batches(config, policy, train, selected, run.mesh)
        steps = defaults.total_steps(config, len(train), config.batch)
        ref = reference.reference_for(
            selected,
            policy,
            train,
            run,
            kind=Unpaired if isinstance(selected, UnpairedLoss) else Preference,
            batch_size=config.batch,
            indices=reference.indices_read(batches, train, config.batch, steps),
            for_metrics=config.reference_metrics,
        )

        optimizer = config.adamw(steps)
        tuned = trainable.make_trainable(config, policy.params)
        update = step.make_step(
            objectives.for_loss(policy.model, selected),
            optimizer,
            micro_batches=config.micro_batches,
            merge=tuned.merge,
            donate=not config.debug_nans,
        )
        train_state = state.create(tuned.params, optimizer, jax.random.key(config.seed))
        roles = lambda train_state: {"policy": train_state.params}
        shift = reward_shift.initial(selected, run.mesh)
        loop = LoopState(0, train_state, {"data": batches}, {"shift": shift})
        loop = run.restore(loop, roles(train_state), total=steps, rate=config.rate)
        train_state = loop.state
        if shift is not None and loop.step:
            shift = reward_shift.restore(run.mesh, loop.extras["shift"])
            loop = loop._replace(extras={"shift": shift})
        work = run_plan.Workload.of(
            train,
            policy,
            kind=Preference,
            unit="answers" if isinstance(selected, UnpairedLoss) else "pairs",
            steps=steps,
            batch=config.batch,
        )
        run_plan.show(run, config, policy, roles(train_state), work)
        measure = held_out_metrics.of_loss(
            *(config, run, policy, held_out, selected, tuned.parameters),
            reference_metrics=config.reference_metrics,
        )
        run.evaluate(loop, roles(train_state), measure)

        for i in run.steps(loop.step, steps):
            batch = sharding.place_batch(ref.attach(next(batches)), run.mesh)
            inputs = objectives.step_inputs(ref.params, shift and shift.mean)
            train_state, metrics = update(train_state, batch, *inputs)
            if shift is not None:
                metrics["reward_shift"] = shift.mean
                shift = reward_shift.update(shift, metrics)
            tokens = jax.tree.leaves(batch)[0].size
            run.log(i, update=metrics, tokens=tokens, rows=batches.rows)
            loop = LoopState(i + 1, train_state, {"data": batches}, {"shift": shift})
            run.evaluate(loop, roles(train_state), measure)
            run.checkpoint(loop, roles(train_state))

        train_state = run.exported_state(loop, roles(train_state))
        params = tuned.parameters(train_state.params)
        trainable.save(config, run.folder, policy, params, train_state.params)
        return run.finish(run.results() | {"pairs": len(train)})


def tokenized_examples(
    config: Config,
    source: datasets.Dataset,
    policy: policies.Policy,
    loss: PairwiseLoss | UnpairedLoss,
    run: Run,
) -> tuple[Sequence[Example], Sequence[Example]]:
    """The tokenized pairs, or for an `UnpairedLoss` their single answers.

    Returns:
      Training and held-out ones.
    """
    train, held_out = datasets.tokenized_pairs(config, source, policy, run.note)
    run.describe_data(source.accounts())
    held_out_groups.check_split(config, held_out)
    if "label_prob" in (loss.inputs or ()):
        dataset_ops.check_soft_labels(train)

    def prepare(pairs: Sequence[Example]) -> Sequence[Example]:
        if config.mask_formatting:
            pairs = dataset_ops.mask_special_tokens(pairs, policy.tokenizer)
        return dataset_ops.unpair(pairs) if isinstance(loss, UnpairedLoss) else pairs

    return prepare(train), prepare(held_out) if len(held_out) else held_out


def make_batches(
    config: Config,
    policy: policies.Policy,
    examples: Sequence[Example],
    loss: PairwiseLoss | UnpairedLoss,
    mesh: Mesh,
) -> loader.BatchIterator:
    """Endless batches for a loss, packed only where padding cannot change it."""
    unpaired = isinstance(loss, UnpairedLoss)
    may_pack = not unpaired and loss.couples_batch is False
    return packing.preference_batches(
        examples,
        config.batch,
        kind=Unpaired if unpaired else Preference,
        seed=config.seed,
        shares_prompts=policy.config.supports_shared_prompts and may_pack,
        micro_batches=config.micro_batches,
        mesh=mesh,
    )


if __name__ == "__main__":
    launch(main, Config)
