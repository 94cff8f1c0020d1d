"""GRPO and its relatives: advantages from groups of answers, and no value model.

For each prompt, `--samples` answers are sampled and scored; an answer's advantage is
its reward relative to the others'. `--method` names the method
(`jaxalign.training.group_methods`): grpo, dr_grpo, rloo, reinforce_plus_plus, dapo,
gspo, cispo. From Python a method may be passed. Each has the KL, beta and clip range of
its paper; numbers.json has those of the run.

In later updates on the same answers (--epochs, --minibatches) every term is weighted by
an importance ratio: of the token, which leaves the prefixes as they were sampled; of
the whole answer (rloo), which is exact; or of their geometric mean (gspo). Clipping
adds a bias on purpose. A KL in the reward stays that of the policy that sampled.

An answer without an end token is penalized by --missing-eos-penalty, which no paper of
these methods has; not where the method penalizes length itself (dapo, cispo).

    python -m experiments.grpo --model runs/sft/policy --reward runs/reward_model/reward
    python -m experiments.grpo --model FOLDER --data gsm8k --data-path FOLDER

Metrics of an iteration, of which those of updates are the last one's, those of held-out
prompts (`eval/...`), and the rows of samples.jsonl: docs/metrics.md.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxalign import sharding, streams
from jaxalign.batches import GroupBatch
from jaxalign.pipeline import (
    group_batch,
    held_out_metrics,
    online,
    rollout_samples,
    rollout_scores,
    rollouts,
    run_plan,
    trainable,
)
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.rewards import shaping
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.loggers import LogFunction, Logger
from jaxalign.runtime.loop import LoopState
from jaxalign.runtime.run import Run
from jaxalign.training import group_methods, objectives, step
from jaxalign.training import state as train_state
from jaxalign.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(online.OnlineConfig):
    """Group relative policy optimization and its relatives."""

    EXPERIMENT: ClassVar[str] = "grpo"
    method: str = "grpo"
    """How rewards become advantages and a loss, by name."""
    prompts: int = 8
    """Prompts in an iteration, over all devices."""
    samples: int = 8
    """Answers to each prompt."""
    draws: int = 4
    """Most batches of prompts in an iteration of dynamic sampling (dapo, cispo)."""
    kl_stop: float | None = None
    """Ends an iteration's epochs once approxkl is above (nats per token)."""
    beta: float | None = None
    """Coefficient of the KL to the reference; by default the method's own, which
    `jaxalign.training.group_methods` lists."""

    @property
    def rows(self) -> int:
        """Answers in an iteration."""
        return self.prompts * self.samples


def main(
    config: Config,
    method: group_methods.GroupMethod | None = None,
    reward: Reward | None = None,
    loggers: Sequence[Logger | LogFunction] = (),
) -> dict[str, Any]:
    """Trains a policy with a group method, and writes it to OUT/policy.

    Args:
      method: in place of the one that `config.method` names.
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.
    """
    method = method or group_methods.get_method(config.method)
    check(config, method)
    config = defaults.resolve(config)
    with Run(config, "grpo", loggers) as run:
        setup = online.prepare(
            *(config, run),
            prompts=config.prompts,
            samples=config.samples,
            reward=reward,
        )
        policy, prompts, adam = setup.policy, setup.prompt_batches, config.adamw()
        trained = trainable.make_trainable(config, policy.params)
        on_policy = is_on_policy(config, method)
        beta = kl_coefficient(config, method)
        objective = objectives.group(
            policy.model,
            method.loss,
            method.mean(setup.sampling.max_new_tokens),
            kl_coef=beta if method.kl == "loss" else 0.0,
            on_policy=on_policy,
            temperature=config.temperature,
        )
        update = step.make_step(
            objective, adam, merge=trained.merge, donate=not config.debug_nans
        )
        state = train_state.create(trained.params, adam, jax.random.key(config.seed))
        iterators = {"prompts": prompts}
        loop = run.restore(
            LoopState(0, state, iterators),
            {"policy": state.params},
            total=config.steps,
            rate=config.rate,
        )
        state = loop.state
        run_plan.show_online(run, config, setup, {"policy": state.params})
        measure = held_out_metrics.rollouts(config, run, setup, trained.parameters)
        run.evaluate(loop, {"policy": state.params}, measure)
        for i in run.steps(loop.step, config.steps):
            # the rate follows iterations, even where --kl-stop left updates out
            state = online.set_update_count(state, i * config.updates)
            shuffle_key = streams.key(state.key, "minibatches", i)
            params = trained.parameters(state.params)

            batches: list[GroupBatch] = []
            informative: list[Array] = []
            rollout_metrics: list[dict[str, Array]] = []
            while not enough_prompts(config, method, informative):
                # sample answers
                rollout_key = streams.key(state.key, "rollouts", i, len(batches))
                rollout = online.sample_rollout(
                    setup, params, next(prompts), rollout_key
                )

                # log-probs, and beside them on the host the rewards; advantages
                diagnostics: dict[str, Array] = {}
                if on_policy:  # the update itself computes the policy's log-probs
                    logp = rollout.sampler_logp
                    ref_logp = online.reference_logprobs(setup, rollout)
                else:
                    logp, ref_logp, diagnostics = online.rollout_logprobs(
                        setup, params, rollout
                    )
                scores = rollout_scores.score_rollout(setup, rollout)
                score = penalized_score(
                    *(config, method, rollout, scores.score),
                    setup.sampling.max_new_tokens,
                )
                advantage = group_batch.group_advantages(
                    *(method, rollout.batch, score, logp, ref_logp),
                    beta=beta,
                    samples=config.samples,
                )
                if not batches:
                    samples = rollout_samples.first_samples(
                        *(config, setup, rollout),
                        rewards=scores.by_name or {"reward": scores.reward},
                        logps=(logp, ref_logp),
                        advantage=advantage,
                        score=score,
                    )
                batches.append(GroupBatch(rollout.batch, logp, ref_logp, advantage))
                informative.append(
                    group_batch.informative_prompts(scores.reward, config.samples)
                )
                rollout_metrics.append(
                    {
                        **rollout_scores.reward_metrics(scores.reward, rollout.ended),
                        **scores.metrics(),
                        "informative": informative[-1].mean(),
                        **diagnostics,
                    }
                )
            batch = batches[0]
            if method.dynamic_sampling:
                batch = group_batch.select_informative(
                    batches, informative, config.prompts
                )

            # some epochs of minibatch updates
            updates = []
            for minibatch in rollouts.minibatches(
                batch,
                shuffle_key,
                epochs=config.epochs,
                parts=config.minibatches,
                blocks=config.rows // setup.answers_per_block,
            ):
                state, metrics = update(state, minibatch)
                updates.append(metrics)
                if online.exceeds_kl(metrics, config.kl_stop):
                    break

            run.log(
                i,
                rollout=rollout_metrics[0],
                update=online.summarize_updates(updates),
                tokens=setup.tokens_per_iteration,
                rows=prompts.rows,
                samples=samples,
            )
            loop = LoopState(i + 1, state, iterators)
            run.evaluate(loop, {"policy": state.params}, measure)
            run.checkpoint(loop, {"policy": state.params})
            online.warn_logprob_mismatch(run.last, config.logp_gap)
        state = run.exported_state(loop, {"policy": state.params})
        params = trained.parameters(state.params)
        trainable.save(config, run.folder, policy, params, state.params)
        return run.finish(run.results() | method.hyperparameters(config.beta))


def enough_prompts(
    config: Config, method: group_methods.GroupMethod, informative: list[Array]
) -> bool:
    """Whether an iteration has enough prompts, or may draw no more batches of them.

    Args:
      informative: of each batch drawn so far, whether its prompts are informative; with
        dynamic sampling others do not count, and this waits for the last batch.
    """
    if not informative or not method.dynamic_sampling:
        return bool(informative)
    count = sum(int(sharding.to_host(x).sum()) for x in informative)
    return count >= config.prompts or len(informative) >= config.draws


def penalized_score(
    config: Config,
    method: group_methods.GroupMethod,
    rollout: online.Rollout,
    reward: Array,
    max_new_tokens: int,
) -> Array:
    """The reward of each answer less the penalty for its length or missing end [A].

    Args:
      reward: of each answer [A].
      max_new_tokens: the longest answer, in tokens.
    """
    if not method.overlong:
        return online.penalize_missing_eos(config, reward, rollout.ended)
    return shaping.penalize_overlong(
        reward,
        rollout.sequences.loss_mask.sum(axis=1),
        max_length=max_new_tokens,
        interval=method.overlong * max_new_tokens,
    )


def kl_coefficient(config: Config, method: group_methods.GroupMethod) -> float:
    """The coefficient of the KL: --beta, or else the method's own."""
    return method.beta if config.beta is None else config.beta


def is_on_policy(config: Config, method: group_methods.GroupMethod) -> bool:
    """Whether an iteration has a single update, which needs no log-probs before it."""
    single = config.epochs == config.minibatches == 1
    return single and method.kl == "loss" and not method.dynamic_sampling


def check(config: Config, method: group_methods.GroupMethod) -> None:
    """Refuses a configuration that cannot run, before anything is computed.

    Raises:
      ValueError: the answers do not divide into the minibatches, or are too few for
        the method.
    """
    online.check_minibatches(config, config.rows, "answers (--prompts times --samples)")
    rewards = jax.ShapeDtypeStruct((config.prompts, config.samples), jnp.float32)
    with flags.prefix_errors(f"--samples {config.samples}"):
        jax.eval_shape(method.advantage, rewards)


if __name__ == "__main__":
    launch(main, Config)
