"""The families that are built: config.json in and out, and the table of tensors."""

import dataclasses
from typing import Any

from transformers import CONFIG_MAPPING

from jaxalign.models.config import ModelConfig
from jaxalign.models.families.family import Family, Rows
from jaxalign.models.families.gemma import GEMMA2, GEMMA3
from jaxalign.models.families.gpt2 import GPT2
from jaxalign.models.families.llama import LLAMA, MISTRAL, OLMO2, QWEN2, QWEN3
from jaxalign.models.families.neox import NEOX
from jaxalign.models.families.phi3 import PHI3
from jaxalign.models.tensors import Weight, sizes

FAMILIES = {
    family.name: family
    for family in (
        LLAMA, MISTRAL, QWEN2, QWEN3, GEMMA2, GEMMA3, PHI3, GPT2, NEOX, OLMO2
    )
}  # fmt: skip
# How a model is run, which no config.json says.
RUNNING = ("dtype", "param_dtype", "remat", "attention", "unroll")

ORIGIN = "jaxalign_origin"  # of config.json: what a model began as

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
        raise ValueError(f"{where}: {name} is a {kind} model; read it with {call}")
    known = ", ".join(wanted)
    raise ValueError(f"{where}: unknown architecture {name}; known: {known}")


def read_config(
    there: dict[str, Any], where: str, *, reward: bool = False, **running: Any
) -> ModelConfig:
    """Our configuration, from a config.json.

    Older settings are completed as transformers completes them.

    Args:
      there: what config.json says.
      where: its path, for messages.
      running: dtype and param_dtype.

    Raises:
      ValueError: a family or a setting that is not built, or one that is missing.
    """
    family = family_of(there, where, reward=reward)
    absent = [field for field in family.needed if field not in there]
    if absent:
        raise ValueError(f"{where} lacks {', '.join(absent)}")
    if there.get("quantization_config"):
        raise ValueError(f"{where}: quantized weights are not supported")
    try:
        full = CONFIG_MAPPING[family.name].from_dict(there)
        fields = family.read(full)
    except Exception as error:  # those of transformers share no other base
        raise ValueError(f"{where}: {error}") from error
    fixed = {**family.fixed, **({"num_labels": (1,)} if reward else {})}
    for field, allowed in fixed.items():
        value = getattr(full, field)
        if value not in allowed:
            raise ValueError(f"{where}: {field} = {value!r} is not supported")
    origin = str(there.get(ORIGIN, ""))
    return ModelConfig(**fields, family=family.name, origin=origin, **running)


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
        **({ORIGIN: config.origin} if config.origin else {}),
    }
    running = {field: getattr(config, field) for field in RUNNING}
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


def weights(config: ModelConfig, leaves: Any) -> list[Weight]:
    """The table between the tensors of a folder and the leaves of a model.

    Args:
      leaves: the paths of the leaves.

    Raises:
      ValueError: a leaf for which the family has no tensor.
    """
    family, extent = FAMILIES[config.family], sizes(config)
    path = lambda name: tuple(name.split("."))
    heads: Rows = {
        "unembed": (family.unembed, "v d -> d v"),
        "head.weight": ("score.weight", "o d -> d"),
        "head.bias": ("score.bias", "o -> "),
    }
    found = [
        Weight(path(leaf), None, name, axes, extent, *part)
        for leaf, (name, axes, *part) in heads.items()
    ]
    found += [
        Weight(path(leaf), None, f"{family.prefix}.{name}", axes, extent, *part)
        for leaf, (name, axes, *part) in family.trunk.items()
    ]
    found += [
        Weight(
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
    absent = set(leaves) - {weight.path for weight in found}
    if absent:
        names = ", ".join(".".join(leaf) for leaf in sorted(absent))
        raise ValueError(f"a {config.family} has no tensors for {names}")
    return [weight for weight in found if weight.path in set(leaves)]


def older_names(config: ModelConfig, table: list[Weight]) -> dict[str, str]:
    """Names in other folders of the same family: without the prefix of the trunk."""
    prefix = f"{FAMILIES[config.family].prefix}."
    names = {w.name.removeprefix(prefix): w.name for w in table}
    return {old: new for old, new in names.items() if old != new} | {
        "lm_head.weight": FAMILIES[config.family].unembed
    }


def spare(config: ModelConfig) -> set[str]:
    """What may be there unused: a tied model's file may still name its head."""
    return {"lm_head.weight", FAMILIES[config.family].unembed}
