"""The supported model families: config.json read, validated and written."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from jaxalign import lazy
from jaxalign.messages import one_line, shorten
from jaxalign.models.config import ModelConfig
from jaxalign.models.families import rope_config, settings
from jaxalign.models.families.family import Family
from jaxalign.models.families.gemma import GEMMA2, GEMMA3
from jaxalign.models.families.gpt2 import GPT2
from jaxalign.models.families.llama import LLAMA, MISTRAL, OLMO2, QWEN2, QWEN3
from jaxalign.models.families.neox import NEOX
from jaxalign.models.families.phi3 import PHI3
from jaxalign.types import ORIGIN_KEY

if TYPE_CHECKING:
    import transformers
else:
    transformers = lazy.module("transformers")

FAMILIES = {
    family.name: family
    for family in (
        LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3, GPT2, NEOX, OLMO2
    )
}  # fmt: skip
# fields of how a model is computed, which are not in a config.json
RUNTIME_FIELDS = ("dtype", "param_dtype", "remat", "attention", "unroll")

LABELS = ("id2label", "label2id")
MAX_LAYERS = 10_000  # of a config.json without tensors

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def family_of(config_json: Mapping[str, Any], location: str, *, reward: bool) -> Family:
    """The family of a config.json, by its architecture.

    Args:
      location: of the file, for messages.
      reward: whether a scalar head is expected, or a language model's.

    Raises:
      ValueError: an architecture that is not supported, or one with the other head.
    """
    name = (config_json.get("architectures") or ["none"])[0]
    known = {(f.reward if reward else f.language): f for f in FAMILIES.values()}
    other = {(f.language if reward else f.reward) for f in FAMILIES.values()}
    if name in known:
        return known[name]
    field = f"{location}: field 'architectures'"
    if name in other:
        kind, call = ("language", "load") if reward else ("reward", "load_reward")
        raise ValueError(f"{field}: {name} is a {kind} model; read it with {call}")
    names = ", ".join(known)
    raise ValueError(f"{field}: unknown architecture {name}; known: {names}")


def read_config(
    config_json: Mapping[str, Any],
    location: str,
    *,
    reward: bool = False,
    names: Iterable[str] | None = None,
    **runtime: Any,
) -> ModelConfig:
    """The configuration of a config.json.

    Older settings are completed by transformers, which makes lists as long as there are
    layers: the number of layers is checked first.

    Args:
      config_json: content of the file.
      location: of the file, for messages.
      reward: whether the folder has a reward model.
      names: of the tensors; None for a folder without any.
      runtime: values of `RUNTIME_FIELDS`.

    Raises:
      ValueError: a family or a setting that is not supported, a missing field, or one
        of the wrong type; one line that names the field.
    """
    family = check_config(config_json, location, reward=reward, names=names)
    origin = config_json.get(ORIGIN_KEY, "")

    def read(fields: dict[str, Any]) -> ModelConfig:
        hf_config = transformers.CONFIG_MAPPING[family.name].from_dict(fields)
        for field, allowed in family.supported_values.items():
            if (value := getattr(hf_config, field)) not in allowed:
                raise ValueError(f"{field} = {value!r} is not supported")
        shape = family.read(hf_config)
        config = ModelConfig(**shape, family=family.name, origin=origin, **runtime)
        rope_config.check(config)
        return config

    # labels are checked already, and become lists of their own in transformers
    left_out = ("num_labels", *LABELS)
    fields = {k: x for k, x in config_json.items() if k not in left_out}
    try:
        return read(fields)
    except Exception as error:  # those of transformers have no other common base
        field = settings.invalid_field(fields, read)
        reason = str(error).rpartition("ValueError: ")[2]  # of a failed validator
        message = f"{location}: {field}{one_line(reason or error)}"
        raise ValueError(message) from error


def check_config(
    config_json: Mapping[str, Any],
    location: str,
    *,
    reward: bool,
    names: Iterable[str] | None,
) -> Family:
    """Validate the fields of a config.json that transformers does not check.

    Args as `read_config`.

    Returns:
      Its family.

    Raises:
      ValueError: one line that names the field.
    """
    settings.check(config_json, location)
    family = family_of(config_json, location, reward=reward)
    model_type = config_json.get("model_type", family.name)
    if model_type != family.name:  # transformers reads the folder by this field
        raise ValueError(
            f"{location}: field 'model_type' is {shorten(repr(model_type))}; expected "
            f"{family.name!r}, as of {config_json['architectures'][0]}"
        )
    missing = [field for field in family.required if field not in config_json]
    if missing:
        raise ValueError(f"{location}: missing {', '.join(missing)}")
    if config_json.get("quantization_config"):
        raise ValueError(f"{location}: quantized weights are not supported")
    check_layers(family, config_json, location, names)
    if reward:
        check_labels(config_json, location)
    return family


def check_layers(
    family: Family,
    config_json: Mapping[str, Any],
    location: str,
    names: Iterable[str] | None,
) -> None:
    """Validate the number of layers against the tensors.

    Raises:
      ValueError: names the field.
    """
    field = "n_layer" if "n_layer" in family.required else "num_hidden_layers"
    number = rf"(?:^|\.){family.layers}\.(\d{{1,9}})\."
    matches = (re.search(number, name) for name in names or ())
    layers = len({int(match[1]) for match in matches if match})
    count = config_json[field]
    if count != layers and (layers or count > MAX_LAYERS):
        expected = f"the tensors have {layers}" if layers else f"at most {MAX_LAYERS}"
        raise ValueError(f"{location}: field {field!r} is {count}; {expected}")


def check_labels(config_json: Mapping[str, Any], location: str) -> None:
    """Validate that a reward model has one score.

    Without a field for their number, the shape of the head decides.

    Raises:
      ValueError: names the field.
    """
    counts = {f: len(config_json[f]) for f in LABELS if config_json.get(f)}
    if config_json.get("num_labels"):
        counts["num_labels"] = config_json["num_labels"]
    for field, count in counts.items():
        if count != 1:
            raise ValueError(
                f"{location}: {field} = {count} is not supported: a reward model has "
                "one label"
            )


def write_config(
    config: ModelConfig, *, reward: bool = False, **tokens: Any
) -> dict[str, Any]:
    """The fields of a config.json; reading them gives the configuration again.

    Args:
      reward: for a reward model.
      tokens: ids of special tokens such as eos_token_id.

    Raises:
      ValueError: an unknown family, or a configuration that its config.json cannot
        express.
    """
    if config.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"unknown family {config.family!r}; known: {known}")
    family = FAMILIES[config.family]
    fields = {
        "architectures": [family.reward if reward else family.language],
        "model_type": family.name,
        **family.write(config),
        "torch_dtype": config.param_dtype,
        **({"num_labels": 1} if reward else {}),
        # null where there is none: a family's default may not be in the vocabulary
        **dict.fromkeys(TOKENS),
        **tokens,
        **({ORIGIN_KEY: config.origin} if config.origin else {}),
    }
    check_round_trip(config, fields, reward=reward)
    return fields


def check_round_trip(
    config: ModelConfig, fields: Mapping[str, Any], *, reward: bool
) -> None:
    """Validate that the fields of a config.json give a configuration.

    Raises:
      ValueError: names the first field of the configuration that differs.
    """
    runtime = {field: getattr(config, field) for field in RUNTIME_FIELDS}
    if config.rope_scaling is not None:  # `always_long` belongs to a run, too
        scaling = dataclasses.replace(config.rope_scaling, always_long=False)
        config = dataclasses.replace(config, rope_scaling=scaling)
    location = f"a {config.family} of this shape"
    again = dataclasses.asdict(
        read_config(fields, location, reward=reward, **(runtime | {"attention": "xla"}))
    )
    for field, value in dataclasses.asdict(config).items():
        if field != "attention" and again[field] != value:
            raise ValueError(
                f"a {config.family} has {field} = {again[field]!r}, not {value!r}"
            )
