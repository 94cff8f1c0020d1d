"""Win rates of one model or several against a baseline: numbers, limits and tables."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.win_rates import raw as win_rates
from jaxalign.evaluation.win_rates.length_control import (
    FEW,
    RESAMPLES,
    LengthControl,
    changes_much,
    length_control,
)
from jaxalign.pipeline.comparisons import difficulties
from jaxalign.pipeline.comparisons.baseline_comparisons import (
    BaselineArrays,
    check_lengths,
)
from jaxalign.pipeline.comparisons.difficulties import Difficulties

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured of one model.

    Attributes:
      raw: its win rate.
      interval: of the raw win rate, over instructions.
      control: the regression; None without length control.
      arrays: the comparisons.
    """

    raw: win_rates.RawWinRate
    interval: Interval
    control: LengthControl | None
    arrays: BaselineArrays


def measure_win_rate(
    arrays: BaselineArrays,
    table: Difficulties | None = None,
    *,
    with_length_control: bool = True,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Measurement:
    """The win rates of one model, raw and at equal lengths.

    Args:
      arrays: its comparisons with the baseline.
      table: difficulties of the instructions; None for the form without.
      seed, resamples: of the bootstrap.

    Raises:
      ValueError: unknown lengths, an instruction without a difficulty, or too few
        comparisons.
    """
    raw = win_rates.win_rate(arrays.probability, failed=arrays.failed)
    interval = bootstrap(100 * arrays.probability, units=arrays.units, seed=seed)
    if not with_length_control:
        return Measurement(raw, interval, None, arrays)
    check_lengths(arrays)
    gamma = (
        None if table is None else difficulties.join_difficulties(table, arrays.rows)
    )
    control = length_control(
        arrays.probability,
        arrays.length,
        arrays.baseline_length,
        gamma,
        units=arrays.units,
        seed=seed,
        resamples=resamples,
    )
    return Measurement(raw, interval, control, arrays)


def headline(measured: Measurement) -> Interval:
    """The length-controlled win rate; the raw one without length control."""
    control = measured.control
    return measured.interval if control is None else control.interval


def entry(measured: Measurement) -> dict[str, Any]:
    """The numbers of one model in win_rates.json."""
    raw, control, arrays = measured.raw, measured.control, measured.arrays
    numbers: dict[str, Any] = {
        **raw._asdict(),
        "instructions": len(np.unique(arrays.units)),
        "win_rate_interval": measured.interval,
        "average_length": float(arrays.length.mean()),
        "baseline_length": float(arrays.baseline_length.mean()),
    }
    if control is None:
        return numbers | {"interval": measured.interval}
    return numbers | {
        "length_controlled": control.win_rate,
        "length_controlled_se": control.se,
        "interval": control.interval,
        "bootstrap_se": control.bootstrap_se,
        "form": control.form,
        "weights": control.weights._asdict(),
        "weight_intervals": control.weight_intervals,
        "inverse_penalty": control.inverse,
        "separated": control.separated,
    }


def limits(measured: Mapping[str, Measurement]) -> list[str]:
    """What the numbers leave out and where they say little, a sentence each."""
    sentences = []
    controls = {k: m.control for k, m in measured.items() if m.control is not None}
    if any(control.form == "minimal" for control in controls.values()):
        sentences.append(
            "without --difficulty the regression has no difficulty of instructions: "
            "AlpacaEval's `minimal` form, up to 20 points from its published one"
        )
    for name, each in measured.items():
        if each.raw.failed:
            sentences.append(
                f"{name}: the judge failed on {each.raw.failed} comparisons, which are "
                "left out"
            )
    for name, control in controls.items():
        raw = measured[name].raw.win_rate
        if control.separated:
            sentences.append(
                f"{name}: lengths and difficulties explain all verdicts, so that the "
                "penalty alone bounds the coefficients"
            )
        if changes_much(control.win_rate, raw):
            sentences.append(
                f"{name}: length control changes the win rate from {raw:.1f} to "
                f"{control.win_rate:.1f}: look at its answers"
            )
    counts = [measured[name].raw.n for name in controls]
    if counts and min(counts) < FEW:
        sentences.append(
            f"a model has {min(counts)} comparisons: below {FEW} the interval of a "
            "length-controlled win rate has 6 points and more to each side"
        )
    return sentences


def main_rows(measured: Mapping[str, Measurement]) -> list[Row]:
    """The table of win rates with their intervals, in percent."""
    rows = []
    for name, each in measured.items():
        row: Row = {"model": name}
        if each.control is not None:
            row["length-controlled"] = each.control.interval
        rows.append(row | {"win rate": each.interval, "n": each.raw.n})
    return rows


def detail_rows(measured: Mapping[str, Measurement]) -> list[Row]:
    """The table of standard errors, discrete win rates and lengths."""
    rows = []
    for name, each in measured.items():
        row: Row = {"model": name}
        if each.control is not None:
            row |= {"LC SE": each.control.se, "refit SE": each.control.bootstrap_se}
        row |= {"WR SE": each.raw.se, "discrete": each.raw.discrete_win_rate}
        rows.append(row | {"characters": f"{each.arrays.length.mean():.0f}"})
    return rows
