"""Perplexity of texts: the windows that are read, and ratios with their intervals."""

import math
from typing import Literal, NamedTuple

import numpy as np

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.resampling import percentile_interval, resample_weights

LongTexts = Literal["windows", "cut"]
"""Texts longer than the context: read in windows, or cut to the first one."""


class Window(NamedTuple):
    """A part of a token sequence that a model reads at one time.

    Attributes:
      start, stop: its tokens, [start, stop).
      first_scored: the first token that is predicted in it, start < first_scored <
        stop; those before are context.
    """

    start: int
    stop: int
    first_scored: int


def sliding_windows(length: int, context: int, stride: int) -> list[Window]:
    """Windows in which each token but the first is predicted exactly once.

    The first window is the first `context` tokens; each later one ends `stride` tokens
    after the one before, and predicts these with at least `context - stride` tokens
    before them.

    Args:
      length: tokens of the sequence, the beginning token included.
      context: tokens of a window, at least 2.
      stride: tokens that a later window predicts, 1 to `context - 1`; fewer give more
        context to each, and take longer.

    Raises:
      ValueError: a stride out of range.

    Reference: Baevski and Auli 2018, arXiv:1809.10853, section 5.1 (context window).

    >>> sliding_windows(8, 5, 2)
    [Window(start=0, stop=5, first_scored=1), Window(start=2, stop=7, first_scored=5), \
Window(start=3, stop=8, first_scored=7)]
    """
    if not 1 <= stride < context:
        raise ValueError(
            f"--stride {stride}: expected 1 to {context - 1}, less than the context of "
            f"{context} tokens"
        )
    windows = []
    done = 1
    while done < length:
        stop = min(context if done == 1 else done + stride, length)
        windows.append(Window(max(stop - context, 0), stop, done))
        done = stop
    return windows


class TextStatistics(NamedTuple):
    """How well a model predicts a text, with 95 % intervals.

    Attributes:
      nll: negative log-likelihood a token, in nats.
      perplexity: exp(nll), a token.
      bits_per_byte: bits that the model needs for a byte of the text; comparable
        between tokenizers, as nll is not.
    """

    nll: Interval
    perplexity: Interval
    bits_per_byte: Interval


def text_statistics(
    nll: np.ndarray, tokens: np.ndarray, byte_counts: np.ndarray, units: np.ndarray
) -> TextStatistics:
    """NLL a token, perplexity and bits per byte of a text that is read in windows.

    nll = sum nll / sum tokens,   perplexity = exp(nll)
    bits per byte = sum nll / (log 2 * sum bytes)

    Args:
      nll: sums of each window, in nats, float [W].
      tokens: predicted tokens of each window, int [W].
      byte_counts: bytes of the UTF-8 text of each window, float [W].
      units: the independent unit of each window: its document, or itself [W].

    Raises:
      ValueError: no windows, or a sum that is not finite.

    >>> one = np.array([0, 1])
    >>> found = text_statistics(np.log([4, 4]), np.array([2, 2]), np.array([1, 1]), one)
    >>> [f"{x.mean:.3f}" for x in found]  # log 4 / 2 a token, and 2 bits a byte
    ['0.693', '2.000', '2.000']
    """
    per_token = bootstrap_ratio(nll, tokens, units)
    bits = bootstrap_ratio(np.asarray(nll) / math.log(2), byte_counts, units)
    return TextStatistics(per_token, Interval(*map(safe_exp, per_token)), bits)


def safe_exp(x: float) -> float:
    """The exponential, infinite where floats end."""
    return math.exp(x) if not x > 709 else math.inf


def bootstrap_ratio(
    total: np.ndarray, weight: np.ndarray, units: np.ndarray, *, seed: int = 0
) -> Interval:
    """A ratio of sums, with the percentile bootstrap over units.

    ratio = sum total / sum weight

    The bounds are NaN for a single unit.

    Args:
      total, weight: of each part, float [R]; weights are positive.
      units: the independent unit of each part [R]; units are resampled with
        replacement, each with all of its parts.

    Raises:
      ValueError: no parts, or one that is not finite.

    Reference: Davison and Hinkley 1997, Bootstrap Methods and their Application,
    section 2.7 (ratios).
    """
    total, weight = np.asarray(total, np.float64), np.asarray(weight, np.float64)
    if not len(total) or not np.isfinite(total).all():
        raise ValueError("a ratio needs parts, all of them finite")
    unit = np.unique(np.asarray(units), return_inverse=True)[1].reshape(-1)
    sums, weights = np.bincount(unit, total), np.bincount(unit, weight)
    mean = float(total.sum() / weight.sum())
    if len(sums) == 1:
        return Interval(mean, math.nan, math.nan)
    ratios = [
        (times @ sums) / (times @ weights)
        for times in resample_weights(len(sums), seed=seed)
    ]
    return percentile_interval(mean, np.concatenate(ratios))
