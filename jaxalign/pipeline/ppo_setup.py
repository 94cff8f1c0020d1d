"""Preparation of PPO: value model, optimizers, batches of SFT data, score moments."""

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp

from jaxalign import lazy, sharding, streams
from jaxalign.data import packing
from jaxalign.data.loader import BatchIterator
from jaxalign.models import heads
from jaxalign.pipeline import (
    datasets,
    model_folders,
    online,
    policies,
    ppo_batch,
    reward_functions,
    rollouts,
    trainable,
)
from jaxalign.runtime import defaults
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OnlineConfig
from jaxalign.training import optimizer
from jaxalign.types import Params, ScalarModel

if TYPE_CHECKING:
    import optax
else:
    optax = lazy.module("optax")


class OptimizerFlags(Protocol):
    """The flags of PPO's optimizers."""

    @property
    def adam(self) -> str:
        """standard or tensorflow."""

    @property
    def eps(self) -> float:
        """Adam's epsilon."""

    @property
    def value_warmup(self) -> int:
        """First iterations, in which the value model alone trains."""

    @property
    def value_learning_rate(self) -> float | None:
        """By default, the policy's."""

    def adamw(self, **options: Any) -> "optax.GradientTransformation":
        """The optimizer of the other flags."""


def make_optimizers(
    config: OptimizerFlags,
) -> "dict[str, optax.GradientTransformation]":
    """The optimizers of the policy and of the value model, by role."""
    is_standard = config.adam == "standard"
    adam = optax.scale_by_adam if is_standard else optimizer.scale_by_tensorflow_adam
    adamw = functools.partial(config.adamw, eps=config.eps, adam=adam)
    return {
        "policy": adamw(frozen_iterations=config.value_warmup),
        "value": adamw(learning_rate=config.value_learning_rate),
    }


def init_value_model(
    config: OnlineConfig, policy: policies.Policy, start: str | None
) -> tuple[ScalarModel, Params]:
    """The value model and its initial parameters, quantized as --frozen says.

    Args:
      start: a reward model's folder; or "policy", for the policy's trunk with a new
        head of zeros; by default the first reward model of --reward, or else "policy".

    Raises:
      ValueError: the reward model has another vocabulary than the policy.
    """
    folders = map(str, reward_functions.reward_model_folders(config.reward))
    start = start or next(folders, "policy")
    if start != "policy":
        mesh = sharding.mesh_of(policy.params)
        model, params = model_folders.load_scalar(
            Path(start), config.dtype, config.remat, mesh=mesh
        )
        model_folders.check_vocabulary(Path(start), policy)
    else:
        model = heads.scalar_model(policy.config, zero_head=True)
        key = streams.key(jax.random.key(config.seed), "head")
        params = trainable.add_scalar_head(model, key, policy.params)
    return model, trainable.quantize_base(config, params)


def sft_batches(
    config: OnlineConfig, setup: online.RolloutSetup, run: Run, *, rows: int
) -> BatchIterator:
    """Endless packed batches of the data set's SFT examples.

    Args:
      rows: packed rows in a batch, over all devices.
    """
    records, policy = setup.dataset.demonstrations()[0], setup.policy
    examples = datasets.tokenize_records(
        config, records, policy, run.note, "demonstrations"
    )
    length = packing.row_length(
        examples, policy.context, whole_context=defaults.is_toy(config.model)
    )
    return packing.packed_batches(
        examples, rows, length=length, seed=config.seed, mesh=run.mesh
    )


def reference_moments(
    config: OnlineConfig, setup: online.RolloutSetup, samples: int
) -> list[float]:
    """The moments of the scores of the reference's own answers, as JSON values.

    Args:
      samples: how many training prompts the reference answers, once each.

    Raises:
      ValueError: all scores are the same, or training normalizes each reward.
    """
    if config.reward_normalization != "none":
        raise ValueError(
            "--normalize reference has the moments of rewards as they are: with "
            "--reward-normalization choose --normalize running, batch or none"
        )
    answers = rollouts.sample_answers(
        setup.policy,
        setup.prompts.first(samples),
        streams.key(jax.random.key(config.seed), "reference moments"),
        max_new_tokens=setup.sampling.max_new_tokens,
        temperature=config.temperature,
    )
    reward = jnp.asarray(
        reward_functions.score_answers(setup.reward_fn, answers, mesh=setup.mesh)
    )
    ended = jnp.asarray(answers.finished)
    return ppo_batch.score_moments(online.penalize_missing_eos(config, reward, ended))
