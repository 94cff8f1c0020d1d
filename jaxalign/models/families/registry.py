"""The families that are built: config.json in and out, and the table of tensors."""

import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from transformers import CONFIG_MAPPING

from jaxalign.messages import one_line, shorten
from jaxalign.models.config import ModelConfig
from jaxalign.models.families import rope_config, settings
from jaxalign.models.families.family import Family, TensorTable
from jaxalign.models.families.gemma import GEMMA2, GEMMA3
from jaxalign.models.families.gpt2 import GPT2
from jaxalign.models.families.llama import LLAMA, MISTRAL, OLMO2, QWEN2, QWEN3
from jaxalign.models.families.neox import NEOX
from jaxalign.models.families.phi3 import PHI3
from jaxalign.models.hf_layout import TensorMapping, axis_sizes
from jaxalign.types import ORIGIN_KEY

FAMILIES = {
    family.name: family
    for family in (
        LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3, GPT2, NEOX, OLMO2
    )
}  # fmt: skip
# How a model is run, which no config.json says.
RUNTIME_FIELDS = ("dtype", "param_dtype", "remat", "attention", "unroll")

LABELS = ("id2label", "label2id")
MAX_LAYERS = 10_000  # of a config.json without tensors

TOKENS = ("bos_token_id", "eos_token_id", "pad_token_id")


def family_of(there: dict[str, Any], where: str, *, reward: bool) -> Family:
    """Whose config.json this is.

    Raises:
      ValueError: an architecture that is not built, or one with the other head.
    """
    name = (there.get("architectures") or ["none"])[0]
    wanted = {(f.reward if reward else f.language): f for f in FAMILIES.values()}
    other = {(f.language if reward else f.reward) for f in FAMILIES.values()}
    if name in wanted:
        return wanted[name]
    if name in other:
        kind, call = ("language", "load") if reward else ("reward", "load_reward")
        raise ValueError(
            f"{where}: field 'architectures': {name} is a {kind} model; read it with "
            f"{call}"
        )
    known = ", ".join(wanted)
    raise ValueError(
        f"{where}: field 'architectures': unknown architecture {name}; known: {known}"
    )


def read_config(
    there: dict[str, Any],
    where: str,
    *,
    reward: bool = False,
    names: Iterable[str] | None = None,
    **running: Any,
) -> ModelConfig:
    """Our configuration, from a config.json.

    Older settings are completed as transformers completes them, which makes lists as
    long as there are layers: those are counted in the file first.

    Args:
      there: what config.json says.
      where: its path, for messages.
      names: of the tensors, where there are some.
      running: dtype and param_dtype.

    Raises:
      ValueError: a family or a setting that is not built, one that is missing or of
        another type; one line that names the field.
    """
    settings.check(there, where)
    family = family_of(there, where, reward=reward)
    if there.get("model_type", family.name) != family.name:  # transformers goes by it
        shown = shorten(repr(there["model_type"]))
        raise ValueError(
            f"{where}: field 'model_type' is {shown}, not {family.name!r} as of "
            f"{there['architectures'][0]}"
        )
    absent = [field for field in family.needed if field not in there]
    if absent:
        raise ValueError(f"{where} lacks {', '.join(absent)}")
    if there.get("quantization_config"):
        raise ValueError(f"{where}: quantized weights are not supported")
    check_layers(family, there, where, names)
    if reward:
        check_labels(there, where)
    # labels are counted above, and make lists of their own in transformers
    there = {k: x for k, x in there.items() if k not in ("num_labels", *LABELS)}

    origin = there.get(ORIGIN_KEY, "")

    def read(some: dict[str, Any]) -> ModelConfig:
        full = CONFIG_MAPPING[family.name].from_dict(some)
        for field, allowed in family.fixed.items():
            if (value := getattr(full, field)) not in allowed:
                raise ValueError(f"{field} = {value!r} is not supported")
        fields = family.read(full)
        config = ModelConfig(**fields, family=family.name, origin=origin, **running)
        rope_config.check(config)
        return config

    try:
        return read(there)
    except Exception as error:  # those of transformers share no other base
        field = settings.invalid_field(there, read)
        why = str(error).rpartition("ValueError: ")[2]  # of a validator that failed
        raise ValueError(f"{where}: {field}{one_line(why or error)}") from error


def check_layers(
    family: Family, there: dict[str, Any], where: str, names: Iterable[str] | None
) -> None:
    """Refuses a number of layers that the tensors do not have.

    Raises:
      ValueError: names the field.
    """
    field = "n_layer" if "n_layer" in family.needed else "num_hidden_layers"
    number = rf"(?:^|\.){family.layers}\.(\d{{1,9}})\."
    matches = (re.search(number, name) for name in names or ())
    layers = len({int(match[1]) for match in matches if match})
    if there[field] != layers and (layers or there[field] > MAX_LAYERS):
        found = f"the tensors have {layers}" if layers else f"at most {MAX_LAYERS}"
        raise ValueError(f"{where}: field {field!r} is {there[field]}; {found}")


def check_labels(there: dict[str, Any], where: str) -> None:
    """Refuses a reward model of several scores.

    Where none of the fields says how many there are, the head does.

    Raises:
      ValueError: names the field.
    """
    counts = {field: len(there[field]) for field in LABELS if there.get(field)}
    counts |= {"num_labels": there["num_labels"]} if there.get("num_labels") else {}
    for field, count in counts.items():
        if count != 1:
            raise ValueError(
                f"{where}: {field} = {count} is not supported: a reward model has one"
            )


def write_config(
    config: ModelConfig, *, reward: bool = False, **tokens: Any
) -> dict[str, Any]:
    """A config.json, from our configuration, that reads back as the same.

    Args:
      tokens: ids such as eos_token_id.

    Raises:
      ValueError: a family that is not known, or that has no such model.
    """
    if config.family not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ValueError(f"unknown family {config.family!r}; known: {known}")
    family = FAMILIES[config.family]
    written = {
        "architectures": [family.reward if reward else family.language],
        "model_type": family.name,
        **family.write(config),
        "torch_dtype": config.param_dtype,
        **({"num_labels": 1} if reward else {}),
        # said even where there is none: a family's default may not be in the vocabulary
        **dict.fromkeys(TOKENS),
        **tokens,
        **({ORIGIN_KEY: config.origin} if config.origin else {}),
    }
    running = {field: getattr(config, field) for field in RUNTIME_FIELDS}
    if config.rope_scaling is not None:  # how a run turns its rows, too
        scaling = dataclasses.replace(config.rope_scaling, always=False)
        config = dataclasses.replace(config, rope_scaling=scaling)
    where = f"a {config.family} like this"
    again = dataclasses.asdict(
        read_config(written, where, reward=reward, **(running | {"attention": "xla"}))
    )
    for field, value in dataclasses.asdict(config).items():
        if field != "attention" and again[field] != value:
            raise ValueError(
                f"a {config.family} has {field} = {again[field]!r}, not {value!r}"
            )
    return written


def tensor_mappings(config: ModelConfig, leaves: Any) -> list[TensorMapping]:
    """The table between the tensors of a folder and the leaves of a model.

    Args:
      leaves: the paths of the leaves.

    Raises:
      ValueError: a leaf for which the family has no tensor.
    """
    found = mapping_table(config)
    absent = set(leaves) - {weight.path for weight in found}
    if absent:
        names = ", ".join(".".join(leaf) for leaf in sorted(absent))
        raise ValueError(f"a {config.family} has no tensors for {names}")
    return [weight for weight in found if weight.path in set(leaves)]


def mapping_table(config: ModelConfig) -> list[TensorMapping]:
    """Every tensor that a model of the family may have."""
    family, extent = FAMILIES[config.family], axis_sizes(config)
    path = lambda name: tuple(name.split("."))
    heads: TensorTable = {
        "unembed": (family.unembed, "v d -> d v"),
        "head.weight": ("score.weight", "o d -> d"),
        "head.bias": ("score.bias", "o -> "),
    }
    found = [
        TensorMapping(path(leaf), None, name, axes, extent, *part)
        for leaf, (name, axes, *part) in heads.items()
    ]
    found += [
        TensorMapping(path(leaf), None, f"{family.prefix}.{name}", axes, extent, *part)
        for leaf, (name, axes, *part) in family.trunk.items()
    ]
    found += [
        TensorMapping(
            ("blocks", *path(leaf)),
            layer,
            f"{family.prefix}.{family.layers}.{layer}.{name}",
            axes,
            extent,
            *part,
        )
        for layer in range(config.layers)
        for leaf, (name, axes, *part) in family.layer(config).items()
    ]
    return found


def name_aliases(config: ModelConfig, table: list[TensorMapping]) -> dict[str, str]:
    """Names in other folders of the same family: without the prefix of the trunk.

    A tied model's file may have its one matrix by the other name.
    """
    prefix = f"{FAMILIES[config.family].prefix}."
    names = {w.name.removeprefix(prefix): w.name for w in table}
    embed, unembed = embed_and_unembed(config)
    return (
        {old: new for old, new in names.items() if old != new}
        | {"lm_head.weight": unembed.name}
        | ({unembed.name: embed.name} if config.tied else {})
    )


def embed_and_unembed(config: ModelConfig) -> tuple[TensorMapping, TensorMapping]:
    """The embedding and the unembedding, of equal shape."""
    by_path = {weight.path: weight for weight in mapping_table(config)}
    return by_path[("embed",)], by_path[("unembed",)]


def optional_names(config: ModelConfig) -> set[str]:
    """What may be there unused: a tied model's file may still name its head."""
    return {"lm_head.weight", FAMILIES[config.family].unembed}
