"""Rotary settings of a config.json: read, validated and written."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxalign.models.config import ModelConfig
from jaxalign.models.rope import RopeScaling, frequencies

MAX_ROTARY_DIM = 65_536  # numbers of a head; those of public models have 512
INVALID_COMBINATION = "these numbers together give no finite rotary frequencies"


def read(rope: Mapping[str, Any], context: int) -> dict[str, Any]:
    """Rotary fields of `ModelConfig`.

    Args:
      rope: rope_parameters, as transformers 5 completes them from older settings.
      context: max_position_embeddings.

    Raises:
      ValueError: a type of scaling that is not supported, or invalid numbers.
    """
    try:
        scaling = read_scaling(rope, context)
    except ArithmeticError as error:
        raise ValueError(INVALID_COMBINATION) from error
    return {
        "rope_theta": float(rope["rope_theta"]),
        "rotary_fraction": float(rope.get("partial_rotary_factor") or 1.0),
        "rope_scaling": scaling,
    }


def check(config: ModelConfig) -> None:
    """Validate that the rotary settings give finite frequencies.

    Raises:
      ValueError: they do not, or too many numbers of a head are rotated.
    """
    if config.rotary_dim > MAX_ROTARY_DIM:
        raise ValueError(
            f"{config.rotary_dim} numbers of a head are rotated; at most "
            f"{MAX_ROTARY_DIM} are supported"
        )
    theta, scaling = config.rope_theta, config.rope_scaling
    bases = [(theta, scaling), (config.rope_local_theta or theta, None)]
    try:
        with np.errstate(all="ignore"):
            inverse = [
                frequencies(base, config.rotary_dim, base_scaling, long=long)
                for base, base_scaling in bases
                for long in (False, True)
            ]
    except ArithmeticError:
        inverse = [np.asarray([math.nan])]
    factor = scaling.attention_factor if scaling else 1.0
    finite = all(map(np.all, map(np.isfinite, inverse)))
    if not (0 < factor < math.inf and finite):
        raise ValueError(INVALID_COMBINATION)


def read_scaling(rope: Mapping[str, Any], context: int) -> RopeScaling | None:
    """The scaling of rope_parameters; None for the default type.

    Raises:
      ValueError: as `read`.
    """
    kind = rope["rope_type"]
    factor: Any = rope.get("factor")
    original: Any = rope.get("original_max_position_embeddings")
    if kind == "default":
        return None
    if factor is None and kind in ("linear", "llama3"):
        raise ValueError(f"a {kind} scaling without its factor")
    if kind == "linear":
        return RopeScaling("linear", float(factor))
    if kind == "llama3":
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        if low >= high:  # the width of the ramp, which is a divisor
            raise ValueError(
                f"low_freq_factor = {low} is not below high_freq_factor = {high}"
            )
        return RopeScaling("llama3", float(factor), original, float(low), float(high))
    if kind == "yarn":
        factor = factor or context / original
        slow, fast = rope.get("beta_slow") or 1.0, rope.get("beta_fast") or 32.0
        if slow > fast:
            raise ValueError(f"beta_slow = {slow} is above beta_fast = {fast}")
        return RopeScaling(
            "yarn",
            float(factor),
            original,
            float(slow),
            float(fast),
            truncate=bool(rope.get("truncate", True)),
            attention_factor=yarn_attention_factor(rope, factor),
        )
    if kind == "longrope":
        return RopeScaling(
            "longrope",
            original_context=original,
            attention_factor=longrope_attention_factor(rope, context),
            short=tuple(map(float, rope["short_factor"])),
            long=tuple(map(float, rope["long_factor"])),
        )
    raise ValueError(f"rope scaling of type {kind!r} is not supported")


def longrope_attention_factor(rope: Mapping[str, Any], context: int) -> float:
    """The factor of longrope's rotated queries and keys.

    sqrt(1 + log(factor) / log(original context))    (arXiv:2402.13753)
    """
    original: Any = rope.get("original_max_position_embeddings")
    factor = rope.get("factor") or context / original
    by_length = (
        math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1
    )
    return float(rope.get("attention_factor") or by_length)


def yarn_attention_factor(rope: Mapping[str, Any], factor: float) -> float:
    """The factor of YaRN's rotated queries and keys.

    0.1 log(factor) + 1    (arXiv:2309.00071)
    """
    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    by_scale = lambda m: 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1.0
    above, below = rope.get("mscale"), rope.get("mscale_all_dim")
    return by_scale(above) / by_scale(below) if above and below else by_scale(1.0)


def write(config: ModelConfig) -> dict[str, Any]:
    """Rotary fields of config.json, in the form that transformers 4 and 5 read."""
    fields: dict[str, Any] = {"rope_theta": config.rope_theta}
    if config.rope_scaling is not None:
        fields["rope_scaling"] = write_scaling(config.rope_scaling)
    return fields


def write_scaling(scaling: RopeScaling) -> dict[str, Any]:
    """The inverse of `read_scaling`."""
    fields: dict[str, Any] = {"rope_type": scaling.kind}
    low, high = scaling.low_turns, scaling.high_turns
    if scaling.kind != "longrope":
        fields |= {"factor": scaling.factor}
    if scaling.kind != "linear":
        fields |= {"original_max_position_embeddings": scaling.original_context}
    if scaling.kind == "llama3":
        fields |= {"low_freq_factor": low, "high_freq_factor": high}
    if scaling.kind == "yarn":
        fields |= {"beta_slow": low, "beta_fast": high}
        fields |= {"truncate": scaling.truncate}
    if scaling.kind == "longrope":
        short, long = list(scaling.short), list(scaling.long)
        fields |= {"short_factor": short, "long_factor": long}
    if scaling.kind in ("yarn", "longrope"):
        fields |= {"attention_factor": scaling.attention_factor}
    return fields
