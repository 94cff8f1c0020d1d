"""Rotary frequencies, and how they are stretched for longer contexts."""

import dataclasses
import math
from typing import Literal

import numpy as np


@dataclasses.dataclass(frozen=True)
class RopeScaling:
    """A stretching of rotary frequencies.

    linear    every frequency is divided by `factor` (Chen et al. 2023)
    llama3    those that turn less than `low` times in the original context are divided
              by `factor`, those that turn more than `high` times are kept, and those in
              between are blended by their number of turns (Llama 3.1)
    yarn      the same, blended by their index (Peng et al. 2023, arXiv:2309.00071)
    longrope  each frequency is divided by a number of its own: of `short` in texts up
              to the original context, of `long` beyond (Ding et al. 2024,
              arXiv:2402.13753)

    Attributes:
      original: context before stretching.
      low, high: turns within the original context.
      whole: yarn's blending starts and ends at whole indices.
      attention_factor: by which rotated queries and keys grow.
      always: whether longrope takes every text for a long one, as those must who turn
        keys before they know how long their text will be.
    """

    kind: Literal["linear", "llama3", "yarn", "longrope"]
    factor: float = 1.0
    original: int = 0
    low: float = 1.0
    high: float = 4.0
    whole: bool = True
    attention_factor: float = 1.0
    short: tuple[float, ...] = ()
    long: tuple[float, ...] = ()
    always: bool = False


def frequencies(
    theta: float, size: int, scaling: RopeScaling | None, *, long: bool = False
) -> np.ndarray:
    """Radians per position of each of the size / 2 pairs, float32.

    theta^(-2 i / size)    (Su et al. 2021, arXiv:2104.09864), stretched

    Args:
      size: numbers of a head that are rotated.
      long: whether the text is longer than longrope's original context.
    """
    plain = theta ** (-np.arange(0, size, 2, dtype=np.float64) / size)
    if scaling is None:
        return plain.astype(np.float32)
    if scaling.kind == "longrope":
        divisors = np.asarray(scaling.long if long else scaling.short)
        return (plain / divisors).astype(np.float32)
    kept = {"linear": linear_ramp, "llama3": llama3_ramp, "yarn": yarn_ramp}[
        scaling.kind
    ]
    share = kept(plain, theta, scaling)
    return (share * plain + (1.0 - share) * plain / scaling.factor).astype(np.float32)


def linear_ramp(plain: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """How much of each frequency linear scaling keeps as it is: nothing."""
    return np.zeros_like(plain)


def llama3_ramp(plain: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """The same of llama3: all at `high` turns and beyond, nothing up to `low`."""
    turns = scaling.original * plain / (2 * math.pi)
    return np.clip((turns - scaling.low) / (scaling.high - scaling.low), 0.0, 1.0)


def yarn_ramp(plain: np.ndarray, theta: float, scaling: RopeScaling) -> np.ndarray:
    """The same of yarn: linear in the index of the pair."""
    pairs = len(plain)

    def index(turns: float) -> float:
        """Of the pair that turns so often in the original context."""
        length = scaling.original / (turns * 2 * math.pi)
        return pairs * math.log(length) / math.log(theta)

    first, last = index(scaling.high), index(scaling.low)
    if scaling.whole:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, 2 * pairs - 1)
    width = last - first or 0.001
    return 1.0 - np.clip((np.arange(pairs) - first) / width, 0.0, 1.0)
