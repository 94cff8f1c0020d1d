"""Online DPO, IPO and their family: pairs of the policy's own, freshly scored answers.

In each iteration `--samples` answers to each prompt are sampled from the current policy
and scored; the best and the worst answer to each prompt are a pair, and any pairwise
loss of `experiments.dpo` is minimized on the pairs, against the frozen reference. A
prompt whose answers all have one score is a tie, and is dropped. The loss is of
log-probs at temperature 1, as everywhere in preference learning, whatever the sampling
temperature.

    python -m experiments.online_dpo --model runs/sft/policy --reward runs/rm/reward
    python -m experiments.online_dpo --model FOLDER --loss ipo --tau 0.1 --samples 4

A loss of your own is passed, as in `experiments.dpo`:

    online_dpo.main(online_dpo.Config(...), loss=lambda p: losses.ipo(*p.sums, tau=0.1))

Metrics of the rollout:
  reward, reward_std  mean and deviation of the rewards, before any penalty
  rewards/NAME/mean, rewards/NAME/std
                    of each function of one's own, and of each term of a sum
  eos, truncated    fractions of answers with, and without, an end token
  length            mean tokens in an answer
  kl, kl_k3         mean over answers of k1, k3 to the reference (nats per answer)
  logp_gap          largest difference of the sampler's and trainer's log-probs (nats)
  gap               mean difference of the scores of a prompt's best and worst answers
  ties              fraction of prompts without a pair
and of the last update:
  accuracy          fraction of pairs whose log-ratio is higher for the better answer
  logratio/chosen, logratio/rejected, logratio/margin
                    log-ratios to the reference, and their difference (nats)
  rewards/...       beta times these, where the loss has beta
  updates           optimizer steps of the iteration

Held-out metrics, of one answer to each of at most --eval-rows held-out prompts, at the
start, at the end and every --eval-every iterations: `eval/reward` (before any penalty)
with its 95 % interval over prompts, `eval/reward_std`, `eval/kl` (k1, nats per answer),
`eval/length`, `eval/entropy` (nats per token) and `eval/eos`, as above.

Reference: Guo et al. 2024, arXiv:2402.04792 (OAIF: online DPO, IPO and SLiC);
Calandriello et al. 2024, arXiv:2403.08635 (online IPO).
"""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxalign import streams
from jaxalign.batches import PreferenceBatch, TokenBatch
from jaxalign.pipeline import (
    held_out_metrics,
    loss_flags,
    online,
    rollout_samples,
    rollout_scores,
    rollouts,
    run_plan,
    trainable,
)
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loggers import LogFunction, Logger
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.training import objectives, reward_shift, step
from jaxalign.training import state as train_state
from jaxalign.training.preference_loss import PairwiseLoss, UnpairedLoss
from jaxalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(loss_flags.LossFlags, online.OnlineConfig):
    """Online preference optimization."""

    EXPERIMENT: ClassVar[str] = "online_dpo"
    RANGES: ClassVar = {"samples": flags.FROM_2}
    prompts: int = 32
    """Prompts in an iteration, over all devices."""
    samples: int = 2
    """Answers to each prompt, of which the best and the worst are a pair."""


def main(
    config: Config,
    loss: objectives.PairLoss | None = None,
    reward: Reward | None = None,
    loggers: Sequence[Logger | LogFunction] = (),
) -> dict[str, float]:
    """Trains a policy on pairs of its own answers, and writes it to OUT/policy.

    Args:
      loss: in place of the one that `config.loss` names; see `experiments.dpo`. Its
        pairs include ties, whose terms do not count.
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.
    """
    pair_loss = loss_flags.configured_loss(config, loss)
    check(config, pair_loss)
    config = defaults.resolve(config)
    with Run(config, "online_dpo", loggers) as run:
        setup = online.prepare(
            *(config, run),
            prompts=config.prompts,
            samples=config.samples,
            reward=reward,
        )
        policy, prompts, adam = setup.policy, setup.prompt_batches, config.adamw()
        trained = trainable.make_trainable(config, policy.params)
        objective = objectives.for_loss(policy.model, pair_loss)
        update = step.make_step(
            objective, adam, merge=trained.merge, donate=not config.debug_nans
        )
        runs_reference = pair_loss.needs_reference or config.reference_metrics
        reference = policy.params if runs_reference else None
        state = train_state.create(trained.params, adam, jax.random.key(config.seed))
        has_shift, iterators = pair_loss.needs_reward_shift, {"prompts": prompts}
        shift = reward_shift.restore(run.mesh) if has_shift else None
        loop = run.restore(
            LoopState(0, state, iterators, {"shift": shift}),
            {"policy": state.params},
            total=config.steps,
            rate=config.rate,
        )
        state = loop.state
        if has_shift and loop.step:
            shift = reward_shift.restore(run.mesh, loop.extras["shift"])
        run_plan.show_online(run, config, setup, {"policy": state.params})
        measure = held_out_metrics.rollouts(config, run, setup, trained.parameters)
        run.evaluate(loop, {"policy": state.params}, measure)
        for i in run.steps(loop.step, config.steps):
            # the learning rate follows the iterations
            state = online.set_update_count(state, i * config.updates)
            rollout_key = streams.key(state.key, "rollouts", i)
            shuffle_key = streams.key(state.key, "minibatches", i)
            params = trained.parameters(state.params)

            # sample answers, score them beside the log-probs, pair best and worst
            rollout = online.sample_rollout(setup, params, next(prompts), rollout_key)
            *logps, diagnostics = online.rollout_logprobs(setup, params, rollout)
            scores = rollout_scores.score_rollout(setup, rollout)
            score = online.penalize_missing_eos(config, scores.score, rollout.ended)
            pairs = best_and_worst(rollout.sequences, score, samples=config.samples)
            samples = rollout_samples.first_samples(
                *(config, setup, rollout),
                rewards=scores.by_name or {"reward": scores.reward},
                logps=tuple(logps),
                score=score,
            )

            # some epochs of minibatch updates
            updates = []
            for minibatch in rollouts.minibatches(
                pairs, shuffle_key, epochs=config.epochs, parts=config.minibatches
            ):
                if shift is None:
                    state, metrics = update(state, minibatch, reference)
                else:
                    state, metrics = update(state, minibatch, reference, shift.mean)
                    metrics["reward_shift"] = shift.mean
                    shift = reward_shift.update(shift, metrics)
                updates.append(metrics)

            run.log(
                i,
                rollout=rollout_scores.reward_metrics(scores.reward, rollout.ended),
                rewards=scores.metrics(),
                diagnostics=diagnostics,
                pairs={"gap": pairs.margin.mean(), "ties": 1.0 - pairs.valid.mean()},
                update=online.summarize_updates(updates),
                tokens=setup.tokens_per_iteration,
                rows=prompts.rows,
                samples=samples,
            )
            loop = LoopState(i + 1, state, iterators, {"shift": shift})
            run.evaluate(loop, {"policy": state.params}, measure)
            run.checkpoint(loop, {"policy": state.params})
            online.warn_logprob_mismatch(run.last, config.logp_gap)
        state = run.exported_state(loop, {"policy": state.params})
        params = trained.parameters(state.params)
        trainable.save(config, run.folder, policy, params, state.params)
        return run.finish(run.results())


@partial(jax.jit, static_argnames="samples")
def best_and_worst(
    sequences: TokenBatch, score: Array, *, samples: int
) -> PreferenceBatch:
    """Pairs the best answer to each prompt with its worst; P pairs.

    Of answers with equal scores the first is taken; a prompt whose scores are all equal
    gives a pair that is not `valid`. `margin` is the difference of the scores, and
    `row` the index of the prompt in this batch.

    Args:
      sequences: `samples` answers to each prompt, side by side [P * samples T].
      score: of each answer [P * samples].
    """
    by_prompt = score.reshape(-1, samples)
    first = jnp.arange(len(by_prompt)) * samples
    take = lambda sample: jax.tree.map(lambda x: x[first + sample], sequences)
    gap = by_prompt.max(axis=1) - by_prompt.min(axis=1)
    return PreferenceBatch(
        chosen=take(by_prompt.argmax(axis=1)),
        rejected=take(by_prompt.argmin(axis=1)),
        margin=gap,
        row=jnp.arange(len(by_prompt)),
        valid=gap > 0,
    )


def check(config: Config, loss: PairwiseLoss | UnpairedLoss) -> None:
    """Refuses a configuration that cannot run, before anything is computed.

    Raises:
      ValueError: the prompts do not divide into the minibatches, or the loss is not of
        pairs, or cannot drop ties.
    """
    if isinstance(loss, UnpairedLoss):
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
