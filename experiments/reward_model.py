"""A reward model from preferences: Bradley-Terry on the scores of whole answers.

Data are pairs, or rankings of K answers; all pairs of a ranking are one element of the
batch, with one forward pass an answer (InstructGPT). The answers to a prompt share it,
and rows hold several prompts, so that --batch is their number on average.

Starts from the policy's trunk with a new scalar head; the score is read at the answer's
last token. Afterwards the head is scaled so that the initial policy's own answers to
training prompts, --normalise-samples of them, have mean 0 and standard deviation 1
(Ziegler et al. 2019, arXiv:1909.08593, section 2.1, with 256): so one KL coefficient
suits every reward model. The scale stays beside it in normalisation.json, since the
sigmoid of a score before it is a probability (--ensemble llama2).

    python -m experiments.reward_model --model runs/sft/policy --data preferences.jsonl
"""

import dataclasses
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax
import numpy as np

from jaxalign import losses, sharding, streams
from jaxalign.batches import AnswerBatch, PreferenceBatch, RankingBatch
from jaxalign.data import loader, packing, readers
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.examples import example_prompt_hashes
from jaxalign.data.records import Preference, Ranking
from jaxalign.evaluation import intervals, preference
from jaxalign.models import heads, lora
from jaxalign.pipeline import (
    by_field,
    datasets,
    policies,
    rollouts,
    run_plan,
    trainable,
)
from jaxalign.rewards import reward_model
from jaxalign.runtime import defaults, jsonl
from jaxalign.runtime.config import OfflineConfig, RunConfig, launch, mesh_of
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.training import objectives, state, step
from jaxalign.types import Params, ScalarModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(OfflineConfig):
    """A Bradley-Terry reward model."""

    EXPERIMENT: ClassVar[str] = "reward_model"
    center: float = 0.0
    """Weight of (chosen + rejected)^2, which keeps scores near 0; of pairs only."""
    soft_labels: bool = False
    """Margins are the log-odds of soft labels, as experiments.judge writes them."""
    normalise_samples: int = 256
    """Answers of --model to training prompts, whose scores come to have mean 0 and
    standard deviation 1."""
    ranking_loss: Literal["all_pairs", "plackett_luce"] = "all_pairs"
    """What rankings train with."""
    split_by: str | None = None
    """A field of the rows, such as category: the held-out accuracy of each value."""


def main(config: Config) -> dict[str, float]:
    """Trains on pairs; writes the model to OUT/reward, and its held-out accuracy.

    The accuracy's interval is over prompts, not pairs, and of this one model.

    Raises:
      ValueError: no held-out pairs, or a source's own
        reasons.
    """
    config = defaults.resolve(config)
    with Run(config, "reward_model") as run:
        source = datasets.load(config)
        policy = trainable.with_frozen_base(
            config, policies.load(config, source, run.mesh)
        )
        train, held_out = datasets.tokenized_pairs(config, source, policy, run.note)
        datasets.check_held_out(held_out, "the reward model's accuracy")
        by_field.check_field(config, config.split_by, held_out)
        kind: type[Preference] | type[Ranking] = Preference
        if source.has_rankings:
            kind = Ranking
            train = datasets.tokenize_records(
                config, source.rankings()[0], policy, run.note, "rankings"
            )
        run.describe_data(source.accounts())
        model = heads.scalar_model(policy.config)
        key = jax.random.key(config.seed)
        head = streams.key(key, "head")
        tuned = trainable.make_trainable(
            config, trainable.add_scalar_head(model, head, policy.params)
        )
        batches = packing.preference_batches(
            train,
            config.batch,
            kind=kind,
            seed=config.seed,
            shares_prompts=policy.config.supports_shared_prompts,
            micro_batches=config.micro_batches,
            devices=sharding.shard_count("batch"),
        )
        steps = defaults.total_steps(config, len(train), config.batch)
        adam = config.adamw(steps)
        update = step.make_step(
            objective(config, model, kind),
            adam,
            micro_batches=config.micro_batches,
            merge=tuned.whole,
            donate=not config.debug_nans,
        )
        current = state.create(tuned.params, adam, key)
        roles = lambda now: {"reward": now.params}
        loop = LoopState(0, current, {"data": batches})
        loop = run.restore(loop, roles(current), total=steps, rate=config.rate)
        current = loop.state
        work = run_plan.Workload.of(
            train,
            policy,
            kind=kind,
            unit="pairs" if kind is Preference else "rankings",
            steps=steps,
            batch=config.batch,
        )
        run_plan.show(run, config, policy, roles(current), work)
        for i in run.steps(loop.step, steps):
            batch = next(batches)
            current, metrics = update(current, sharding.place_batch(batch, run.mesh))
            run.log(i, update=metrics, tokens=tokens_of(batch), rows=batches.rows)
            loop = LoopState(i + 1, current, {"data": batches})
            run.checkpoint(loop, roles(current))
        params = lora.merge(tuned.parameters(current.params))
        chosen, rejected = scores(model, params, held_out, config.batch)
        initial = initial_scores(
            config, source, policy, train, (model, params), run.note
        )
        params = reward_model.normalize(params, initial)
        policies.save_scalar(
            run.folder / "reward",
            model,
            params,
            policy,
            scale=reward_model.fit_scale(initial),
            config=config,
        )
        prompts = example_prompt_hashes(held_out)
        accuracy = preference.accuracy(
            chosen, rejected, units=prompts, seed=config.seed
        ).named("accuracy")
        counts = {"pairs": len(chosen), "prompts": len(np.unique(prompts))}
        right = preference.agreement(chosen, rejected)
        of_pairs = (config.split_by, held_out, "accuracy", right)
        parts = by_field.metrics_by_value(*of_pairs, seed=config.seed, share=True)
        return run.finish(run.last | accuracy | counts | parts)


def objective(
    config: Config, model: ScalarModel, kind: type[Preference] | type[Ranking]
) -> step.Objective:
    """What is minimised on pairs, or on rankings."""
    if kind is Preference:
        labels = (
            objectives.soft_label_loss
            if config.soft_labels
            else objectives.hard_label_loss
        )
        return objectives.reward(model, center=config.center, loss=labels)
    return objectives.ranking(model, loss=getattr(losses, config.ranking_loss))


def tokens_of(batch: AnswerBatch | PreferenceBatch | RankingBatch) -> int:
    """How many places for tokens a batch has."""
    if isinstance(batch, PreferenceBatch):
        return 2 * int(batch.chosen.tokens.size)
    rows = batch.sequences if isinstance(batch, AnswerBatch) else batch.answers
    return int(rows.tokens.size)


def scores(
    model: ScalarModel,
    params: Params,
    pairs: Sequence[loader.Example],
    batch_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the chosen and of the rejected answers, [pairs] each."""
    batches = loader.evaluation_batches(pairs, batch_size, kind=Preference)
    score = jax.jit(reward_model.score, static_argnums=0)
    found: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    mesh = sharding.current_mesh()
    for batch in batches:
        batch = batch if mesh is None else sharding.place_batch(batch, mesh)
        valid = sharding.to_host(batch.valid)
        for side, part in zip((batch.chosen, batch.rejected), found, strict=True):
            part.append(sharding.to_host(score(model, params, side))[valid])
    return np.concatenate(found[0]), np.concatenate(found[1])


def initial_scores(
    config: Config,
    source: datasets.Dataset,
    policy: policies.Policy,
    train: Sequence[loader.Example],
    reward: tuple[ScalarModel, Params],
    note: Callable[[str], None],
) -> np.ndarray:
    """Scores of the initial policy's answers to training prompts [normalise_samples].

    Prompts are drawn without repetition, as far as they go, and answered at temperature
    1. Those that leave no room for the data's longest answer are left out, and shown.

    Args:
      train: tokenised pairs or rankings, whose prompts are answered.
      reward: the trained model, not yet normalised.
    """
    context, count = policy.config.context, config.normalise_samples
    order = streams.generator(config.seed, "initial prompts").permutation(len(train))
    found = select_prompts(train, order, count, context - source.max_new_tokens, note)
    asked = found or select_prompts(train, order, count, context - 1, note)
    tokens, lengths = rollouts.pad_rows(asked, context - 1)
    room = min(source.max_new_tokens, context - tokens.shape[1])
    policy = policies.extend_longrope(policy, tokens.shape[1] + room)
    sequences, _, _ = rollouts.sample(
        policy,
        policy.params,
        tokens,
        lengths,
        streams.key(jax.random.key(config.seed), "initial answers"),
        max_new_tokens=room,
        temperature=1.0,
        row_ids=streams.answer_ids([zlib.crc32(row.tobytes()) for row in asked], 1),
        slots=256,
    )
    sequences = jax.tree.map(sharding.to_host, sequences)
    return rollouts.learned_scores(*reward, sequences)


def select_prompts(
    train: Sequence[loader.Example],
    order: np.ndarray,
    count: int,
    limit: int,
    note: Callable[[str], None],
) -> list[np.ndarray]:
    """So many prompts of examples, as tokens; again where there are fewer.

    Args:
      order: in which the examples are looked at.
      limit: the longest prompt, in tokens.
    """
    found: dict[bytes, np.ndarray] = {}
    long: set[bytes] = set()
    for at in order:
        row = train[int(at)].sequences[0]
        prompt = row.tokens[: row.prompt_length].astype(np.int32)
        if len(prompt) > limit:
            long.add(prompt.tobytes())
        else:
            found.setdefault(prompt.tobytes(), prompt)
        if len(found) == count:
            break
    if long and found:  # where none is, all are tried with a shorter answer
        note(
            f"normalisation: {len(found)} prompts answered ({len(long)} longer than "
            f"{limit} tokens left out: they leave no room for an answer)"
        )
    distinct = list(found.values())
    return [distinct[i % len(distinct)] for i in range(count)] if distinct else []


def agreement(
    config: RunConfig, held: Path, reward: Path, batch: int
) -> dict[str, Any]:
    """How well a reward model agrees with held-out preferences, and could at best.

    `expected` is its accuracy over all labels that the annotator could have given,
    where `accuracy` is over those that were sampled; `Bayes` is the best there is.
    Intervals are over prompts, of this one model.

    Args:
      held: the pairs, as `experiments.collect` wrote them.
      reward: the reward model's folder.
    """
    rows = jsonl.read(held)
    pairs, _ = readers.read(held, Preference)
    with jax.set_mesh(mesh_of(config)):
        model, params = policies.load_scalar(reward, config.dtype)
        examples, _ = loader.tokenize(
            pairs,
            policies.configure_tokenizer(config, tokenizers.load(reward)),
            context=model.config.context,
        )
        chosen, rejected = scores(model, params, examples, batch)
    p = np.array([rows[example.row]["p_chosen"] for example in examples])
    right = preference.agreement(chosen, rejected)
    prompts = example_prompt_hashes(examples)
    over = partial(intervals.bootstrap, units=prompts, share=True)
    return {
        "accuracy": over(right),
        "expected": over(right * p + (1 - right) * (1 - p)),
        "Bayes": over(np.maximum(p, 1.0 - p)),
        "pairs": len(p),
        "prompts": len(np.unique(prompts)),
    }


if __name__ == "__main__":
    launch(main, Config)
