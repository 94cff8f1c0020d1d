"""The lines at the end of a run that say how to use the model that it wrote.

They hold for the folder at hand; docs/use_your_model.md has the rest.
"""

import json
import shlex
from pathlib import Path
from typing import Any

from jaxalign.runtime import cli, distributed, hub, run_settings

PAGE = "docs/use_your_model.md"
MORE = {"policy": "vLLM, lm-eval, GGUF, hubs", "reward": "more"}
ADAPTER = "adapter_config.json"


def show(experiment: str, folder: Path) -> None:
    """Prints `usage_lines` where the user started this experiment.

    Stages of pipelines, and calls from Python, print nothing.

    Args:
      experiment: the name of the program that wrote the folder.
    """
    if cli.program_name() == f"python -m experiments.{experiment}":
        for line in usage_lines(experiment, folder):
            distributed.print_line(line)


def usage_lines(experiment: str, folder: Path) -> list[str]:
    """A line that names the page, then one for each way to use the run's model.

    Without a model there are none.

    Args:
      folder: of the run: holds `policy` or `reward`, and `adapter` after --train lora.
    """
    for name, commands in (("policy", policy_commands), ("reward", reward_commands)):
        if (folder / name / "config.json").is_file():
            title = f"{experiment}: the model is {folder / name}; {MORE[name]}: {PAGE}"
            ways = commands(folder).items()
            return [title, *(f"  {way:<14}{command}" for way, command in ways)]
    return []


def policy_commands(folder: Path) -> dict[str, str]:
    """How to use a run's policy, and its adapter, by program or library."""
    policy, adapter = folder / "policy", folder / "adapter"
    load = "from_pretrained"
    commands = {
        "chat": f"python -m experiments.chat --model {shell_word(policy)}",
        "transformers": f"AutoModelForCausalLM.{load}({python_text(policy)})",
    }
    if (adapter / ADAPTER).is_file():
        base = read_field(adapter / ADAPTER, "base_model_name_or_path")
        if base != "toy":  # a new model, which is in no folder
            text = f"AutoPeftModelForCausalLM.{load}({python_text(adapter)})"
            commands["PEFT"] = f"{text}  # on {base}"
    return commands


def reward_commands(folder: Path) -> dict[str, str]:
    """How to use a run's reward model, by program or library."""
    reward, base = folder / "reward", read_field(folder / "config.json", "model")
    auto = "AutoModelForSequenceClassification"
    load = f"{auto}.from_pretrained({python_text(reward)})"
    commands = {"transformers": f"{load}  # without the bias of its scores"}
    if base == "toy":  # a new model each time, and no policy to train
        return commands
    policy = shlex.quote(hub.public_name(base))
    text = f"python -m experiments.ppo --model {policy} --reward {shell_word(reward)}"
    return {"PPO": text} | commands


def read_field(path: Path, name: str) -> Any:
    """A field of a JSON file that this run has written."""
    return run_settings.read_object(path, "how the model is used")[name]


def shell_word(path: Path) -> str:
    """A path as a word of a shell's command."""
    return shlex.quote(str(path))


def python_text(path: Path) -> str:
    """A path as a text of Python."""
    return json.dumps(str(path), ensure_ascii=False)
