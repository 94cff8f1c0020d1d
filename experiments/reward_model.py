"""Reward model from preferences: Bradley-Terry on a scalar score of each answer.

    loss = -log sigmoid(score(chosen) - score(rejected))

The data are pairs, or rankings of K answers; all pairs of a ranking are one element of
the batch, with one forward pass for each answer (InstructGPT, Ouyang et al. 2022,
arXiv:2203.02155). Answers to a prompt share its tokens, and rows hold several prompts,
so that --batch is the mean number of pairs or rankings in a step.

The model is the policy's trunk with a new scalar head, read at the answer's last token.
After training the head is normalized so that the initial policy's own answers to
--normalize-samples training prompts have scores of mean 0 and standard deviation 1
(Ziegler et al. 2019, arXiv:1909.08593, section 2.1, with 256): one KL coefficient then
suits every reward model. normalisation.json keeps the scale, as only the sigmoid of an
unnormalized score difference is a probability (--ensemble llama2 needs it).

    python -m experiments.reward_model --model runs/sft/policy --data preferences.jsonl

With --safety-weight a second head learns which answers are unsafe, from the rows'
`chosen_unsafe` and `rejected_unsafe` (Llama 2); OUT/unsafe has it, as log-odds.

With --soft-labels of a weaker model, --confidence C mixes the model's own preferences
into them, so that it may overrule what it is sure is wrong (Burns et al. 2023,
arXiv:2312.09390); C rises from 0 over the first tenth of the steps. The held-out loss
is without it.

Held-out metrics, of at most --eval-rows pairs, at the start, at the end and every
--eval-every steps: `eval/loss`, Bradley-Terry's (of pairs, also where rankings train),
`eval/accuracy` with its 95 % interval over prompts, and `eval/margin`, the mean of
score(chosen) - score(rejected) before normalization; by fields of the rows with
--split-by.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import jax
import numpy as np

from jaxalign import losses, sharding, streams
from jaxalign.batches import AnswerBatch, PreferenceBatch, RankingBatch
from jaxalign.data import dataset_ops, packing
from jaxalign.data.examples import Example
from jaxalign.data.records import Preference, Ranking
from jaxalign.models import heads, lora
from jaxalign.pipeline import (
    datasets,
    held_out_groups,
    held_out_metrics,
    model_folders,
    policies,
    reward_models,
    run_plan,
    safety_head,
    trainable,
)
from jaxalign.rewards import reward_model
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loggers import LogFunction, Logger
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig
from jaxalign.training import objectives, state, step
from jaxalign.types import Params, ScalarModel

CONFIDENCE_WARMUP = 0.1  # of the steps, over which --confidence rises

RANKING_LOSSES = {
    "all_pairs": losses.all_pairs_bradley_terry,
    "plackett_luce": losses.plackett_luce,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(OfflineConfig):
    """A Bradley-Terry reward model."""

    EXPERIMENT: ClassVar[str] = "reward_model"
    RANGES: ClassVar = {"confidence": flags.SHARE}
    center: float = 0.0
    """Weight of (score(chosen) + score(rejected))^2, which keeps scores near 0; pairs
    only."""
    soft_labels: bool = False
    """Train on the pairs' soft labels (`label_prob`), as experiments.judge writes them,
    in place of margins."""
    confidence: float = 0.0
    """With --soft-labels: weight, in [0, 1], of the model's own preferences in the
    labels that it trains on (weak-to-strong generalization)."""
    normalize_samples: int = 256
    """Answers of --model to training prompts, over which scores are normalized to mean
    0 and standard deviation 1."""
    safety_weight: float = 0.0
    """Weight of the auxiliary safety loss, on the labels of the answers; pairs only."""
    ranking_loss: Literal["all_pairs", "plackett_luce"] = "all_pairs"
    """The loss of rankings."""
    eval_rows: int = 8192


def main(
    config: Config, loggers: Sequence[Logger | LogFunction] = ()
) -> dict[str, float]:
    """Trains on pairs or rankings; writes the model to OUT/reward.

    Args:
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.

    Returns:
      Held-out metrics (`eval/...`), of which the accuracy has a 95 % interval over
      prompts, not pairs, of this one model; and the last step's (`train/...`).

    Raises:
      ValueError: no held-out pairs, or bad data or flags.
    """
    config = defaults.resolve(config)
    if config.confidence and not config.soft_labels:
        raise ValueError("--confidence needs --soft-labels, which it is mixed with")
    with Run(config, "reward_model", loggers) as run:
        source = datasets.load(config)
        policy = policies.load(config, source, run.mesh)
        policy = trainable.with_frozen_base(config, policy)
        train, held_out, kind = read_data(config, run, source, policy)
        if config.soft_labels:
            dataset_ops.check_soft_labels(train)
        batches = packing.preference_batches(
            train,
            config.batch,
            kind=kind,
            seed=config.seed,
            shares_prompts=policy.config.supports_shared_prompts,
            micro_batches=config.micro_batches,
            mesh=run.mesh,
        )
        steps = defaults.total_steps(config, len(train), config.batch)

        model = heads.scalar_model(policy.config)
        key = jax.random.key(config.seed)
        start = trainable.add_scalar_head(
            model, streams.key(key, "head"), policy.params
        )
        if config.safety_weight:
            start = heads.add_safety_head(streams.key(key, "safety head"), start)
        trained = trainable.make_trainable(config, start)
        optimizer = config.adamw(steps)
        update = step.make_step(
            objective(config, model, kind, train),
            optimizer,
            micro_batches=config.micro_batches,
            merge=trained.merge,
            donate=not config.debug_nans,
        )
        train_state = state.create(trained.params, optimizer, key)
        roles = lambda train_state: {"reward": train_state.params}
        loop = LoopState(0, train_state, {"data": batches})
        loop = run.restore(loop, roles(train_state), total=steps, rate=config.rate)
        train_state = loop.state
        work = run_plan.Workload.of(
            train,
            policy,
            kind=kind,
            unit="pairs" if kind is Preference else "rankings",
            steps=steps,
            batch=config.batch,
        )
        run_plan.show(run, config, policy, roles(train_state), work)
        parameters: Callable[[Params], Params] = trained.parameters
        if config.safety_weight:
            parameters = safety_head.score_parameters(trained.parameters)
        measure = held_out_metrics.scores(
            *(config, run, model, held_out, pair_loss(config), parameters),
            center=config.center,
        )
        if config.safety_weight:
            measure = safety_head.with_recall(
                measure, config, run, model, held_out, trained.parameters
            )
        run.evaluate(loop, roles(train_state), measure)

        for i in run.steps(loop.step, steps):
            batch = next(batches)
            placed = sharding.place_batch(batch, run.mesh)
            inputs = loss_inputs(config, i, steps)
            train_state, metrics = update(train_state, placed, *inputs)
            run.log(i, update=metrics, tokens=token_count(batch), rows=batches.rows)
            loop = LoopState(i + 1, train_state, {"data": batches})
            run.evaluate(loop, roles(train_state), measure)
            run.checkpoint(loop, roles(train_state))

        train_state = run.exported_state(loop, roles(train_state))
        merged = lora.merge(trained.parameters(train_state.params))
        if config.safety_weight:
            merged, unsafe = heads.split_heads(merged)
            model_folders.save_scalar(
                run.folder / "unsafe", model, unsafe, policy, config=config
            )
        reward = model, merged
        scores = reward_models.initial_policy_scores(
            policy,
            reward,
            train,
            count=config.normalize_samples,
            max_new_tokens=source.max_new_tokens,
            seed=config.seed,
            note=run.note,
        )
        model_folders.save_scalar(
            run.folder / "reward",
            model,
            reward_model.normalize(reward[1], scores),
            policy,
            scale=reward_model.fit_scale(scores),
            config=config,
        )
        return run.finish(run.results())


def read_data(
    config: Config, run: Run, source: datasets.Dataset, policy: policies.Policy
) -> tuple[Sequence[Example], Sequence[Example], type[Preference] | type[Ranking]]:
    """Tokenized training pairs or rankings, held-out pairs, and the kind that trains.

    Raises:
      ValueError: nothing is held out, or no held-out row has the field --split-by.
    """
    train, held_out = datasets.tokenized_pairs(config, source, policy, run.note)
    datasets.check_held_out(held_out, "the reward model's accuracy")
    held_out_groups.check_split(config, held_out)
    kind: type[Preference] | type[Ranking] = Preference
    if source.has_rankings:
        kind = Ranking
        rankings = source.rankings()[0]
        train = datasets.tokenize_records(
            config, rankings, policy, run.note, "rankings"
        )
    run.describe_data(source.accounts())
    return train, held_out, kind


def pair_loss(config: Config) -> objectives.RewardLoss:
    """The loss of pairs: by their rating margins, or by soft labels if told."""
    if config.soft_labels:
        return objectives.soft_label_loss
    return objectives.hard_label_loss


def loss_inputs(config: Config, done: int, steps: int) -> tuple[np.float32, ...]:
    """What the training loss is given beside a batch: --confidence after some steps.

    Args:
      done: steps before this one, of `steps`.
    """
    if not config.confidence:
        return ()
    rise = done / max(CONFIDENCE_WARMUP * steps, 1.0)
    return (np.float32(config.confidence * min(rise, 1.0)),)


def objective(
    config: Config,
    model: ScalarModel,
    kind: type[Preference] | type[Ranking],
    train: Sequence[Example],
) -> step.Objective:
    """The training objective: Bradley-Terry for pairs, --ranking-loss for rankings.

    Raises:
      ValueError: --safety-weight without labels, or with rankings.
    """
    if config.safety_weight and kind is Ranking:
        raise ValueError("--safety-weight needs pairs, whose answers have labels")
    loss = objectives.confidence_loss if config.confidence else pair_loss(config)
    if config.safety_weight:
        return objectives.reward_with_safety(
            model,
            safety_head.unsafe_labels(train),
            weight=config.safety_weight,
            center=config.center,
            loss=loss,
        )
    if kind is Preference:
        return objectives.reward(model, center=config.center, loss=loss)
    return objectives.ranking(model, loss=RANKING_LOSSES[config.ranking_loss])


def token_count(batch: AnswerBatch | PreferenceBatch | RankingBatch) -> int:
    """Token positions in a batch, padding included."""
    if isinstance(batch, PreferenceBatch):
        return 2 * int(batch.chosen.tokens.size)
    rows = batch.sequences if isinstance(batch, AnswerBatch) else batch.answers
    return int(rows.tokens.size)


if __name__ == "__main__":
    launch(main, Config)
