"""Model cards: README.md of a saved model, with the YAML header that hubs read."""

import dataclasses
import importlib.metadata
import json
import shlex
import sys
from typing import Any

from jaxalign.runtime import hub
from jaxalign.runtime.config import DefaultDate
from jaxalign.runtime.training_config import TrainConfig

# Flags of places and of resuming, which do not change what is computed.
LOCATION_FLAGS = ("out", "resume", "extend", "compilation_cache", "token_cache")
MODELS = ("model", "teacher")  # flags of folders or names on a hub
PACKAGES = ("jaxalign", "jax", "flax", "optax", "transformers", "tokenizers")


def model_card(config: TrainConfig, *, reward: bool = False) -> str:
    """The card of a trained model: its base, data, method, command and versions.

    It depends neither on the time nor on the place of the run.

    Args:
      reward: whether the model is a reward model.
    """
    method, base = experiment_of(config), hub.public_name(config.model)
    kind = "reward model" if reward else "language model"
    lines = [
        "---",
        "library_name: transformers",
        f"pipeline_tag: {'text-classification' if reward else 'text-generation'}",
        *([] if base == "toy" else [f"base_model: {json.dumps(base)}"]),
        f"tags: {json.dumps(['jaxalign', method])}",
        "---",
        "",
        f"# A {kind} trained by {method}",
        "",
        "| what | |",
        "|---|---|",
        table_row("base", "a new small model" if base == "toy" else base),
        table_row(
            "data", " ".join(str(x) for x in (config.data, config.data_path) if x)
        ),
        table_row("method", f"{method}, trained: {config.train}"),
        table_row("versions", ", ".join(map(version, PACKAGES))),
        "",
        "    " + command(config),
    ]
    return "\n".join(lines) + "\n"


def table_row(name: str, value: str) -> str:
    """A row of the table, with line ends and bars of the value escaped."""
    plain = " ".join(value.split()).replace("|", "\\|")
    return f"| {name} | {plain} |"


def experiment_of(config: Any) -> str:
    """The name of the experiment that a configuration belongs to."""
    module = type(config).__module__
    if module == "__main__":
        spec = getattr(sys.modules[module], "__spec__", None)
        module = spec.name if spec else module
    return module.rpartition(".")[2]


def command(config: Any) -> str:
    """The command line of a configuration, without flags at their default."""
    words = ["python", "-m", f"experiments.{experiment_of(config)}"]
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        unset = (
            value is None or isinstance(value, DefaultDate) or value == field.default
        )
        if unset or field.name in LOCATION_FLAGS:
            continue
        flag = field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            text = str(value)
            words += [f"--{flag}", hub.public_name(text) if flag in MODELS else text]
    return " ".join(shlex.join(words).splitlines())


def version(package: str) -> str:
    """The name of a package and its installed version."""
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package
