"""Kahneman-Tversky optimisation: learns from single answers with a thumb up or down.

Data are unpaired answers, {"prompt": ..., "completion": ..., "label": true}, or pairs,
each of which is two of them.

    python -m experiments.kto --model runs/sft/policy --data unpaired.jsonl
    python -m experiments.kto --model runs/sft/policy --data preferences.jsonl

The reference point z0 is the mean log-ratio of a batch's prompts with answers to other
prompts, 0 at least, without a gradient (`objectives.kto`): which answer each prompt is
given is fixed by the data set, as in TRL, so all that the reference says is computed
once and kept. Where one kind of answer is rarer, its terms weigh more, unless
--desirable-weight and --undesirable-weight say otherwise:

    desirable_weight * n_desirable / (undesirable_weight * n_undesirable) in [1, 4/3]

(Ethayarajh et al. 2024, arXiv:2402.01306, eq. 9). `experiments.dpo --loss kto` is the
same on pairs, at weights of 1.

Metrics: `kl` is z0, `logratio/desirable` and `logratio/undesirable` the mean log-ratios
to the reference (nats), `rewards/...` beta times these. Of held-out answers after the
last step: `held_out/kl`, `held_out/rewards/...`, their difference `/margin`, and
`held_out/accuracy`, the share of answers on the right side of z0 (above it where
desirable, below where not), of all with its 95 % interval over prompts, and of each
kind.
"""

import dataclasses
from collections.abc import Sequence
from typing import ClassVar

import jax
import numpy as np

from experiments import dpo
from jaxalign import sharding
from jaxalign.data import batch_size, dataset_ops, loader, packing
from jaxalign.data.records import Unpaired
from jaxalign.data.tokenize import example_prompt_hashes, example_rows, example_values
from jaxalign.evaluation import intervals, preference
from jaxalign.pipeline import (
    by_field,
    datasets,
    policies,
    run_plan,
    trainable,
)
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives, reference_cache, state, step
from jaxalign.types import Params

LARGEST_RATIO = 4 / 3  # of all desirable terms' weight to all undesirable ones'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(OfflineConfig):
    """Kahneman-Tversky optimisation."""

    EXPERIMENT: ClassVar[str] = "kto"
    RANGES: ClassVar = {"beta": flags.POSITIVE}
    beta: float = 0.1
    """Strength of the hold on the reference."""
    desirable_weight: float | None = None
    """Weight of the terms of desirable answers; balances the two kinds by default."""
    undesirable_weight: float | None = None
    """Weight of the terms of undesirable answers; the same."""
    split_by: str | None = None
    """A field of the rows, such as category: the held-out accuracy of each value."""
    weight_decay: float = 0.0


def main(config: Config) -> dict[str, float]:
    """Trains on unpaired answers or pairs; writes the model to OUT/policy."""
    if (config.desirable_weight, config.undesirable_weight) == (0.0, 0.0):
        raise ValueError(
            "--desirable-weight and --undesirable-weight are both 0: nothing trains"
        )
    config = defaults.resolve(config)
    with Run(config, "kto") as run:
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
        by_field.check_field(config, config.split_by, held_out)
        desirable, undesirable = balance_weights(config, *desirable_shares(train))
        run.note(weights_line(train, desirable, undesirable))
        batches = packing.preference_batches(
            train,
            config.batch,
            kind=Unpaired,
            seed=config.seed,
            shares_prompts=False,
            mesh=run.mesh,
        )
        steps = defaults.total_steps(config, len(train), config.batch)
        few = 2 * steps * config.batch < len(train)
        read = batches.peek_indices(steps) if few else np.arange(len(train))
        before = dpo.reference_scores(policy, train, Unpaired, config.batch, run, read)
        adam = config.adamw(steps)
        tuned = trainable.make_trainable(config, policy.params)
        objective = objectives.kto(
            policy.model,
            beta=config.beta,
            desirable_weight=desirable,
            undesirable_weight=undesirable,
        )
        update = step.make_step(
            objective,
            adam,
            micro_batches=config.micro_batches,
            merge=tuned.merge,
            donate=not config.debug_nans,
        )
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        roles = lambda now: {"policy": now.params}
        loop = LoopState(0, current, {"data": batches})
        loop = run.restore(loop, roles(current), total=steps, rate=config.rate)
        current = loop.state
        work = run_plan.Workload.of(
            train,
            policy,
            kind=Unpaired,
            unit="answers",
            steps=steps,
            batch=config.batch,
        )
        run_plan.show(run, config, policy, roles(current), work)
        for i in run.steps(loop.step, steps):
            batch = sharding.place_batch(before.attach(next(batches)), run.mesh)
            current, metrics = update(current, batch)
            size = 2 * batch.unpaired.answers.tokens.size  # with the mismatched ones
            run.log(i, update=metrics, tokens=size, rows=batches.rows)
            loop = LoopState(i + 1, current, {"data": batches})
            run.checkpoint(loop, roles(current))
        params = tuned.parameters(current.params)
        trainable.save(config, run.folder, policy, params, current.params)
        numbers = held_out_numbers(config, policy, params, held_out, run)
        return run.finish(numbers | run.last | {"answers": len(train)})


def desirable_shares(examples: Sequence[loader.Example]) -> tuple[float, float]:
    """Which share of the rows of batches is desirable, and which is not."""
    if isinstance(examples, dataset_ops.Mixture):
        up = [desirable_shares(part)[0] for part in examples.parts]
        desirable = float(np.average(up, weights=examples.weights))
    else:
        desirable = float((example_values(examples) > 0).mean())
    return desirable, 1.0 - desirable


def balance_weights(config: Config, n_d: float, n_u: float) -> tuple[float, float]:
    """The weights of desirable and of undesirable terms.

    What a flag does not give is 1, or what brings desirable * n_d / (undesirable * n_u)
    to the nearer end of [1, 4/3]: above 1 for the rarer kind if both are free. Where
    one kind is not there, or has no weight, there is nothing to balance.

    Args:
      n_d, n_u: how many desirable and undesirable answers there are, or their shares.

    >>> balance_weights(Config(), 1, 3), balance_weights(Config(), 4, 1), balance_weights(Config(), 6, 5)
    ((3.0, 1.0), (1.0, 3.0), (1.0, 1.0))
    >>> balance_weights(Config(undesirable_weight=1.0), 4, 2)
    (0.6666666666666666, 1.0)
    """
    d, u = config.desirable_weight, config.undesirable_weight
    desirable, undesirable = (1.0 if x is None else x for x in (d, u))
    heavy, light = desirable * n_d, undesirable * n_u
    if not (heavy and light):
        return desirable, undesirable
    ratio = heavy / light
    change = min(max(ratio, 1.0), LARGEST_RATIO) / ratio
    if d is None and (change > 1 or u is not None):
        return desirable * change, undesirable
    if u is None:
        return desirable, undesirable / change
    return desirable, undesirable


def weights_line(
    examples: Sequence[loader.Example], desirable: float, undesirable: float
) -> str:
    """One line for the log: how many of each kind there are, and what they weigh."""
    up = int((example_values(examples) > 0).sum())
    return (
        f"{up} desirable answers of weight {desirable:.4g}, {len(examples) - up} "
        f"undesirable ones of weight {undesirable:.4g}"
    )


def held_out_numbers(
    config: Config,
    policy: policies.Policy,
    params: Params,
    examples: Sequence[loader.Example],
    run: Run,
) -> dict[str, float]:
    """What the policy makes of held-out answers; nothing where there are none.

    Args:
      policy: the reference.
      params: of the trained policy.
    """
    if len(np.unique(example_prompt_hashes(examples))) < 2:
        run.note("answers to fewer than two prompts are held out: no held-out numbers")
        return {}
    every = np.arange(len(examples))
    before = dpo.reference_scores(policy, examples, Unpaired, config.batch, run, every)
    after = reference_cache.score_batches(
        reference_cache.reference_logp_fn(policy.model),
        params,
        dpo.scored_batches(examples, Unpaired, config.batch, every, run.mesh),
        run.mesh,
    )
    ratios = np.empty_like(before.sums)
    ratios[np.argsort(example_rows(examples))] = after.sums - before.sums
    up, prompts = example_values(examples) > 0, example_prompt_hashes(examples)
    told = (config.split_by, examples, "held_out/accuracy", correctness(ratios, up))
    parts = by_field.metrics_by_value(*told, seed=config.seed, share=True)
    return parts | held_out_metrics(
        ratios, up, prompts, beta=config.beta, seed=config.seed
    )


def reference_point(ratios: np.ndarray) -> float:
    """z0, of log-ratios of answers and of mismatched ones [R 2]."""
    return max(float(ratios[:, 1].mean()), 0.0)


def correctness(ratios: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Whether answers are above z0 where desirable, below where not; a tie is half."""
    z0 = np.full(len(up), reference_point(ratios))
    above, below = np.where(up, ratios[:, 0], z0), np.where(up, z0, ratios[:, 0])
    return preference.agreement(above, below)


def held_out_metrics(
    ratios: np.ndarray, up: np.ndarray, prompts: np.ndarray, *, beta: float, seed: int
) -> dict[str, float]:
    """Held-out numbers.

    Args:
      ratios: log-ratios to the reference of answers and of mismatched ones [R 2].
      up: whether each answer is desirable [R].
      prompts: the unit of intervals [R].
    """
    ratio, right = ratios[:, 0], correctness(ratios, up)
    over = intervals.bootstrap(right, units=prompts, seed=seed, share=True)
    numbers = {"held_out/kl": reference_point(ratios)}
    numbers |= over.named("held_out/accuracy")
    for kind, which in {"desirable": up, "undesirable": ~up}.items():
        numbers[f"held_out/{kind}"] = int(which.sum())
        if which.any():
            numbers[f"held_out/accuracy/{kind}"] = float(right[which].mean())
            numbers[f"held_out/rewards/{kind}"] = beta * float(ratio[which].mean())
    if up.any() and not up.all():
        margin = ratio[up].mean() - ratio[~up].mean()
        numbers["held_out/rewards/margin"] = beta * float(margin)
    return numbers


if __name__ == "__main__":
    launch(main, Config)
