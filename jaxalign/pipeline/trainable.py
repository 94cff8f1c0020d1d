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
from jaxalign.runtime.config import Tuned
from jaxalign.training.step import Whole
from jaxalign.types import Key, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What trains, and how the model's parameters come of it.

    Attributes:
      params: what trains, at its start.
      whole: from what trains to the model's parameters, see `step.make_step`; None
        where all of them train.
    """

    params: Params
    whole: Whole | None = None

    def parameters(self, trained: Params) -> Params:
        """The model's parameters, with what trains as it is now."""
        return trained if self.whole is None else self.whole(trained)


def frozen(config: Tuned, policy: policies.Policy) -> policies.Policy:
    """The policy that a run starts from and refers to, kept as `--frozen` says."""
    return dataclasses.replace(
        policy,
        model=lora.language_model(policy.model),
        params=kept(config, policy.params),
    )


def kept(config: Tuned, params: Params) -> Params:
    """The parameters, their matrices that do not train kept as `--frozen` says.

    Raises:
      ValueError: few bits without an adapter.
    """
    if config.frozen == "float32":
        return params
    if config.train != "lora":
        raise ValueError(f"--frozen {config.frozen} needs --train lora")
    keep = {"int8": int8.quantise, "nf4": nf4.quantise}[config.frozen]
    return int8.quantised(params, keep=keep)


def headed(model: ScalarModel, key: Key, trunk: Params) -> Params:
    """A scalar model with a new head, on the very arrays of a language model."""
    made = model.from_trunk(key, trunk)
    return {name: trunk.get(name, leaf) for name, leaf in made.items()}


def start(config: Tuned, base: Params) -> Tuning:
    """What trains at the start, by `--train`; a scalar head always does.

    Raises:
      ValueError: nothing matches, or an adapter that PEFT's format cannot hold.
    """
    if config.train == "full":
        return Tuning(base)
    head = "head" in base
    if config.train != "lora":
        pattern = f"{config.train}|head" if head else config.train
        place = functools.partial(param_filter.put, pattern=pattern)
        with flags.naming(f"--train {config.train}"):
            trained = param_filter.take(base, pattern)
        return Tuning(
            trained, jax.tree_util.Partial(lambda base, new: place(base, new), base)
        )
    key = streams.key(jax.random.key(config.seed), "adapter")
    rank, targets = config.lora_rank, config.lora_targets
    with flags.naming(f"--lora-targets {targets} of --lora-rank {rank}"):
        adapter = lora.init(key, base, rank=rank, targets=targets)
    outside = set(adapter) - {"blocks"}
    if outside:
        raise ValueError(
            f"--lora-targets {config.lora_targets} means {', '.join(sorted(outside))}: "
            "only matrices of the layers have adapters that other software reads"
        )
    trained = adapter | (param_filter.take(base, "head") if head else {})
    scale = lora.scale(config.lora_rank, config.lora_alpha)
    attach = functools.partial(lora.attach, scale=scale)
    return Tuning(trained, jax.tree_util.Partial(attach, base))


def together(parts: Mapping[str, Tuning]) -> Tuning:
    """Several models that train in one step, by role."""
    params = {role: part.params for role, part in parts.items()}
    wholes = {role: part.whole for role, part in parts.items() if part.whole}
    if not wholes:
        return Tuning(params)
    each = lambda wholes, new: {role: wholes[role](new[role]) for role in wholes}
    return Tuning(params, jax.tree_util.Partial(each, wholes))


def save(
    config: Tuned,
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
