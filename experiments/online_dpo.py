"""Online DPO, IPO and their family: pairs of the policy's own answers, freshly scored.

Each iteration, `--samples` answers to each prompt are drawn from the policy as it is
and scored; the best and the worst of each prompt are a pair, and any pairwise loss that
`experiments.dpo` knows by name takes its steps on them, against the frozen reference. A
prompt whose answers all have one score is a tie, and dropped. The loss is of log-probs
at temperature 1, as everywhere in preference learning, whatever the sampling's.

    python -m experiments.online_dpo --model runs/sft/policy --reward runs/rm/reward
    python -m experiments.online_dpo --model FOLDER --loss ipo --tau 0.1 --samples 4

A loss of your own is passed, as in `experiments.dpo`:

    online_dpo.main(online_dpo.Config(...), loss=lambda p: losses.ipo(*p[:4], tau=0.1))

Metrics, of the answers sampled in an iteration: `reward` their mean score, `gap` how
much better the best of a prompt is than its worst, `ties` the share of prompts without
a pair, `eos` the share of answers that ended, `kl` and `kl_k3` the mean over answers of
k1 and k3 to the reference (nats), `length`, `logp_gap` the largest difference of the
sampler's log-probs from the trainer's (nats). Of the last update: `accuracy` the share
of pairs whose log-ratio is higher for the better answer, `logratio/margin`
by how much, `logratio/chosen` and `logratio/rejected` the log-ratios to the reference
(nats), `rewards/...` beta times these where the loss has beta, and `updates`, how many
there were in the iteration.

Reference: Guo et al. 2024, arXiv:2402.04792 (OAIF: online DPO, IPO and SLiC);
Calandriello et al. 2024, arXiv:2403.08635 (online IPO).
"""

import dataclasses
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from experiments import dpo
from jaxalign import streams
from jaxalign.batches import PreferenceBatch, TokenBatch
from jaxalign.pipeline import online, trainable
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.run import Run
from jaxalign.training import objectives, reward_shift, state, step
from jaxalign.training.preference_loss import PairwiseLoss
from jaxalign.types import Array, Params


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(dpo.LossFlags, online.OnlineConfig):
    """Online preference optimisation."""

    EXPERIMENT: ClassVar[str] = "online_dpo"
    RANGES: ClassVar = {"samples": flags.FROM_2}
    prompts: int = 32
    """Prompts in an iteration, over all devices."""
    samples: int = 2
    """Answers to each prompt, of which the best and the worst are a pair."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an iteration needs, beside the state.

    Attributes:
      update: the compiled step on a minibatch of pairs, given the reference.
      reference: its parameters, or None where the loss has none.
    """

    config: Config
    setting: online.RolloutSetup
    tuned: trainable.Trainable
    update: step.Step
    reference: Params | None


@partial(jax.jit, static_argnames="samples")
def best_and_worst(
    sequences: TokenBatch, score: Array, *, samples: int
) -> PreferenceBatch:
    """A pair a prompt; of equal scores the first answer counts, and a tie is not valid.

    `margin` is by how much the scores differ, `row` the prompt's place in this batch.

    Args:
      sequences: answers, `samples` to a prompt side by side [P * samples T].
      score: of each answer.
    """
    of_prompts = score.reshape(-1, samples)
    first = jnp.arange(len(of_prompts)) * samples
    take = lambda which: jax.tree.map(lambda x: x[first + which], sequences)
    gap = of_prompts.max(axis=1) - of_prompts.min(axis=1)
    return PreferenceBatch(
        chosen=take(of_prompts.argmax(axis=1)),
        rejected=take(of_prompts.argmin(axis=1)),
        margin=gap,
        row=jnp.arange(len(of_prompts)),
        valid=gap > 0,
    )


def iterate(
    parts: Parts,
    current: state.TrainState,
    iteration: int,
    carried: list[float] | None,
) -> tuple[state.TrainState, list[float] | None, dict[str, Array]]:
    """One iteration: answers, their pairs, and a few epochs of minibatches.

    Args:
      carried: the running mean of rewards, where the loss needs it.
    """
    config, setting = parts.config, parts.setting
    noise = streams.key(current.key, "rollouts", iteration)
    order = streams.key(current.key, "minibatches", iteration)
    params = parts.tuned.parameters(current.params)
    drawn = online.sample_and_score(setting, params, noise)
    _, _, seen = online.logprobs(setting, params, drawn)
    pairs = best_and_worst(drawn.sequences, drawn.score, samples=config.samples)
    shift = reward_shift.restore(setting.mesh, carried) if carried else None

    def update(
        now: state.TrainState, part: PreferenceBatch
    ) -> tuple[state.TrainState, dict[str, Array]]:
        nonlocal shift
        if shift is None:
            return parts.update(now, part, parts.reference)
        now, metrics = parts.update(now, part, parts.reference, shift.mean)
        metrics["reward_shift"] = shift.mean
        shift = reward_shift.update(shift, metrics)
        return now, metrics

    current, metrics = online.passes(config, update, current, pairs, order)
    found = {"gap": pairs.margin.mean(), "ties": 1.0 - pairs.valid.mean()}
    carried = None if shift is None else reward_shift.to_json(shift)
    return current, carried, drawn.numbers | seen | found | metrics


def main(config: Config, loss: objectives.PairLoss | None = None) -> dict[str, float]:
    """Trains on pairs of its own answers; writes the model to OUT/policy.

    Args:
      loss: takes the place of the loss that the configuration names; see
        `experiments.dpo`. Pairs that tie are given too, and not counted.
    """
    chosen = dpo.configured_loss(config, loss)
    check(config, chosen)
    config = defaults.resolve(config)
    with Run(config, "online_dpo") as run:
        setting = online.prepare(
            config, run, prompts=config.prompts, samples=config.samples
        )
        policy, adam = setting.policy, config.adamw()
        tuned = trainable.make_trainable(config, policy.params)
        update = step.make_step(
            objectives.preference(policy.model, chosen),
            adam,
            merge=tuned.merge,
            donate=not config.debug_nans,
        )
        compares = chosen.reference != "none" or config.reference_metrics
        reference = policy.params if compares else None
        parts = Parts(config, setting, tuned, update, reference)
        current = state.create(tuned.params, adam, jax.random.key(config.seed))
        current = online.train(
            run,
            setting,
            current,
            partial(iterate, parts),
            roles=lambda params: {"policy": params},
            carried=lambda: [0.0, 0.0] if chosen.needs_reward_shift else None,
        )
        params = tuned.parameters(current.params)
        trainable.save(config, run.folder, policy, params, current.params)
        return run.finish(run.last)


def check(config: Config, loss: PairwiseLoss) -> None:
    """Refuses a configuration that cannot be, before anything is computed.

    Raises:
      ValueError: prompts that do not divide into minibatches, or a
        loss that is not of pairs or cannot drop ties.
    """
    if loss.unpaired:
        raise ValueError(
            f"the loss {loss.name} is of single answers, not of pairs: choose another, "
            "such as dpo or ipo"
        )
    if loss.couples_batch:
        raise ValueError(
            f"the loss {loss.name} sorts all pairs of a batch, so that ties cannot "
            "be dropped from it: choose another, such as dpo or ipo"
        )
    online.check_minibatches(config, config.prompts, "pairs (--prompts)")


if __name__ == "__main__":
    launch(main, Config)
