"""Supervised finetuning (SFT): the mean negative log-likelihood of answer tokens.

The first stage of the pipeline. The toy world's SFT data are a mixture of right, wrong,
rude and rambling answers, some of which comply where they should refuse, so that there
is something left to align.

    python -m experiments.sft --out runs/sft
    python -m experiments.sft --model FOLDER --data answers.jsonl

Held-out metrics, at the start, at the end and every --eval-every steps: `eval/loss`,
the NLL per answer token (nats), and `eval/perplexity`, its exponential; `eval/tokens`
of `eval/rows` conversations are counted. --split-by shows `eval/loss` by fields of the
rows, too.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax

from jaxalign import sharding
from jaxalign.data import batch_size, dataset_ops, packing
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.examples import Example
from jaxalign.data.records import Demonstration
from jaxalign.pipeline import (
    datasets,
    held_out_groups,
    held_out_metrics,
    policies,
    run_plan,
    trainable,
)
from jaxalign.runtime import defaults
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loggers import LogFunction, Logger
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives, state, step


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(OfflineConfig):
    """Supervised finetuning."""

    EXPERIMENT: ClassVar[str] = "sft"
    batch: int = 16
    """Packed rows in a step, over all devices; a row holds conversations of twice the
    context together, or with a pretrained model of twice the longest conversation."""
    all_turns: bool = False
    """Train on every answer of a conversation, not on the last alone."""
    mask_before: str = ""
    """A special token, such as [RESET]: of an answer that holds it, what precedes it is
    not trained. Needs --keep-special-tokens."""


def main(
    config: Config, loggers: Sequence[Logger | LogFunction] = ()
) -> dict[str, float]:
    """Trains on conversations; writes the model to OUT/policy.

    Args:
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.

    Returns:
      Held-out metrics (`eval/...`) and the last step's (`train/...`).

    Raises:
      ValueError: bad data or flags.
    """
    config = defaults.resolve(config)
    with Run(config, "sft", loggers) as run:
        batch_size.check_divides(
            config.batch,
            micro_batches=config.micro_batches,
            devices=sharding.row_shards(run.mesh),
        )
        source = datasets.load(config)
        policy = trainable.with_frozen_base(
            config, policies.load(config, source, run.mesh)
        )
        examples, held_out = tokenized_examples(config, source, policy, run)
        length = packing.row_length(
            examples, policy.context, whole_context=defaults.is_toy(config.model)
        )
        batches = packing.packed_batches(
            examples, config.batch, length=length, seed=config.seed, mesh=run.mesh
        )
        per_batch = packing.examples_per_batch(examples, config.batch, length=length)
        steps = defaults.total_steps(config, len(examples), per_batch, source.sft_steps)

        optimizer = config.adamw(steps)
        trained = trainable.make_trainable(config, policy.params)
        update = step.make_step(
            objectives.sft(policy.model),
            optimizer,
            micro_batches=config.micro_batches,
            merge=trained.merge,
            donate=not config.debug_nans,
        )
        key = jax.random.key(config.seed)
        train_state = state.create(trained.params, optimizer, key)
        roles = lambda train_state: {"policy": train_state.params}
        loop = LoopState(0, train_state, {"data": batches})
        loop = run.restore(loop, roles(train_state), total=steps, rate=config.rate)
        train_state = loop.state
        work = run_plan.Workload.of(
            examples,
            policy,
            kind=Demonstration,
            unit="conversations",
            steps=steps,
            batch=per_batch,
            all_turns=config.all_turns,
            packed=f"packed in {config.batch} rows of {length:,} tokens",
        )
        run_plan.show(run, config, policy, roles(train_state), work)
        measure = held_out_metrics.conversations(
            config, run, policy.model, held_out, trained.parameters
        )
        run.evaluate(loop, roles(train_state), measure)

        for i in run.steps(loop.step, steps):
            batch = next(batches)
            placed = sharding.place_batch(batch, run.mesh)
            train_state, metrics = update(train_state, placed)
            run.log(i, update=metrics, tokens=batch.tokens.size, rows=batches.rows)
            loop = LoopState(i + 1, train_state, {"data": batches})
            run.evaluate(loop, roles(train_state), measure)
            run.checkpoint(loop, roles(train_state))

        train_state = run.exported_state(loop, roles(train_state))
        params = trained.parameters(train_state.params)
        trainable.save(config, run.folder, policy, params, train_state.params)
        return run.finish(run.results())


def tokenized_examples(
    config: Config, source: datasets.Dataset, policy: policies.Policy, run: Run
) -> tuple[Sequence[Example], Sequence[Example]]:
    """The tokenized conversations, training and held-out ones.

    Raises:
      ValueError: too few for a batch, without a repetition of the data.
    """
    records, held_out = source.demonstrations()
    held_out_groups.check_split(config, held_out)
    token = masked_token(config, policy)

    def tokenize(records: Sequence[Any], **names: Any) -> Sequence[Example]:
        rows = datasets.tokenize_records(
            *(config, records, policy), all_turns=config.all_turns, **names
        )
        return rows if token is None else dataset_ops.mask_before_token(rows, token)

    examples = tokenize(records, note=run.note, name="train")
    batch_size.check_size(config.batch, len(examples), may_repeat=True)
    run.describe_data(source.accounts())
    return examples, tokenize(
        held_out, note=run.say, name=f"{run.experiment}: held out"
    )


def masked_token(config: Config, policy: policies.Policy) -> int | None:
    """The id of the token of --mask-before; None without the flag.

    Raises:
      ValueError: the tokenizer has no such token, or texts may not hold it.
    """
    if not config.mask_before:
        return None
    if config.mask_before not in policy.tokenizer.get_vocab():
        raise ValueError(
            f"--mask-before {config.mask_before}: the tokenizer of {config.model} has "
            "no such token; jaxalign.pipeline.added_tokens adds one"
        )
    if not config.keep_special_tokens:
        raise ValueError(
            f"--mask-before {config.mask_before} needs --keep-special-tokens: without "
            "it, rows whose texts hold the token are dropped"
        )
    return tokenizers.token_id(policy.tokenizer, config.mask_before)


if __name__ == "__main__":
    launch(main, Config)
