"""PPO against a reward model or a programmed reward, held near its reference.

reward per token = -beta * (logp - ref_logp),  + score on the answer's last token

    python -m experiments.ppo --model runs/sft/policy --reward runs/reward_model/reward
    python -m experiments.ppo --model FOLDER --data stories --reward programmed
    python -m experiments.ppo --ptx-weight 0.5 --value-warmup 4 --kl-stop 0.05 ...

The details follow Ziegler et al. 2019 and the N implementation details (Huang et al.
2024, arXiv:2403.17031). By default: the penalty in the reward is k1; the score is read,
and given, at the last token of the whole text, its end token included; an answer
without its end token loses a penalty; the value model starts from the reward model;
sampling filters nothing (no top-k, no top-p); log-probs are at its temperature on all
sides, and those that the ratio is taken of come of the trainer's own forward pass, so
that the first minibatch has ratio 1; returns come before whitening; advantages are
whitened over the global batch; minibatches are reshuffled each epoch, by keys of (seed,
iteration, epoch); values are clipped; Adam's epsilon is 1e-5, its rate falls to 0 over
the iterations, however many updates --kl-stop leaves out; nothing is dropped out, and
neither the prompt nor what is after an answer's end counts. Policy and value are two
models, each with its optimizer: the value loss has no weight beside the policy's
(vf_coef scales a shared trunk's gradient, and there is none), but a learning rate, and
the gradient of each is clipped by its own norm.

In later updates on the same answers the ratio of each token makes the gradient that of
the moved policy, except for the clipped tokens, and for the prefixes, which stay as
they were sampled; k1 in the reward stays that of the policy that sampled.

Options: InstructGPT's pretraining gradients (--ptx-weight), its warm-up and its rate of
the value model; first iterations that train the value model alone (--value-warmup); the
end of an iteration's epochs once the policy has moved (--kl-stop); scores normalised by
the reference's own (Ziegler; InstructGPT shifts its rewards so, too), by all so far, or
by the batch (Llama 2), and cut; rewards per token whitened without their mean; beta
adapted, linearly or in log space; a score that is set, not lowered, where the end is
missing (N+); a value beyond where an answer was cut (--bootstrap); TensorFlow's Adam; a
value head of 0 on the policy's trunk (--value policy); an entropy bonus.

Left out, and why: sampling on past the end token, for batches of one shape (what
follows is masked either way); left padding (rows are right-padded, and known by their
lengths, so that no pad token is needed); truncation at a full stop (answers have end
tokens); seeds by process (keys do not depend on processes); a score one place past the
end token (TRL; it would need a value there); advantages whitened by minibatch (their
number would matter); one net for policy and value, and orthogonal weights (models are
pretrained); an annealed clip range; averaged weights; several environments, recurrent
nets, scaled observations, masked actions (there are none).

Metrics, of the answers sampled in an iteration:
  reward            mean score, as the reward says it
  score             the same, once a missing end has its price, and normalised
  kl, kl_k3         mean over answers of k1, k3 to the reference (nats an answer)
  beta              coefficient of the penalty
  length, eos       tokens in an answer; the share of answers that ended
  logp_gap          largest difference of the sampler's and trainer's log-probs (nats)
  return            mean value target of a token
  advantage_mean, advantage_std, token_reward_std
                    over answer tokens, before any whitening (to 0, 1 and 1)
and of the last update:
  policy_loss       clipped surrogate; about 0 at ratio 1, as advantages are whitened
  value_loss        half the squared error of values, clipped
  ptx_nll           NLL of the text mixed in (nats a token)
  entropy           of the policy's next token (nats)
  ratio             mean probability ratio to the policy that sampled
  clipfrac, value_clipfrac
                    the share of tokens whose ratio, or value, is out of its range
  approxkl          k3 to the policy that sampled (nats a token); approxkl_sq: k2
  explained_variance
                    the share of the returns' variance that the values explain
  updates           optimizer steps taken in the iteration
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments.ppo_config import Config as Config
from jaxalign import sharding, streams
from jaxalign.batches import RolloutBatch
from jaxalign.data import loader, packing
from jaxalign.models import heads
from jaxalign.pipeline import (
    datasets,
    model_folders,
    online,
    policies,
    ppo_batch,
    reward_functions,
    trainable,
)
from jaxalign.runtime import defaults
from jaxalign.runtime.cli import launch
from jaxalign.runtime.run import Run
from jaxalign.training import objectives, state, step
from jaxalign.training.step import Step
from jaxalign.types import Array, LanguageModel, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Parts:
    """What an iteration needs, beside the state.

    Attributes:
      tuned: what trains of the policy and the value model.
      update: the compiled step on a minibatch.
      warm: the same, of the value model alone.
      text: batches of demonstrations, where they are mixed in.
    """

    config: Config
    setting: online.RolloutSetup
    value_model: ScalarModel
    tuned: trainable.Trainable
    update: Step
    warm: Step
    text: loader.BatchIterator | None


def iterate(
    parts: Parts, current: state.TrainState, iteration: int, carried: dict[str, Any]
) -> tuple[state.TrainState, dict[str, Any], dict[str, Array]]:
    """One iteration: rollouts, their scores, and a few epochs of minibatches.

    Args:
      carried: `beta`, and the `initial_moments` that scores are normalised by.
    """
    config, setting = parts.config, parts.setting
    noise = streams.key(current.key, "rollouts", iteration)
    order = streams.key(current.key, "minibatches", iteration)
    params = parts.tuned.parameters(current.params)
    drawn = online.sample_and_score(setting, params["policy"], noise)
    logp, ref_logp, seen = online.logprobs(setting, params["policy"], drawn)
    score, moments = ppo_batch.normalize_scores(
        drawn.score, config.normalise, carried["moments"], clip=config.score_clip
    )
    beta = jnp.float32(carried["beta"])
    rollout, spread = ppo_batch.experience(
        parts.value_model,
        params["value"],
        drawn.sequences,
        logp,
        ref_logp,
        score,
        drawn.ended,
        beta=beta,
        gamma=config.gamma,
        lam=config.lam,
        whiten_rewards=config.whiten_rewards,
        bootstrap=config.bootstrap,
    )
    warming = iteration < config.value_warmup
    update = parts.warm if warming else functools.partial(learn, parts)
    current, metrics = online.passes(
        config, update, current, rollout, order, kl_stop=config.kl_stop
    )
    after = carried["beta"]
    if not warming:  # before, the policy is its reference
        after = config.next_beta(after, seen["kl"])
    explained = objectives.explained_variance(metrics)
    sampled = {"beta": beta, "explained_variance": explained}
    numbers = drawn.numbers | seen | spread | metrics | sampled
    return current, {"beta": after, "moments": moments}, numbers


def learn(
    parts: Parts, current: state.TrainState, rollout: RolloutBatch
) -> tuple[state.TrainState, dict[str, Array]]:
    """An update on a minibatch, with text where it is mixed in."""
    if parts.text is None:
        return parts.update(current, rollout)
    text = sharding.place_batch(next(parts.text), parts.setting.mesh)
    return parts.update(current, objectives.mix_batches(rollout, text))


def main(config: Config) -> dict[str, float]:
    """Trains with PPO; writes the model to OUT/policy."""
    check(config)
    config = defaults.resolve(config)
    with Run(config, "ppo") as run:
        setting = online.prepare(config, run, prompts=config.batch)
        policy = setting.policy
        value_model, value = init_value_model(config, policy)
        tuned = trainable.combine_roles(
            {
                "policy": trainable.make_trainable(config, policy.params),
                "value": trainable.make_trainable(
                    config, trainable.quantize_base(config, value)
                ),
            }
        )
        adams = config.both_adams()
        parts = Parts(
            config=config,
            setting=setting,
            value_model=value_model,
            tuned=tuned,
            text=sft_batches(config, setting, run),
            **steps_of(config, policy.model, value_model, tuned),
        )
        current = state.create(tuned.params, adams, jax.random.key(config.seed))
        current = online.train(
            run,
            setting,
            current,
            functools.partial(iterate, parts),
            roles=lambda params: params,
            carried=lambda: {
                "beta": config.beta,
                "moments": initial_moments(config, setting),
            },
            cursors={} if parts.text is None else {"text": parts.text},
        )
        params = tuned.parameters(current.params)["policy"]
        trainable.save(config, run.folder, policy, params, current.params["policy"])
        return run.finish(run.last)


def steps_of(
    config: Config,
    policy: LanguageModel,
    value: ScalarModel,
    tuned: trainable.Trainable,
) -> dict[str, Step]:
    """The compiled updates, by their names in `Parts`."""
    objective = config.objective(policy, value)

    def value_alone(params: Params, batch: RolloutBatch) -> step.Total:
        fixed = jax.lax.stop_gradient(params["policy"])
        return objective({**params, "policy": fixed}, batch)

    whole = objective
    if config.ptx_weight:
        whole = objectives.with_ptx(objective, policy, ptx_coef=config.ptx_weight)
    make = functools.partial(
        step.make_step, merge=tuned.merge, donate=not config.debug_nans
    )
    return {
        "update": make(whole, config.both_adams()),
        "warm": make(value_alone, config.both_adams(warming=True)),
    }


def sft_batches(
    config: Config, setting: online.RolloutSetup, run: Run
) -> loader.BatchIterator | None:
    """Packed batches of the data's demonstrations, where they are mixed in."""
    if not config.ptx_weight:
        return None
    policy = setting.policy
    records = setting.source.demonstrations()[0]
    examples = datasets.tokenize_records(
        config, records, policy, run.note, "demonstrations"
    )
    length = packing.row_length(
        examples, policy.context, whole_context=defaults.is_toy(config.model)
    )
    return packing.packed_batches(
        examples, config.ptx_batch, length=length, seed=config.seed, mesh=run.mesh
    )


def initial_moments(config: Config, setting: online.RolloutSetup) -> list[float] | None:
    """What scores are normalised by from the start."""
    if config.normalise != "reference":
        return None
    key = streams.key(jax.random.key(config.seed), "reference moments")
    return ppo_batch.reference_moments(setting, key, config.normalize_samples)


def check(config: Config) -> None:
    """Refuses a configuration that cannot be, before anything is computed.

    Raises:
      ValueError: the batch does not divide into the minibatches, or the policy would
        not begin to train.
    """
    online.check_minibatches(config, config.batch, "answers (--batch)")
    if config.value_warmup > config.steps:
        raise ValueError(
            f"--value-warmup {config.value_warmup} is longer than the "
            f"{config.steps} --steps of the run"
        )


def init_value_model(
    config: Config, policy: policies.Policy
) -> tuple[ScalarModel, Params]:
    """The value model: the first reward model, or the policy's trunk, its head 0."""
    rewarded = [
        str(folder) for folder in reward_functions.reward_model_folders(config.reward)
    ]
    start = config.value or (rewarded or ["policy"])[0]
    if start != "policy":
        mesh = sharding.mesh_of(policy.params)
        found = model_folders.load_scalar(
            Path(start), config.dtype, config.remat, mesh=mesh
        )
        model_folders.check_vocabulary(Path(start), policy)
        return found
    model = heads.scalar_model(policy.config, zero_head=True)
    key = streams.key(jax.random.key(config.seed), "head")
    return model, trainable.add_scalar_head(model, key, policy.params)


if __name__ == "__main__":
    launch(main, Config)
