"""Trainable and frozen parameters: full finetuning, LoRA adapters, name patterns.

Frozen parameters are those of the initial policy. Checkpoints do not hold them, and the
reference model shares them, so that they are in memory once.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import jax

from jaxalign import streams
from jaxalign.models import int8, lora, nf4, param_filter, peft
from jaxalign.pipeline import model_folders, policies
from jaxalign.runtime import flags, hub
from jaxalign.runtime.training_config import TrainConfig
from jaxalign.training.step import MergeFn
from jaxalign.types import Key, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Trainable:
    """The trainable parameters of a model, and how to merge them with the frozen ones.

    Attributes:
      params: trainable parameters at the start of the run.
      merge: trainable parameters -> all parameters of the model, for `step.make_step`;
        None where all parameters train.
    """

    params: Params
    merge: MergeFn | None = None

    def parameters(self, trained: Params) -> Params:
        """All parameters of the model, from the trainable ones."""
        return trained if self.merge is None else self.merge(trained)


def with_frozen_base(config: TrainConfig, policy: policies.Policy) -> policies.Policy:
    """The initial policy, with its frozen matrices quantized as `--frozen` says."""
    return dataclasses.replace(policy, params=quantize_base(config, policy.params))


def quantize_base(config: TrainConfig, params: Params) -> Params:
    """Quantize the frozen matrices as `--frozen` says: float32 (none), int8 or nf4.

    Raises:
      ValueError: --frozen int8 or nf4 without an adapter.
    """
    if config.frozen == "float32":
        return params
    if config.train != "lora":
        raise ValueError(f"--frozen {config.frozen} needs --train lora")
    quantizer = {"int8": int8.quantize, "nf4": nf4.quantize}[config.frozen]
    return int8.quantize_params(params, quantizer=quantizer)


def add_scalar_head(model: ScalarModel, key: Key, trunk: Params) -> Params:
    """Parameters of a scalar model: the arrays of a language model, and a new head."""
    params = model.from_trunk(key, trunk)
    return {name: trunk.get(name, leaf) for name, leaf in params.items()}


def make_trainable(config: TrainConfig, base: Params) -> Trainable:
    """The trainable parameters by `--train`: full, lora, or a pattern of names.

    A scalar head is always trainable.

    Args:
      base: all parameters of the model at the start of the run.

    Raises:
      ValueError: a pattern that matches nothing, or an adapter that PEFT's format
        cannot hold.
    """
    if config.train == "full":
        return Trainable(base)
    has_head = "head" in base
    if config.train != "lora":
        pattern = f"{config.train}|head" if has_head else config.train
        merge = functools.partial(param_filter.merge_trainable, pattern=pattern)
        with flags.prefix_errors(f"--train {config.train}"):
            trained = param_filter.select_trainable(base, pattern)
        return Trainable(
            trained, jax.tree_util.Partial(lambda base, new: merge(base, new), base)
        )
    key = streams.key(jax.random.key(config.seed), "adapter")
    rank, targets = config.lora_rank, config.lora_targets
    with flags.prefix_errors(f"--lora-targets {targets} of --lora-rank {rank}"):
        adapter = lora.init(key, base, rank=rank, targets=targets)
    outside = set(adapter) - {"blocks"}
    if outside:
        raise ValueError(
            f"--lora-targets {config.lora_targets} means {', '.join(sorted(outside))}: "
            "only matrices of the layers have adapters that other software reads"
        )
    trained = adapter | (
        param_filter.select_trainable(base, "head") if has_head else {}
    )
    scale = lora.scale(config.lora_rank, config.lora_alpha)
    attach = functools.partial(lora.attach, scale=scale)
    return Trainable(trained, jax.tree_util.Partial(attach, base))


def combine_roles(parts: Mapping[str, Trainable]) -> Trainable:
    """One `Trainable` of several models, such as a policy and its value model.

    Its parameters are a dictionary by role.
    """
    params = {role: part.params for role, part in parts.items()}
    merges = {role: part.merge for role, part in parts.items() if part.merge}
    if not merges:
        return Trainable(params)
    merge = lambda merges, new: {role: merges[role](new[role]) for role in merges}
    return Trainable(params, jax.tree_util.Partial(merge, merges))


def save(
    config: TrainConfig,
    folder: Path,
    policy: policies.Policy,
    params: Params,
    trained: Params,
) -> None:
    """Save the merged model to FOLDER/policy, and a LoRA adapter to FOLDER/adapter.

    Args:
      params: all parameters of the policy.
      trained: the trainable ones.
    """
    merged = dataclasses.replace(policy, params=lora.merge(params))
    model_folders.save(folder / "policy", merged, config)
    if config.train == "lora":
        peft.save(
            folder / "adapter",
            policy.model,
            trained,
            alpha=config.lora_alpha,
            base=hub.public_name(config.model),
        )
