"""Which parameters of a model a run trains: all, an adapter, or those of a pattern.

What does not train is the run's own start, so it is not in its checkpoints; it is the
reference, too, and exists once.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path

import jax

from jaxalign import streams
from jaxalign.models import int8, lora, nf4, param_filter, peft
from jaxalign.pipeline import policies
from jaxalign.runtime import flags, hub
from jaxalign.runtime.config import TrainConfig
from jaxalign.training.step import MergeFn
from jaxalign.types import Key, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Trainable:
    """What trains, and how the model's parameters come of it.

    Attributes:
      params: what trains, at its start.
      whole: from what trains to the model's parameters, see `step.make_step`; None
        where all of them train.
    """

    params: Params
    whole: MergeFn | None = None

    def parameters(self, trained: Params) -> Params:
        """The model's parameters, with what trains as it is now."""
        return trained if self.whole is None else self.whole(trained)


def with_frozen_base(config: TrainConfig, policy: policies.Policy) -> policies.Policy:
    """The policy that a run starts from and refers to, kept as `--frozen` says."""
    return dataclasses.replace(policy, params=quantize_base(config, policy.params))


def quantize_base(config: TrainConfig, params: Params) -> Params:
    """The parameters, their matrices that do not train kept as `--frozen` says.

    Raises:
      ValueError: few bits without an adapter.
    """
    if config.frozen == "float32":
        return params
    if config.train != "lora":
        raise ValueError(f"--frozen {config.frozen} needs --train lora")
    keep = {"int8": int8.quantize, "nf4": nf4.quantize}[config.frozen]
    return int8.quantize_params(params, quantizer=keep)


def add_scalar_head(model: ScalarModel, key: Key, trunk: Params) -> Params:
    """A scalar model with a new head, on the very arrays of a language model."""
    made = model.from_trunk(key, trunk)
    return {name: trunk.get(name, leaf) for name, leaf in made.items()}


def make_trainable(config: TrainConfig, base: Params) -> Trainable:
    """What trains at the start, by `--train`; a scalar head always does.

    Raises:
      ValueError: nothing matches, or an adapter that PEFT's format cannot hold.
    """
    if config.train == "full":
        return Trainable(base)
    head = "head" in base
    if config.train != "lora":
        pattern = f"{config.train}|head" if head else config.train
        place = functools.partial(param_filter.merge_trainable, pattern=pattern)
        with flags.prefix_errors(f"--train {config.train}"):
            trained = param_filter.select_trainable(base, pattern)
        return Trainable(
            trained, jax.tree_util.Partial(lambda base, new: place(base, new), base)
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
    trained = adapter | (param_filter.select_trainable(base, "head") if head else {})
    scale = lora.scale(config.lora_rank, config.lora_alpha)
    attach = functools.partial(lora.attach, scale=scale)
    return Trainable(trained, jax.tree_util.Partial(attach, base))


def combine_roles(parts: Mapping[str, Trainable]) -> Trainable:
    """Several models that train in one step, by role."""
    params = {role: part.params for role, part in parts.items()}
    wholes = {role: part.whole for role, part in parts.items() if part.whole}
    if not wholes:
        return Trainable(params)
    each = lambda wholes, new: {role: wholes[role](new[role]) for role in wholes}
    return Trainable(params, jax.tree_util.Partial(each, wholes))


def save(
    config: TrainConfig,
    folder: Path,
    policy: policies.Policy,
    params: Params,
    trained: Params,
) -> None:
    """Writes the merged model to FOLDER/policy and an adapter to FOLDER/adapter.

    Args:
      params: the policy's.
      trained: what trained of them.
    """
    merged = dataclasses.replace(policy, params=lora.merge(params))
    policies.save(folder / "policy", merged, config)
    if config.train == "lora":
        peft.save(
            folder / "adapter",
            policy.model,
            trained,
            alpha=config.lora_alpha,
            base=hub.public_name(config.model),
        )
