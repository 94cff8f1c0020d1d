"""Direct preference optimisation, and every pairwise loss of its family, by name.

The reference's log-probs depend on nothing that trains: they are computed once per row
and kept. Token-level DPO compares whole distributions, so there the reference runs in
every step. KTO takes the pairs apart into single answers.

    python -m experiments.dpo --model runs/sft/policy --data preferences.jsonl
    python -m experiments.dpo --loss ipo --tau 0.1 ...
    python -m experiments.dpo --loss dpo_nll --mask-formatting ...    # Llama 3's form

A loss of your own is a function of `objectives.PairLogps`, one term per pair:

    dpo.main(dpo.Config(...), loss=lambda p: losses.dpo(*p[:4], beta=0.1))

Metrics: `accuracy` the share of pairs whose log-ratio is higher for the chosen answer,
`margin` the mean difference of the log-ratios, `chosen` and `rejected` the mean
log-ratios to the reference (nats): both may fall while the margin grows.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from experiments import batching, policies, sources, tuning
from experiments.config import Trained, launch
from experiments.run import Run
from jaxalign import sharding
from jaxalign.data import loader
from jaxalign.data.examples import digest
from jaxalign.data.records import Preference, Record, Unpaired
from jaxalign.training import objectives, reference, state, step
from jaxalign.training.step import Objective
from jaxalign.types import Params

# Knobs that the command line leaves open: for every loss, and where one differs.
KNOBS = {
    "beta": 0.1,
    "tau": 0.1,
    "gamma": 1.0,
    "lam": 0.1,
    "delta": 1.0,
    "label_smoothing": 0.1,
    "flip_rate": 0.1,
    "alpha": 0.2,
}
DIFFERENT = {
    "simpo": {"beta": 2.0},
    "length_normalised_dpo": {"beta": 5.0},
    "dpo_positive": {"lam": 5.0},
    "exo": {"label_smoothing": 1e-3},
    "cpo": {"alpha": 1.0},
    "slic": {"alpha": 0.1},
    "length_regularised_dpo": {"alpha": 0.01},
    "alpha_dpo": {"alpha": 0.5},
    "ld_dpo": {"alpha": 0.5},
    "token_dpo": {"alpha": 0.5},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loss:
    """Flags of a pairwise loss."""

    loss: str = "dpo"
    """The pairwise loss, by name."""
    beta: float | None = None
    """Strength of the hold on the reference, or scale of the margin."""
    tau: float | None = None
    """IPO's regularisation."""
    gamma: float | None = None
    """SimPO's target margin."""
    lam: float | None = None
    """Weight of ORPO's odds-ratio term, or of what DPO-Positive penalises."""
    delta: float | None = None
    """SLiC's target margin, or BCO's shift."""
    label_smoothing: float | None = None
    """Share of labels taken to be flipped (dpo, cdpo, exo, aot)."""
    flip_rate: float | None = None
    """Share of labels that are flipped (robust_dpo)."""
    alpha: float | None = None
    """Weight of the chosen answers' NLL per token (dpo_nll, cpo, slic), of the KL
    (token_dpo), or of the longer answer's tail (ld_dpo); price of a token
    (length_regularised_dpo); or the divergence (alpha_dpo)."""

    def told(self) -> dict[str, float | None]:
        """The knobs that the command line leaves open, as told."""
        return {knob: getattr(self, knob) for knob in KNOBS}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Loss, Trained):
    """Direct preference optimisation and its family."""

    temperature: float | None = None
    """DiscoPOP's."""
    mask_formatting: bool = False
    """Count no special tokens of answers, such as the end of the turn, in any loss."""
    learning_rate: float = 2e-4
    weight_decay: float = 0.0

    def told(self) -> dict[str, float | None]:
        """The knobs that the command line leaves open, as told."""
        return super().told() | {"temperature": self.temperature}


def main(config: Config, loss: objectives.PairLoss | None = None) -> dict[str, float]:
    """Trains on pairs; writes the model to OUT/policy.

    Args:
      loss: takes the place of the loss that the configuration names, and is told what
        that one would be.
    """
    check(config)
    chosen_loss = loss or (None if config.loss == "kto" else named(config))
    with Run(config, "dpo") as run:
        source = sources.load(config)
        policy = tuning.frozen(config, policies.load(config, source, run.mesh))
        train, _ = sources.pairs(config, source, policy, run)
        run.describe_data(source.accounts())
        if config.mask_formatting:
            train = loader.without_formatting(train, policy.tokenizer)
        kind: type[Record] = Preference
        if chosen_loss is None:
            objective: Objective = objectives.kto(
                policy.model, beta=KNOBS["beta"] if config.beta is None else config.beta
            )
            train, kind = loader.unpaired(train), Unpaired
        else:
            objective = objectives.preference(policy.model, chosen_loss)
        if kind is Preference and not objectives.compares_pairs(config.loss):
            batches = batching.preferences(config, policy, train, Preference)
        else:
            batches = loader.batches(train, config.batch, kind=kind, seed=config.seed)
        steps = config.steps or max(len(train) // config.batch, 1)
        few = 2 * steps * config.batch < len(train)
        read = batches.ahead(steps) if few else np.arange(len(train))
        attach, fixed = reference_of(config, policy, train, kind, run, read)
        adam = config.adamw(steps)
        tuned = tuning.start(config, policy.params)
        update = step.make_step(
            objective, adam, micro_batches=config.micro_batches, whole=tuned.whole
        )
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        roles = lambda now: {"policy": now.params}
        told = (roles(current), steps, config.rate)
        current, done, cursor = run.resume(current, *told)
        if cursor:
            batches.set_state(cursor)
        for i in run.steps(done, steps):
            batch = sharding.place_batch(attach(next(batches)), run.mesh)
            current, metrics = update(current, batch, *fixed)
            size = jax.tree.leaves(batch)[0].size
            run.log(i, metrics, tokens=size, rows=batches.rows)
            if run.due(i, steps):
                run.save(current, roles(current), i + 1, batches.get_state())
        params = tuned.parameters(current.params)
        tuning.save(config, run.folder, policy, params, current.params)
        return run.finish(run.last | {"pairs": len(train)})


def check(config: Config) -> None:
    """Refuses a loss of a whole batch with parts of one.

    Raises:
      ValueError: the loss compares the pairs of a batch, which has micro-batches.
    """
    if objectives.compares_pairs(config.loss) and config.micro_batches > 1:
        raise ValueError(
            f"the loss {config.loss} sorts all pairs of a batch: with --micro-batches "
            f"{config.micro_batches} it would sort each part by itself; leave it at 1"
        )


def named(config: Loss) -> objectives.PairLoss:
    """The loss of that name, with the knobs of the configuration that it takes.

    Raises:
      ValueError: there is none; the near ones are suggested.
    """
    defaults = KNOBS | DIFFERENT.get(config.loss, {})
    knobs = {}
    for knob, needed in objectives.knobs_of(config.loss).items():
        told = config.told().get(knob)
        if told is not None or needed:
            knobs[knob] = defaults[knob] if told is None else told
    return objectives.pairwise(config.loss, **knobs)


def reference_of(
    config: Config,
    policy: policies.Policy,
    examples: Sequence[loader.Example],
    kind: type[Record],
    run: Run,
    read: np.ndarray,
) -> tuple[Callable[[Any], Any], tuple[Params, ...]]:
    """What each batch is given of the reference, and what each step is besides.

    Either the kept log-probs of its rows, or, where a loss needs the reference's whole
    distributions, nothing and the reference itself.

    Args:
      read: indices of the examples that the run reads.
    """
    if config.loss != "kto" and objectives.runs_reference(config.loss):
        return lambda batch: batch, (policy.params,)
    scores = reference_scores(policy, examples, kind, config.batch, run, read)
    return scores.attach, ()


def reference_scores(
    policy: policies.Policy,
    examples: Sequence[loader.Example],
    kind: type[Record],
    batch_size: int,
    run: Run,
    read: np.ndarray,
) -> reference.RowScores:
    """The reference's log-probs of the rows read, computed once, kept in the folder."""
    batches = loader.batches(
        examples,
        batch_size,
        kind=kind,
        seed=0,
        shuffle=False,
        epochs=1,
        drop_remainder=False,
        indices=read,
    )
    return reference.score_rows(
        policy.model,
        policy.params,
        batches,
        data=[digest(examples), read],
        folder=run.folder / "reference",
        mesh=run.mesh,
    )


if __name__ == "__main__":
    launch(main, Config)
