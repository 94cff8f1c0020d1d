"""The mappings of a model's tensors in a folder to its parameters, by family."""

from collections.abc import Collection, Sequence

from jaxalign.models.config import ModelConfig
from jaxalign.models.families.family import TensorTable
from jaxalign.models.families.registry import FAMILIES
from jaxalign.models.hf_layout import TensorMapping, axis_sizes


def tensor_mappings(
    config: ModelConfig, paths: Collection[tuple[str, ...]]
) -> list[TensorMapping]:
    """The mappings of some parameters.

    Raises:
      ValueError: a parameter for which the family has no tensor.
    """
    mappings = mapping_table(config)
    absent = set(paths) - {mapping.path for mapping in mappings}
    if absent:
        names = ", ".join(".".join(path) for path in sorted(absent))
        raise ValueError(f"a {config.family} has no tensors for {names}")
    return [mapping for mapping in mappings if mapping.path in set(paths)]


def mapping_table(config: ModelConfig) -> list[TensorMapping]:
    """The mappings of every tensor that a model of the family may have."""
    family, extents = FAMILIES[config.family], axis_sizes(config)
    path = lambda name: tuple(name.split("."))
    heads: TensorTable = {
        "unembed": (family.unembed, "v d -> d v"),
        "head.weight": ("score.weight", "o d -> d"),
        "head.bias": ("score.bias", "o -> "),
    }
    mappings = [
        TensorMapping(path(param), None, name, axes, extents, *part)
        for param, (name, axes, *part) in heads.items()
    ]
    mappings += [
        TensorMapping(
            path(param), None, f"{family.prefix}.{name}", axes, extents, *part
        )
        for param, (name, axes, *part) in family.trunk.items()
    ]
    mappings += [
        TensorMapping(
            ("blocks", *path(param)),
            layer,
            f"{family.prefix}.{family.layers}.{layer}.{name}",
            axes,
            extents,
            *part,
        )
        for layer in range(config.layers)
        for param, (name, axes, *part) in family.layer(config).items()
    ]
    return mappings


def name_aliases(
    config: ModelConfig, mappings: Sequence[TensorMapping]
) -> dict[str, str]:
    """Names of tensors in other folders of the family -> names of the mappings.

    Older folders lack the prefix of the trunk, and the one matrix of a tied model may
    have the name of the unembedding.
    """
    prefix = f"{FAMILIES[config.family].prefix}."
    names = {x.name.removeprefix(prefix): x.name for x in mappings}
    embed, unembed = embed_and_unembed(config)
    return (
        {old: new for old, new in names.items() if old != new}
        | {"lm_head.weight": unembed.name}
        | ({unembed.name: embed.name} if config.tied else {})
    )


def embed_and_unembed(config: ModelConfig) -> tuple[TensorMapping, TensorMapping]:
    """The mappings of the embedding and the unembedding, of equal shape."""
    by_path = {mapping.path: mapping for mapping in mapping_table(config)}
    return by_path[("embed",)], by_path[("unembed",)]


def optional_names(config: ModelConfig) -> set[str]:
    """Tensors that may exist unused: a tied model's file may have an unembedding."""
    return {"lm_head.weight", FAMILIES[config.family].unembed}
