"""Arguments of the evaluation harness's model `jaxalign`."""

from collections.abc import Mapping
from typing import Any

from jaxalign.pipeline.evaluation.models import EvaluationConfig

# arguments of other models, which the harness's command passes on
IGNORED = ("device", "max_batch_size", "trust_remote_code")


def parse_arguments(text: str) -> dict[str, str]:
    """Arguments in one text, with commas between them.

    >>> parse_arguments("pretrained=runs/dpo/policy,mesh=data=2")
    {'pretrained': 'runs/dpo/policy', 'mesh': 'data=2'}
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_arguments(arguments: Mapping[str, Any]) -> tuple[str, EvaluationConfig]:
    """The folder of the model and its settings.

    `pretrained` is the folder, or ORG/NAME of a hub; dtype, mesh, max_length,
    batch_size and seed mean what the flags --dtype, --mesh, --context, --rows and
    --seed of `experiments.lm_eval` do.

    Raises:
      ValueError: an unknown argument, a bad value, or no folder.
    """
    values = {k: v for k, v in arguments.items() if v is not None and k not in IGNORED}
    folder = str(values.pop("pretrained", ""))
    names = {"batch_size": "rows", "max_length": "context", "seed": "seed"}
    settings: dict[str, Any] = {}
    for name, field in names.items():
        number = str(values.pop(name, "")).strip()
        if number and not number.isdecimal():
            raise ValueError(f"{name} is {number!r}; expected a whole number")
        if number:
            settings[field] = int(number)
    unknown = sorted(values.keys() - {"dtype", "mesh"})
    if unknown or not folder:
        problem = f"unknown {', '.join(unknown)}" if unknown else "no pretrained"
        raise ValueError(
            f"arguments of the model jaxalign: {problem}; expected pretrained=FOLDER, "
            "and any of dtype, mesh, max_length, batch_size, seed"
        )
    return folder, EvaluationConfig(**settings, **values)
