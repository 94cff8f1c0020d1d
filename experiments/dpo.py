"""Direct preference optimisation, and every pairwise loss of its family, by name.

The reference's log-probs depend on nothing that trains: they are computed once per row
and kept. Token-level DPO compares whole distributions, so there the reference runs in
every step. KTO takes the pairs apart into single answers (`experiments.kto`, which
reads unpaired ones too, balances the two kinds, and has held-out numbers).

    python -m experiments.dpo --model runs/sft/policy --data preferences.jsonl
    python -m experiments.dpo --loss ipo --tau 0.1 ...
    python -m experiments.dpo --loss dpo_nll --mask-formatting ...    # Llama 3's form

A loss of your own is a function of `objectives.PairLogps`, one term per pair:

    dpo.main(dpo.Config(...), loss=lambda p: losses.dpo(*p[:4], beta=0.1))

which may say what it needs, and what it does not:

    dpo.main(config, loss=PreferenceLoss(my_loss, reference="none",
                                         couples_pairs=False))

Metrics: `accuracy` the share of pairs whose log-ratio is higher for the chosen answer,
`logratio/chosen` and `logratio/rejected` the mean log-ratios to the reference (nats),
`logratio/margin` their difference: both may fall while it grows. `rewards/chosen`,
`rewards/rejected` and `rewards/margins` are beta times these, where the loss has beta.
A loss without a reference has them with `--reference-metrics` only (and no rewards),
and `mean_logp/margin` else.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar

import jax
import numpy as np
import tyro
from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.data import loader, packing
from jaxalign.data.records import Preference, Record, Unpaired
from jaxalign.data.tokenize import digest
from jaxalign.pipeline import datasets, policies, run_plan, trainable
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import (
    loss_names,
    objectives,
    reference_cache,
    reward_shift,
    state,
    step,
)
from jaxalign.training.preference_loss import PairwiseLoss
from jaxalign.training.step import Objective
from jaxalign.types import Params

# The flags that are hyperparameters of losses, and those of experiments.dpo alone.
HYPERPARAMETERS = (
    *("beta", "tau", "gamma", "lam", "delta"),
    *("label_smoothing", "flip_rate", "alpha"),
)
OFFLINE_HYPERPARAMETERS = ("temperature", "desirable_weight", "undesirable_weight")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LossFlags(flags.ValidatedConfig):
    """Flags of a preference loss; one that the loss does not take is refused."""

    RANGES: ClassVar = {"beta": flags.POSITIVE}
    loss: Annotated[str, tyro.conf.arg(help=loss_names.help_text())] = "dpo"
    """The preference loss, by name; docs/losses.md has their sources."""
    beta: float | None = None
    """Strength of the hold on the reference, or scale of the margin."""
    tau: float | None = None
    """IPO's regularisation."""
    gamma: float | None = None
    """SimPO's target margin."""
    lam: float | None = None
    """Weight of ORPO's odds-ratio term, or of what DPO-Positive penalises."""
    delta: float | None = None
    """SLiC's target margin, or bco_pair's constant shift."""
    label_smoothing: float | None = None
    """Share of labels taken to be flipped (dpo, cdpo, exo, aot)."""
    flip_rate: float | None = None
    """Share of labels that are flipped (robust_dpo)."""
    alpha: float | None = None
    """Weight of the chosen answers' NLL per token (dpo_nll, cpo, slic), of the KL
    (token_dpo), of the rejected answers' unlikelihood (unlikelihood), or of the longer
    answer's tail (ld_dpo); price of a token (length_regularised_dpo); or the divergence
    (alpha_dpo)."""
    reference_metrics: bool = False
    """Compare with the reference for the metrics alone, where the loss needs none."""

    def hyperparameters(self) -> dict[str, float]:
        """The losses' hyperparameters that are set, by name."""
        values = {name: getattr(self, name) for name in HYPERPARAMETERS}
        return {name: x for name, x in values.items() if x is not None}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(LossFlags, OfflineConfig):
    """Direct preference optimisation and its family."""

    EXPERIMENT: ClassVar[str] = "dpo"
    RANGES: ClassVar = {"temperature": flags.POSITIVE}
    temperature: float | None = None
    """DiscoPOP's."""
    desirable_weight: float | None = None
    """KTO's weight of the terms of desirable answers."""
    undesirable_weight: float | None = None
    """KTO's weight of the terms of undesirable answers."""
    mask_formatting: bool = False
    """Count no special tokens of answers, such as the end of the turn, in any loss."""
    weight_decay: float = 0.0

    def hyperparameters(self) -> dict[str, float]:
        """The losses' hyperparameters that are set, by name."""
        values = {name: getattr(self, name) for name in OFFLINE_HYPERPARAMETERS}
        mine = {name: x for name, x in values.items() if x is not None}
        return super().hyperparameters() | mine


def main(config: Config, loss: objectives.PairLoss | None = None) -> dict[str, float]:
    """Trains on preferences; writes the model to OUT/policy.

    Args:
      loss: takes the place of the loss that the configuration names. A function of
        `PairLogps` gets whole batches without padding, and the reference's summed
        log-probs; a `PairwiseLoss` says itself what it needs.
    """
    chosen = configured_loss(config, loss)
    check_micro_batches(config, chosen)
    config = defaults.resolve(config)
    with Run(config, "dpo") as run:
        source = datasets.load(config)
        policy = trainable.with_frozen_base(
            config, policies.load(config, source, run.mesh)
        )
        train, _ = datasets.tokenized_pairs(config, source, policy, run.note)
        run.describe_data(source.accounts())
        if config.mask_formatting:
            train = loader.mask_special_tokens(train, policy.tokenizer)
        train = loader.unpair(train) if chosen.unpaired else train
        batches = make_batches(config, policy, train, chosen, run.mesh)
        steps = defaults.total_steps(config, len(train), config.batch)
        few = 2 * steps * config.batch < len(train)
        read = batches.peek_indices(steps) if few else np.arange(len(train))
        attach, fixed = reference_of(config, policy, train, chosen, run, read)
        adam = config.adamw(steps)
        tuned = trainable.make_trainable(config, policy.params)
        update = step.make_step(
            make_objective(policy, chosen),
            adam,
            micro_batches=config.micro_batches,
            merge=tuned.merge,
            donate=not config.debug_nans,
        )
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        roles = lambda now: {"policy": now.params}
        shift = reward_shift.restore(run.mesh) if chosen.needs_reward_shift else None
        loop = LoopState(0, current, {"data": batches}, {"shift": shift})
        loop = run.restore(loop, roles(current), total=steps, rate=config.rate)
        current = loop.state
        if chosen.needs_reward_shift and loop.step:
            shift = reward_shift.restore(run.mesh, loop.extras["shift"])
        work = run_plan.Workload.of(
            train,
            policy,
            kind=Preference,
            unit="answers" if chosen.unpaired else "pairs",
            steps=steps,
            batch=config.batch,
        )
        run_plan.show(run, config, policy, roles(current), work)
        for i in run.steps(loop.step, steps):
            batch = sharding.place_batch(attach(next(batches)), run.mesh)
            beside = fixed if shift is None else (*(fixed or (None,)), shift.mean)
            current, metrics = update(current, batch, *beside)
            if shift is not None:
                metrics["reward_shift"] = shift.mean
                shift = reward_shift.update(shift, metrics)
            size = jax.tree.leaves(batch)[0].size
            run.log(i, update=metrics, tokens=size, rows=batches.rows)
            loop = LoopState(i + 1, current, {"data": batches}, {"shift": shift})
            run.checkpoint(loop, roles(current))
        params = tuned.parameters(current.params)
        trainable.save(config, run.folder, policy, params, current.params)
        return run.finish(run.last | {"pairs": len(train)})


def make_objective(policy: policies.Policy, loss: PairwiseLoss) -> Objective:
    """The objective of the policy with that loss."""
    if loss.unpaired:
        return objectives.kto(policy.model, **loss.hyperparameters)
    return objectives.preference(policy.model, loss)


def configured_loss(
    config: LossFlags, loss: objectives.PairLoss | None = None
) -> PairwiseLoss:
    """The loss given, or that of the configuration's name, with its hyperparameters.

    Raises:
      ValueError: no loss of that name, with the near ones; or a hyperparameter that it
        does not take.
    """
    if loss is None:
        with flags.prefix_errors("--loss"):
            found = objectives.get_loss(config.loss)
    else:
        found = objectives.as_loss(loss)
    return found.bind(**config.hyperparameters())


def check_micro_batches(config: OfflineConfig, loss: PairwiseLoss) -> None:
    """Refuses parts of a batch for a loss that may be of a whole one.

    Raises:
      ValueError: the loss compares the pairs of a batch, which has micro-batches, or
        does not say that it does not.
    """
    if config.micro_batches == 1 or loss.couples_batch is False:
        return
    at_one = f"with --micro-batches {config.micro_batches} it would sort each part by"
    if loss.couples_batch:
        raise ValueError(
            f"the loss {loss.name} sorts all pairs of a batch: {at_one} itself; "
            "leave it at 1"
        )
    raise ValueError(
        f"a loss of your own may compare the pairs of a batch, which --micro-batches "
        f"{config.micro_batches} would cut: leave it at 1, or pass "
        "PreferenceLoss(function, couples_pairs=False)"
    )


def make_batches(
    config: Config,
    policy: policies.Policy,
    examples: Sequence[loader.Example],
    loss: PairwiseLoss,
    mesh: Mesh,
) -> loader.BatchIterator:
    """Batches for a loss: packed, with padding, only where that cannot matter."""
    may_pack = not loss.unpaired and loss.couples_batch is False
    return packing.preference_batches(
        examples,
        config.batch,
        kind=Unpaired if loss.unpaired else Preference,
        seed=config.seed,
        shares_prompts=policy.config.supports_shared_prompts and may_pack,
        micro_batches=config.micro_batches,
        mesh=mesh,
    )


def reference_of(
    config: Config,
    policy: policies.Policy,
    examples: Sequence[loader.Example],
    loss: PairwiseLoss,
    run: Run,
    read: np.ndarray,
) -> tuple[Callable[[Any], Any], tuple[Params, ...]]:
    """What each batch is given of the reference, and what each step is besides.

    Either the kept log-probs of its rows, or, where a loss needs the reference's whole
    distributions, nothing and the reference itself; or nothing at all.

    Args:
      read: indices of the examples that the run reads.
    """
    if loss.reference == "distributions":
        return lambda batch: batch, (policy.params,)
    if loss.reference == "none" and not config.reference_metrics:
        return lambda batch: batch, ()
    kind = Unpaired if loss.unpaired else Preference
    scores = reference_scores(policy, examples, kind, config.batch, run, read)
    return scores.attach, ()


def reference_scores(
    policy: policies.Policy,
    examples: Sequence[loader.Example],
    kind: type[Record],
    batch_size: int,
    run: Run,
    read: np.ndarray,
) -> reference_cache.ReferenceLogps:
    """The reference's log-probs of the rows read, computed once, kept in the folder."""
    return reference_cache.compute_reference_logps(
        policy.model,
        policy.params,
        scored_batches(examples, kind, batch_size, read, run.mesh),
        data=[digest(examples), read],
        folder=run.folder / "reference",
        mesh=run.mesh,
    )


def scored_batches(
    examples: Sequence[loader.Example],
    kind: type[Record],
    batch_size: int,
    read: np.ndarray,
    mesh: Mesh,
) -> loader.BatchIterator:
    """The rows read, each once, in the order of the data set."""
    return loader.evaluation_batches(
        examples, batch_size, kind=kind, indices=read, mesh=mesh
    )


if __name__ == "__main__":
    launch(main, Config)
