"""Defaults that depend on the model: published values, and those of the toy model.

A flag that is None is set here, by the folder of `--model`. The config.json of a model
that was trained from `--model toy` records that (`jaxalign_origin`, which every run
passes on); such a model has defaults for 0.7 M parameters. All other folders are
pretrained models, however small. docs/defaults.md has the table.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from jaxalign.runtime import hub
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.training_config import OfflineConfig, TrainConfig
from jaxalign.training import loss_names
from jaxalign.types import ORIGIN_KEY

CONTEXT = 4096  # limit of a sequence in tokens, where --context is not set
ConfigType = TypeVar("ConfigType", bound=RunConfig)


class Rates(NamedTuple):
    """Learning rates of a method, by model and trainable parameters.

    Attributes:
      toy: for the toy model.
      pretrained: for pretrained models, all parameters or those of a pattern.
      adapter: for pretrained models with --train lora.
      source: source of the rates for pretrained models.
    """

    toy: float
    pretrained: float
    adapter: float
    source: str


RATES = {
    "sft": Rates(
        *(2e-3, 2e-5, 2e-4),
        "Zephyr's recipe and Llama 2 (arXiv:2307.09288, section 3.1), Llama 3 1e-5; "
        "adapter: QLoRA (arXiv:2305.14314), 7B and 13B, from memory",
    ),
    "reward_model": Rates(
        *(1e-3, 1e-5, 1e-4),
        "Llama 2 (arXiv:2307.09288, section 3.2.2), 70B half of it; InstructGPT 9e-6; "
        "adapter: TRL 1.16",
    ),
    "dpo": Rates(
        *(2e-4, 5e-7, 5e-6),
        "Zephyr (arXiv:2310.16944), all losses that are not named below; TRL 1.16 "
        "1e-6; adapter: Zephyr's recipe for QLoRA, from memory",
    ),
    "kto": Rates(
        *(2e-4, 5e-7, 5e-6),
        "the low end of TRL's advice, from memory; TRL 1.16 1e-6, HALOs 5e-6; "
        "adapter: ten times that",
    ),
    "simpo": Rates(
        *(2e-4, 6e-7, 6e-6),
        "its authors' table, Llama 3 base (3e-7 to 1e-6 over models); adapter: ten "
        "times that",
    ),
    "orpo": Rates(
        *(2e-4, 8e-6, 8e-5),
        "Hong et al. 2024, arXiv:2403.07691, from memory; adapter: ten times that",
    ),
    "cpo": Rates(
        *(2e-4, 1e-6, 1e-5), "TRL's CPO, from memory; adapter: ten times that"
    ),
    "ppo": Rates(
        *(3e-4, 1e-6, 1e-5),
        "Llama 2 (arXiv:2307.09288, section 3.2.3); N+ 3e-6; adapter: ten times that",
    ),
    "grpo": Rates(
        *(3e-4, 1e-6, 1e-5),
        "all group methods: Shao et al. 2024, arXiv:2402.03300, and DAPO, from memory; "
        "TRL 1.16; adapter: ten times that",
    ),
    "online_dpo": Rates(
        *(3e-4, 5e-7, 5e-6),
        "Guo et al. 2024, arXiv:2402.04792, from memory; adapter: ten times that",
    ),
    "distill": Rates(
        *(1e-3, 2e-5, 2e-4),
        "TRL's example of GKD, Qwen2 0.5B from 1.5B; adapter: the same, from memory",
    ),
}
# Flags of pipelines' stages with the toy model.
TOY_STAGES: dict[str, dict[str, dict[str, Any]]] = {
    "rlhf": {"reward_model": {"epochs": 5}},
    "rejection_sampling": {"finetune": {"steps": 30, "learning_rate": 5e-4}},
    "rounds": {
        "reward_model": {"steps": 100},
        "finetune": {"steps": 20, "learning_rate": 5e-4},
    },
}


def is_toy(model: str) -> bool:
    """Whether `--model` is the toy model, or a folder of a model trained from it.

    Raises:
      ValueError: it is the name of a model on a hub, and the download fails.
    """
    if model == "toy":
        return True
    folder = hub.model_folder(model)
    try:
        settings = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError):
        return False  # loading it raises the error
    return isinstance(settings, dict) and settings.get(ORIGIN_KEY) == "toy"


def describe_defaults(model: str) -> str:
    """The set of defaults for a model, and the reason, for the log."""
    if model == "toy":
        return "the toy's, for a new small model"
    if is_toy(model):
        return "the toy's: by its config.json, the model was trained from the toy"
    return (
        "the field's for pretrained models: config.json does not say that the model "
        "began as the toy's"
    )


def resolve(config: ConfigType, stage: Mapping[str, Any] | None = None) -> ConfigType:
    """The configuration with the flags that depend on the model; given flags stay.

    Args:
      stage: the entry of `TOY_STAGES`, where a pipeline runs the experiment.

    Raises:
      ValueError: both --steps and --epochs are given, or the loss is unknown.
    """
    if not isinstance(config, TrainConfig):
        return config
    toy = is_toy(config.model)
    own = dict(stage or {}) if toy else {}
    changes: dict[str, Any] = {}
    if isinstance(config, OfflineConfig):
        changes |= training_length(
            config, own, by_data=toy and config.EXPERIMENT == "sft"
        )
    if config.learning_rate is None:
        changes["learning_rate"] = own.get("learning_rate", learning_rate(config, toy))
    return dataclasses.replace(config, **changes)


def learning_rate(config: TrainConfig, toy: bool) -> float:
    """The default learning rate of a method, by model and trainable parameters."""
    name = config.EXPERIMENT
    if name == "dpo":
        loss = loss_names.get_loss(getattr(config, "loss", name)).name
        name = loss if loss in RATES else name
    rates = RATES[name]
    if toy:
        return rates.toy
    return rates.adapter if config.train == "lora" else rates.pretrained


def training_length(
    config: OfflineConfig, own: Mapping[str, Any], *, by_data: bool
) -> dict[str, Any]:
    """The default of `steps` or `epochs`, where neither flag is given.

    Args:
      own: the stage's flags with the toy model.
      by_data: whether the data set determines the number of steps.

    Raises:
      ValueError: both --steps and --epochs are given.
    """
    steps, epochs = config.steps, config.epochs
    if steps is not None and epochs is not None:
        raise ValueError(
            f"--steps {steps} and --epochs {epochs:g} both say how long to train: "
            "leave one of them out"
        )
    if steps is not None or epochs is not None:
        return {}
    length = {name: own[name] for name in ("steps", "epochs") if name in own}
    return length or ({} if by_data else {"epochs": 1})


def total_steps(
    config: OfflineConfig, rows: float, batch: float, suggested: int = 0
) -> int:
    """Steps of a run: --steps, or those of --epochs passes over the rows, at least 1.

    Args:
      rows: number of training rows.
      batch: rows in a step, on average.
      suggested: the data set's number of steps, where neither flag is set.
    """
    if config.steps is not None:
        return config.steps
    if config.epochs is None:
        return suggested
    return max(int(config.epochs * rows / batch), 1)
