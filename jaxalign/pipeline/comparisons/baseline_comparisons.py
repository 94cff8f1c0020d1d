"""Comparisons with one baseline, grouped by the model that is compared with it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.pipeline.comparisons.comparison_rows import BASELINE, Comparison


class BaselineArrays(NamedTuple):
    """One model's N comparisons with the baseline that the judge decided, as arrays.

    Attributes:
      probability: that the model wins, float [N].
      units: the prompt of each, the unit of intervals, str [N].
      length, baseline_length: characters of the answers, float [N]; NaN if unknown.
      rows: the comparisons, with the model as a.
      failed: comparisons on which the judge failed, which are in no array.
    """

    probability: np.ndarray
    units: np.ndarray
    length: np.ndarray
    baseline_length: np.ndarray
    rows: list[Comparison]
    failed: int


def find_baseline(comparisons: Sequence[Comparison], name: str | None) -> str:
    """The name of the baseline: as given, or the model that is in every comparison.

    Of two models that are in all of them it is AlpacaEval's first generator, else the
    model that stands first.

    Raises:
      ValueError: no comparison has the model that was given, or several models are in
        none together.
    """
    pairs = [{each.model_a, each.model_b} for each in comparisons]
    if name is not None:
        names = sorted(set().union(*pairs))
        if name not in names:
            raise ValueError(
                f"--baseline: {messages.unknown_name('model', name, names)}"
            )
        return name
    in_all = set.intersection(*pairs)
    first = comparisons[0]
    preferred = [BASELINE, str(first.fields.get("generator_1")), first.model_a]
    candidates = [name for name in preferred if name in in_all] or sorted(in_all)
    if not candidates:
        raise ValueError(
            f"no model is in all {len(comparisons)} comparisons: name the one that "
            "others are compared with by --baseline NAME"
        )
    return candidates[0]


def group_by_model(
    comparisons: Sequence[Comparison], baseline: str
) -> dict[str, list[Comparison]]:
    """The comparisons with the baseline by the other model, which is a in all.

    Comparisons without the baseline are left out.
    """
    groups: dict[str, list[Comparison]] = {}
    for each in comparisons:
        if each.model_b == baseline:
            groups.setdefault(each.model_a, []).append(each)
        elif each.model_a == baseline:
            groups.setdefault(each.model_b, []).append(each.swap())
    return groups


def baseline_arrays(comparisons: Sequence[Comparison]) -> BaselineArrays:
    """One model's comparisons as arrays; those on which the judge failed are counted.

    Comparisons without a prompt are a unit each.

    Raises:
      ValueError: the judge decided none.
    """
    rows = [each for each in comparisons if not np.isnan(each.win_probability)]
    if not rows:
        first = comparisons[0]
        raise ValueError(
            f"{first.location}: the judge decided none of the {len(comparisons)} "
            f"comparisons of {first.model_a!r}"
        )
    number = lambda x: np.nan if x is None else x
    return BaselineArrays(
        probability=np.array([each.win_probability for each in rows]),
        units=np.array([each.prompt or each.location for each in rows]),
        length=np.array([number(each.length_a) for each in rows], float),
        baseline_length=np.array([number(each.length_b) for each in rows], float),
        rows=rows,
        failed=len(comparisons) - len(rows),
    )


def check_lengths(arrays: BaselineArrays) -> None:
    """Refuses comparisons of answers whose lengths are unknown.

    Raises:
      ValueError: names the first.
    """
    unknown = np.isnan(arrays.length) | np.isnan(arrays.baseline_length)
    if unknown.any():
        row = arrays.rows[int(np.argmax(unknown))]
        raise ValueError(
            f"{row.location}: the lengths of the answers are unknown, in "
            f"{int(unknown.sum())} of {len(unknown)} rows: length control needs "
            "length_a and length_b in characters, or the answers; or add "
            "--no-length-control"
        )
