"""Supervised finetuning: the mean negative log-likelihood of the answers' tokens.

The first stage of the road. On the toy world the demonstrations are deliberately mixed
(right, wrong, rude, rambling, complying where they should refuse), so that there is
something left to align.

    python -m experiments.sft --out runs/sft
    python -m experiments.sft --model FOLDER --data answers.jsonl
"""

import dataclasses
from typing import ClassVar

import jax

from jaxalign import sharding
from jaxalign.data import batch_size, packing
from jaxalign.data.records import Demonstration
from jaxalign.pipeline import datasets, policies, run_plan, trainable
from jaxalign.runtime import defaults
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives, state, step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(OfflineConfig):
    """Supervised finetuning."""

    EXPERIMENT: ClassVar[str] = "sft"
    batch: int = 16
    """Rows in a step, over all devices; each is packed with short demonstrations,
    up to twice the context, or twice the longest where the model is pretrained."""
    all_turns: bool = False
    """Train on every answer in a demonstration, not the last alone."""


def main(config: Config) -> dict[str, float]:
    """Trains on demonstrations; writes the model to OUT/policy."""
    config = defaults.resolve(config)
    with Run(config, "sft") as run:
        batch_size.check_divides(
            config.batch,
            micro_batches=config.micro_batches,
            devices=sharding.row_shards(run.mesh),
        )
        source = datasets.load(config)
        policy = trainable.with_frozen_base(
            config, policies.load(config, source, run.mesh)
        )
        examples = datasets.tokenize_records(
            *(config, source.demonstrations()[0], policy, run.note, "train"),
            all_turns=config.all_turns,
        )
        batch_size.check_size(config.batch, len(examples), may_repeat=True)
        run.describe_data(source.accounts())
        length = packing.row_length(
            examples, policy.context, whole_context=defaults.is_toy(config.model)
        )
        batches = packing.packed_batches(
            examples, config.batch, length=length, seed=config.seed, mesh=run.mesh
        )
        each = packing.examples_per_batch(examples, config.batch, length=length)
        steps = defaults.total_steps(config, len(examples), each, source.sft_steps)
        adam = config.adamw(steps)
        tuned = trainable.make_trainable(config, policy.params)
        update = step.make_step(
            objectives.sft(policy.model),
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
            examples,
            policy,
            kind=Demonstration,
            unit="conversations",
            steps=steps,
            batch=each,
            all_turns=config.all_turns,
            packed=f"packed in {config.batch} rows of {length:,} tokens",
        )
        run_plan.show(run, config, policy, roles(current), work)
        for i in run.steps(loop.step, steps):
            batch = next(batches)
            current, metrics = update(current, sharding.place_batch(batch, run.mesh))
            run.log(i, update=metrics, tokens=batch.tokens.size, rows=batches.rows)
            loop = LoopState(i + 1, current, {"data": batches})
            run.checkpoint(loop, roles(current))
        params = tuned.parameters(current.params)
        trainable.save(config, run.folder, policy, params, current.params)
        return run.finish(run.last)


if __name__ == "__main__":
    launch(main, Config)
