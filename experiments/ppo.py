"""PPO against a learned or rule-based reward, with a KL penalty to a reference.

reward per token = -beta * (logp - ref_logp),  + score at the answer's last token

    python -m experiments.ppo --model runs/sft/policy --reward runs/reward_model/reward
    python -m experiments.ppo --model FOLDER --data stories --reward programmed

The details follow Ziegler et al. 2019 and the N implementation details (Huang et al.
2024, arXiv:2403.17031). By default: the penalty in the reward is k1; the score is read,
and applied, at the last token of the whole text, its end token included; an answer
without an end token is penalized; the value model starts from the reward model;
sampling is not filtered (no top-k, no top-p); all log-probs are at the sampling
temperature, and those in the ratio's denominator come from the trainer's own forward
pass, so that the first minibatch has ratio 1; returns are computed before advantages
are whitened; advantages are whitened over the global batch; minibatches are reshuffled
each epoch, with keys of (seed, iteration, epoch); values are clipped; Adam's epsilon is
1e-5, and its rate falls to 0 over the iterations, however many updates --kl-stop leaves
out; there is no dropout; prompts, and tokens after an answer's end, are masked. Policy
and value are two models, each with its optimizer: the value loss has no weight beside
the policy's (vf_coef scales a shared trunk's gradient, and there is none), but a
learning rate, and each gradient is clipped by its own norm.

In later updates on the same answers the per-token ratio makes the gradient that of the
updated policy, but for clipped tokens and prefixes; k1 stays that of the sampler.

Options: InstructGPT's pretraining gradients (--ptx-weight), warmup and value learning
rate; iterations that train the value model alone, at first (--value-warmup); early
stopping of an iteration's epochs (--kl-stop); scores normalized by the reference's own
(Ziegler), by all so far, or by the batch (Llama 2), and clipped; rewards per token
scaled to unit variance; beta adapted, linearly or in log space; a score that is set
where the end token is missing (N+); a bootstrapped value where an answer was cut
(--bootstrap); TensorFlow's Adam; a value head of 0 on the policy's trunk (--value
policy); an entropy bonus.

Left out: sampling past the end token (it is masked); left padding (rows have lengths);
truncation at a full stop (answers have end tokens); seeds by process (keys do not
depend on processes); a score one place past the end token (TRL; it would need a value
there); advantages whitened by minibatch (their number would matter); one network for
policy and value, and orthogonal initialization; an annealed clip range; averaged
weights; what belongs to environments.

Metrics of an iteration, of which those of updates are the last one's, and the rows of
samples.jsonl: docs/metrics.md. With a sum of rewards also rewards/NAME/mean and std.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxalign import sharding, streams
from jaxalign.pipeline import (
    held_out_metrics,
    online,
    ppo_batch,
    ppo_setup,
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
from jaxalign.runtime.loop import LoopState, Resumable
from jaxalign.runtime.run import Run
from jaxalign.training import objectives, optimizer
from jaxalign.training import state as train_state
from jaxalign.training.kl_controller import next_kl_coefficient
from jaxalign.training.ppo_updates import make_updates


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(online.OnlineConfig):
    """Proximal policy optimization."""

    EXPERIMENT: ClassVar[str] = "ppo"
    RANGES: ClassVar = {
        "gamma": flags.SHARE,
        "lam": flags.SHARE,
        "value_clip": flags.LIMIT,
    }
    batch: int = 64
    """Answers sampled in an iteration, over all devices."""
    minibatches: int = 2
    epochs: int = 2
    kl_stop: float | None = None
    """Ends an iteration's epochs once approxkl is above (nats per token)."""
    value: str | None = None
    """What the value model starts from: a reward model's folder, or policy; by default
    --reward where that is a folder."""
    value_learning_rate: float | None = None
    """By default, the policy's."""
    value_warmup: int = 0
    """First iterations, in which the value model alone trains."""
    eps: float = 1e-5
    """Adam's epsilon."""
    adam: Literal["standard", "tensorflow"] = "standard"
    """Whether epsilon is added after bias correction, or before it."""
    clip: float = 0.2
    """Clip range of the ratio: how far from 1."""
    value_clip: float = 0.2
    """How far a value may move from its rollout's; inf for any."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    ptx_weight: float = 0.0
    """Weight of the NLL of the data's SFT examples, per token."""
    ptx_batch: int = 4
    """Rows of packed SFT examples in a minibatch, over all devices."""
    gamma: float = 1.0
    """Discount."""
    lam: float = 0.95
    """GAE's lambda."""
    bootstrap: bool = False
    """Add the value of what follows to the reward of an answer that was cut."""
    beta: float = 0.05
    """Coefficient of the KL penalty."""
    kl_target: float | None = None
    """Adapts beta towards this KL (nats per answer); by default beta is fixed."""
    kl_horizon: float = 10_000
    """Answers over which beta adapts."""
    kl_gain: float | None = None
    """Adapts beta in log space, by this gain, rather than by the horizon."""
    normalize: ppo_batch.ScoreNormalization = "none"
    """Scores by the moments of the reference's answers, all so far, or the batch."""
    normalize_samples: int = 256
    """Answers of the reference to normalize by."""
    score_clip: float | None = None
    """Scores are clipped to plus and minus this, after normalization."""
    whiten_rewards: bool = False
    """Scale the rewards of a batch to unit variance."""


def main(
    config: Config,
    reward: Reward | None = None,
    loggers: Sequence[Logger | LogFunction] = (),
) -> dict[str, float]:
    """Trains a policy with PPO, and writes it to OUT/policy.

    Args:
      reward: in place of --reward; see `jaxalign.pipeline.reward_terms.Reward`.
      loggers: functions f(step, metrics), or loggers, beside those of `config.log`.
    """
    check(config)
    config = defaults.resolve(config)
    with Run(config, "ppo", loggers) as run:
        setup = online.prepare(config, run, prompts=config.batch, reward=reward)
        policy, prompts = setup.policy, setup.prompt_batches
        value_model, value_params = ppo_setup.init_value_model(
            config, policy, config.value
        )
        make = functools.partial(trainable.make_trainable, config)
        trained = trainable.combine_roles(
            {"policy": make(policy.params), "value": make(value_params)}
        )
        objective = objectives.ppo(
            policy.model,
            value_model,
            clip_low=config.clip,
            clip_high=config.clip,
            value_clip=config.value_clip,
            vf_coef=1.0,  # the value model and its optimizer are its own
            entropy_coef=config.entropy_weight,
            temperature=config.temperature,
        )
        optimizers = ppo_setup.make_optimizers(config)
        update, value_update = make_updates(
            *(objective, policy.model, optimizers),
            ptx_coef=config.ptx_weight,
            merge=trained.merge,
            donate=not config.debug_nans,
        )
        adam = optimizer.partition_by_role(optimizers)
        state = train_state.create(trained.params, adam, jax.random.key(config.seed))
        iterators: dict[str, Resumable] = {"prompts": prompts}
        if config.ptx_weight:
            sft_data = ppo_setup.sft_batches(config, setup, run, rows=config.ptx_batch)
            iterators["text"] = sft_data
        loop = LoopState(0, state, iterators, {"beta": config.beta, "moments": None})
        loop = run.restore(loop, state.params, total=config.steps, rate=config.rate)
        state, beta, moments = loop.state, loop.extras["beta"], loop.extras["moments"]
        run_plan.show_online(run, config, setup, state.params)
        policy_of = lambda params: trained.parameters(params)["policy"]
        measure = held_out_metrics.rollouts(config, run, setup, policy_of)
        run.evaluate(loop, state.params, measure)
        if config.normalize == "reference" and moments is None:
            moments = ppo_setup.reference_moments(
                config, setup, config.normalize_samples
            )
        for i in run.steps(loop.step, config.steps):
            # the learning rate follows iterations, even if --kl-stop ends some early
            state = online.set_update_count(state, i * config.updates)
            key = streams.key(state.key, "rollouts", i)
            shuffle_key = streams.key(state.key, "minibatches", i)
            params = trained.parameters(state.params)

            # sample answers
            rollout = online.sample_rollout(setup, params["policy"], next(prompts), key)
            # log-probs, and beside them on the host the rewards; values, advantages
            logp, ref_logp, diagnostics = online.rollout_logprobs(
                setup, params["policy"], rollout
            )
            scores = rollout_scores.score_rollout(setup, rollout)
            score = online.penalize_missing_eos(config, scores.score, rollout.ended)
            score, moments = ppo_batch.normalize_scores(
                score, config.normalize, moments, clip=config.score_clip
            )
            batch, batch_metrics = ppo_batch.rollout_batch(
                *(value_model, params["value"], rollout.sequences),
                *(logp, ref_logp, score, rollout.ended),
                beta=jnp.float32(beta),
                gamma=config.gamma,
                lam=config.lam,
                whiten_rewards=config.whiten_rewards,
                bootstrap=config.bootstrap,
            )

            samples = rollout_samples.first_samples(
                *(config, setup, rollout),
                rewards=scores.by_name or {"reward": scores.reward},
                logps=(logp, ref_logp),
                advantage=batch.advantage,
                score=score,
            )

            # some epochs of minibatch updates
            warming_up = i < config.value_warmup
            updates = []
            for minibatch in rollouts.minibatches(
                batch, shuffle_key, epochs=config.epochs, parts=config.minibatches
            ):
                if warming_up:
                    state, metrics = value_update(state, minibatch)
                else:
                    if config.ptx_weight:
                        sft_batch = sharding.place_batch(next(sft_data), run.mesh)
                        minibatch = objectives.mix_batches(minibatch, sft_batch)
                    state, metrics = update(state, minibatch)
                updates.append(metrics)
                if online.exceeds_kl(metrics, config.kl_stop):
                    break

            run.log(
                i,
                rollout=rollout_scores.reward_metrics(scores.reward, rollout.ended),
                rewards=scores.metrics(),
                diagnostics=diagnostics,
                batch=batch_metrics,
                update=online.summarize_updates(updates),
                value={
                    "explained_variance": objectives.explained_variance(updates[-1])
                },
                tokens=setup.tokens_per_iteration,
                rows=prompts.rows,
                samples=samples,
            )
            if not warming_up:  # until then, the policy is its reference
                beta = next_kl_coefficient(
                    *(beta, diagnostics["kl"]),
                    target=config.kl_target,
                    horizon=config.kl_horizon,
                    gain=config.kl_gain,
                    samples=config.batch,
                )
            loop = LoopState(i + 1, state, iterators, dict(beta=beta, moments=moments))
            run.evaluate(loop, state.params, measure)
            run.checkpoint(loop, state.params)
            online.warn_logprob_mismatch(run.last, config.logp_gap)
        state = run.exported_state(loop, state.params)
        params = policy_of(state.params)
        trainable.save(config, run.folder, policy, params, state.params["policy"])
        return run.finish(run.results())


def check(config: Config) -> None:
    """Refuses a configuration that cannot run, before anything is computed.

    Raises:
      ValueError: the batch does not divide, or the policy would not begin to train.
    """
    online.check_minibatches(config, config.batch, "answers (--batch)")
    if config.value_warmup > config.steps:
        raise ValueError(
            f"--value-warmup {config.value_warmup} is longer than the "
            f"{config.steps} --steps of the run"
        )


if __name__ == "__main__":
    launch(main, Config)
