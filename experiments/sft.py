"""Supervised finetuning: the mean negative log-likelihood of the answers' tokens.

The first stage of the road. On the toy world the demonstrations are deliberately mixed
(right, wrong, rude, rambling, complying where they should refuse), so that there is
something left to align.

    python -m experiments.sft --out runs/sft
    python -m experiments.sft --model FOLDER --data answers.jsonl
"""

import dataclasses

import jax

from experiments import batching, policies, sources, tuning
from experiments.config import Trained, launch
from experiments.run import Run
from jaxalign import sharding
from jaxalign.data import chat, packing
from jaxalign.training import objectives, state, step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Trained):
    """Supervised finetuning."""

    batch: int = 16
    """Rows in a step, over all devices; each is packed with short demonstrations,
    up to twice the context."""
    learning_rate: float = 2e-3
    all_turns: bool = False
    """Train on every answer in a demonstration, not the last alone."""


def main(config: Config) -> dict[str, float]:
    """Trains on demonstrations; writes the model to OUT/policy."""
    with Run(config, "sft") as run:
        batching.check_rows(config)
        source = sources.load(config)
        policy = tuning.frozen(config, policies.load(config, source, run.mesh))
        run.note(chat.describe(policy.tokenizer, all_turns=config.all_turns))
        examples = sources.tokenised(
            *(config, source.demonstrations()[0], policy, run, "train"),
            all_turns=config.all_turns,
        )
        run.describe_data(source.accounts())
        batches = packing.packed_batches(
            examples, config.batch, length=2 * policy.context, seed=config.seed
        )
        steps = source.sft_steps if config.steps is None else config.steps
        adam = config.adamw(steps)
        tuned = tuning.start(config, policy.params)
        update = step.make_step(
            objectives.sft(policy.model),
            adam,
            micro_batches=config.micro_batches,
            whole=tuned.whole,
        )
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        roles = lambda now: {"policy": now.params}
        told = (roles(current), steps, config.rate)
        current, done, cursor = run.resume(current, *told)
        if cursor:
            batches.set_state(cursor)
        for i in run.steps(done, steps):
            batch = next(batches)
            current, metrics = update(current, sharding.place_batch(batch, run.mesh))
            run.log(i, metrics, tokens=batch.tokens.size, rows=batches.rows)
            if run.due(i, steps):
                run.save(current, roles(current), i + 1, batches.get_state())
        params = tuned.parameters(current.params)
        tuning.save(config, run.folder, policy, params, current.params)
        return run.finish(run.last)


if __name__ == "__main__":
    launch(main, Config)
