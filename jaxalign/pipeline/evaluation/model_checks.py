"""Checks of models that a program will need later, before it computes for hours."""

from pathlib import Path

from jaxalign.models import hf_files
from jaxalign.models.pretrained_folder import open_folder
from jaxalign.pipeline import reward_functions
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.pipeline.own_rewards import own_reward
from jaxalign.pipeline.reward_terms import Reward, is_own, reward_terms
from jaxalign.rewards import reward_registry
from jaxalign.runtime import flags, hub
from jaxalign.runtime.config import RunConfig


def check_language_model(
    config: EvaluationConfig | RunConfig, flag: str, name: str
) -> None:
    """Refuses a folder that holds no language model; reads no weights.

    Args:
      flag: that names the folder, such as "--judge", for messages.
      name: a folder, or ORG/NAME of a hub.

    Raises:
      FileNotFoundError: no such folder.
      ValueError: a reward model, or no model that can be read; names the flag.
    """
    folder = hub.model_folder(name)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{flag} {name}: no such file or folder, nor ORG/NAME of a hub"
        )
    if is_reward_model(folder):
        raise ValueError(
            f"{flag} {name} is a reward model, which scores answers; expected a "
            "language model, which writes them"
        )
    with flags.prefix_errors(f"{flag} {name}"):
        open_folder(folder, dtype=config.dtype)


def is_reward_model(folder: Path) -> bool:
    """Whether config.json is that of a sequence classifier, as reward models are."""
    names = hf_files.read_config_json(folder).get("architectures") or ()
    return any("SequenceClassification" in str(name) for name in names)


def check_reward(config: EvaluationConfig | RunConfig, reward: Reward) -> None:
    """Refuses a `--reward` that cannot be loaded; reads no weights.

    Args:
      reward: as in `reward_functions`.

    Raises:
      ValueError, OSError: an unknown name or a bad argument of it, folders without a
        reward model, or a function that cannot be loaded.
    """
    if terms := reward_terms(reward):
        for term in terms:
            if is_own(term.reward):
                own_reward(term.reward)
            else:
                check_reward(config, str(term.reward))
        return
    reward = str(reward)
    if reward_registry.is_known(reward):
        reward_registry.make_reward(reward)
    kind, _, judge = reward.partition(":")
    if kind == "judge":
        check_language_model(config, "--reward judge:", judge)
    elif not hub.is_name(reward):
        for folder in reward_functions.reward_model_folders(reward):
            with flags.prefix_errors(f"--reward {reward}"):
                if not is_reward_model(folder):
                    raise ValueError(
                        f"{folder} is a language model; expected a reward model, or "
                        "judge:FOLDER for its ratings"
                    )
                open_folder(folder, dtype=config.dtype, reward=True)
