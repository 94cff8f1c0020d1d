"""Frequencies of rotary position embeddings, and their scaling for longer contexts."""

import dataclasses
import math
from typing import Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """A scaling of rotary frequencies for contexts beyond that of pretraining.

    linear    every frequency is divided by `factor` (Chen et al. 2023)
    llama3    frequencies of less than `low_turns` turns in the original context are
              divided by `factor`, those of more than `high_turns` turns are kept, and
              those between are interpolated by their number of turns (Llama 3.1)
    yarn      as llama3, interpolated by index (Peng et al. 2023, arXiv:2309.00071)
    longrope  each frequency is divided by a factor of its own: of `short` in texts up
              to the original context, of `long` beyond (Ding et al. 2024,
              arXiv:2402.13753)

    Attributes:
      factor: of the new context to the original one; 1 has no effect.
      original_context: tokens of the context before scaling.
      low_turns, high_turns: turns within the original context.
      truncate: whether yarn rounds the ends of its ramp outward to whole indices.
      attention_factor: by which rotated queries and keys are multiplied.
      short, long: divisors of each frequency, for longrope.
      always_long: use the long factors for all rows (needed when keys are cached before
        the length is known).
    """

    kind: Literal["linear", "llama3", "yarn", "longrope"]
    factor: float = 1.0
    original_context: int = 0
    low_turns: float = 1.0
    high_turns: float = 4.0
    truncate: bool = True
    attention_factor: float = 1.0
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()
    always_long: bool = False


def frequencies(
    theta: float, size: int, scaling: RopeScaling | None, *, long: bool = False
) -> np.ndarray:
    """Radians per position of each of the size / 2 pairs, float32.

    frequency_i = theta^(-2 i / size), scaled

    Args:
      theta: base of the frequencies.
      size: numbers of a head that are rotated; even.
      scaling: None for none.
      long: use longrope's long factors.

    Reference: Su et al. 2021, arXiv:2104.09864, section 3.2.2.
    """
    unscaled = theta ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    if scaling is None:
        return unscaled.astype(np.float32)
    if scaling.kind == "longrope":
        divisors = np.asarray(scaling.long if long else scaling.short)
        return (unscaled / divisors).astype(np.float32)
    ramps = {"linear": linear_ramp, "llama3": llama3_ramp, "yarn": yarn_ramp}
    ramp = ramps[scaling.kind](unscaled, theta, scaling)
    scaled = ramp * unscaled + (1.0 - ramp) * unscaled / scaling.factor
    return scaled.astype(np.float32)


def linear_ramp(unscaled: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """The weight of each unscaled frequency under linear scaling: 0."""
    return np.zeros_like(unscaled)


def llama3_ramp(unscaled: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """The weight of each unscaled frequency: 0 at `low_turns`, 1 at `high_turns`."""
    turns = scaling.original_context * unscaled / (2 * math.pi)
    width = scaling.high_turns - scaling.low_turns
    return np.clip((turns - scaling.low_turns) / width, 0.0, 1.0)


def yarn_ramp(unscaled: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """The weight of each unscaled frequency, linear in its index."""
    pairs = len(unscaled)

    def index(turns: float) -> float:
        """The index of the pair with this many turns in the original context."""
        length = scaling.original_context / (turns * 2 * math.pi)
        return pairs * math.log(length) / math.log(theta)

    first, last = index(scaling.high_turns), index(scaling.low_turns)
    if scaling.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * pairs - 1)
    width = last - first or 0.001
    return 1.0 - np.clip((np.arange(pairs) - first) / width, 0.0, 1.0)
