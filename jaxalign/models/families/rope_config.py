"""Rotary settings of a config.json, in and out."""

import math
from typing import Any

import numpy as np

from jaxalign.models.config import ModelConfig
from jaxalign.models.rope import RopeScaling, frequencies

MAX_ROTARY_DIM = 65_536  # numbers of a head; those of public models have 512
INVALID_COMBINATION = "positions cannot be rotated by these numbers together"


def read(there: dict[str, Any], context: int) -> dict[str, Any]:
    """The fields of `ModelConfig` that say how positions rotate.

    Args:
      there: rope_parameters, as transformers 5 completes them from older settings.

    Raises:
      ValueError: a kind of scaling that is not built, or numbers that make none.
    """
    try:
        scaled = read_scaling(there, context)
    except ArithmeticError as error:
        raise ValueError(INVALID_COMBINATION) from error
    return {
        "rope_theta": float(there["rope_theta"]),
        "rope_share": float(there.get("partial_rotary_factor") or 1.0),
        "rope_scaling": scaled,
    }


def check(config: ModelConfig) -> None:
    """Refuses settings whose numbers, together, make no frequencies.

    Raises:
      ValueError: says of what they are.
    """
    if config.rotary_dim > MAX_ROTARY_DIM:
        raise ValueError(f"{config.rotary_dim} numbers of a head are rotated")
    theta, scaling = config.rope_theta, config.rope_scaling
    bases = [(theta, scaling), (config.rope_local_theta or theta, None)]
    try:
        with np.errstate(all="ignore"):
            made = [
                frequencies(base, config.rotary_dim, how, long=long)
                for base, how in bases
                for long in (False, True)
            ]
    except ArithmeticError:
        made = [np.asarray([math.nan])]
    grown = scaling.attention_factor if scaling else 1.0
    fine = 0 < grown < math.inf and all(map(np.all, map(np.isfinite, made)))
    if not fine:
        raise ValueError(INVALID_COMBINATION)


def read_scaling(there: dict[str, Any], context: int) -> RopeScaling | None:
    """How frequencies are stretched."""
    kind = there["rope_type"]
    factor: Any = there.get("factor")
    original: Any = there.get("original_max_position_embeddings")
    if kind == "default":
        return None
    if factor is None and kind in ("linear", "llama3"):
        raise ValueError(f"a {kind} scaling without its factor")
    if kind == "linear":
        return RopeScaling("linear", float(factor))
    if kind == "llama3":
        low, high = there["low_freq_factor"], there["high_freq_factor"]
        if low >= high:  # between them frequencies are divided by the difference
            raise ValueError(
                f"low_freq_factor = {low} is not below high_freq_factor = {high}"
            )
        return RopeScaling("llama3", float(factor), original, float(low), float(high))
    if kind == "yarn":
        factor = factor or context / original
        slow, fast = there.get("beta_slow") or 1.0, there.get("beta_fast") or 32.0
        if slow > fast:
            raise ValueError(f"beta_slow = {slow} is above beta_fast = {fast}")
        return RopeScaling(
            "yarn",
            float(factor),
            original,
            float(slow),
            float(fast),
            whole=bool(there.get("truncate", True)),
            attention_factor=yarn_attention_factor(there, factor),
        )
    if kind == "longrope":
        factor = factor or context / original
        grown = (
            math.sqrt(1 + math.log(factor) / math.log(original)) if factor > 1 else 1
        )
        return RopeScaling(
            "longrope",
            original=original,
            attention_factor=float(there.get("attention_factor") or grown),
            short=tuple(map(float, there["short_factor"])),
            long=tuple(map(float, there["long_factor"])),
        )
    raise ValueError(f"rope scaling of type {kind!r} is not supported")


def yarn_attention_factor(there: dict[str, Any], factor: float) -> float:
    """By which yarn's queries and keys grow (arXiv:2309.00071)."""
    if there.get("attention_factor") is not None:
        return float(there["attention_factor"])
    grown = lambda m: 1.0 if factor <= 1 else 0.1 * m * math.log(factor) + 1.0
    above, below = there.get("mscale"), there.get("mscale_all_dim")
    return grown(above) / grown(below) if above and below else grown(1.0)


def write(config: ModelConfig) -> dict[str, Any]:
    """The settings, in the form that transformers 4 and 5 both read."""
    found: dict[str, Any] = {"rope_theta": config.rope_theta}
    if config.rope_scaling is not None:
        found["rope_scaling"] = write_scaling(config.rope_scaling)
    return found


def write_scaling(scaling: RopeScaling) -> dict[str, Any]:
    """What `read_scaling` reads."""
    kept: dict[str, Any] = {"rope_type": scaling.kind}
    if scaling.kind != "longrope":
        kept |= {"factor": scaling.factor}
    if scaling.kind != "linear":
        kept |= {"original_max_position_embeddings": scaling.original}
    if scaling.kind == "llama3":
        kept |= {"low_freq_factor": scaling.low, "high_freq_factor": scaling.high}
    if scaling.kind == "yarn":
        kept |= {"beta_slow": scaling.low, "beta_fast": scaling.high}
        kept |= {"truncate": scaling.whole}
    if scaling.kind == "longrope":
        kept |= {"short_factor": list(scaling.short), "long_factor": list(scaling.long)}
    if scaling.kind in ("yarn", "longrope"):
        kept |= {"attention_factor": scaling.attention_factor}
    return kept
