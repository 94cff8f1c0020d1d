"""Tables of the results of EleutherAI's evaluation harness (lm_eval)."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.report import Row

Z95 = 1.959964  # half a 95 % interval in standard errors


class Score(NamedTuple):
    """A metric of a task.

    Attributes:
      task: the task's or group's name.
      metric: the metric's name.
      filter: of the answers before the metric; "none" for most.
      value: the metric.
      stderr: its standard error, as the harness estimates it; NaN where it does not.
      shots: examples in the prompt; None where they differ within a group.
      examples: that were evaluated; None of a group.
    """

    task: str
    metric: str
    filter: str
    value: float
    stderr: float
    shots: int | None
    examples: int | None

    @property
    def interval(self) -> Interval:
        """The value with its normal 95 % interval, value +- 1.96 stderr."""
        half = Z95 * self.stderr
        return Interval(self.value, self.value - half, self.value + half)


class LeaderboardColumn(NamedTuple):
    """A column of the Open LLM Leaderboard's first version.

    Attributes:
      heading: its name.
      task, metric, shots: what it shows; the accuracy of truthfulqa_mc2 is mc2.
    """

    heading: str
    task: str
    metric: str
    shots: int


LEADERBOARD = (
    LeaderboardColumn("ARC (25-shot acc_norm)", "arc_challenge", "acc_norm", 25),
    LeaderboardColumn("HellaSwag (10-shot acc_norm)", "hellaswag", "acc_norm", 10),
    LeaderboardColumn("MMLU (5-shot acc)", "mmlu", "acc", 5),
    LeaderboardColumn("TruthfulQA (0-shot mc2)", "truthfulqa_mc2", "acc", 0),
)


def scores(results: Mapping[str, Any]) -> Iterator[Score]:
    """The metrics in the results of `lm_eval.simple_evaluate`, groups included."""
    shots, samples = results.get("n-shot", {}), results.get("n-samples", {})
    for task, metrics in results["results"].items():
        for key, value in metrics.items():
            metric, comma, which = key.partition(",")
            if not comma or metric.endswith("_stderr") or not is_number(value):
                continue
            stderr = metrics.get(f"{metric}_stderr,{which}")
            yield Score(
                *(task, metric, which, float(value)),
                stderr=float(stderr) if is_number(stderr) else math.nan,
                shots=shots.get(task) if is_number(shots.get(task)) else None,
                examples=samples.get(task, {}).get("effective"),
            )


def is_number(value: Any) -> bool:
    """Whether a value is a number; the harness writes N/A and the like for others."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def result_rows(results: Mapping[str, Any]) -> list[Row]:
    """A row for each metric of each task; an arrow says which values are better.

    >>> results = {"results": {"mine": {"acc,none": 0.5, "acc_stderr,none": 0.1}},
    ...     "n-shot": {"mine": 5}, "n-samples": {"mine": {"effective": 26}}}
    >>> row = result_rows(results)[0]
    >>> str(row["value"]), row["stderr"], row["shots"], row["examples"]
    ('0.500 ± 0.196', 0.1, 5, 26)
    """
    better = results.get("higher_is_better", {})
    arrows = {True: " ↑", False: " ↓"}

    def metric(score: Score) -> str:
        is_better = (better.get(score.task) or {}).get(score.metric)
        arrow = "" if is_better is None else arrows[bool(is_better)]
        which = f" ({score.filter})" if score.filter != "none" else ""
        return f"{score.metric}{which}{arrow}"

    return [
        {
            "task": score.task,
            "shots": score.shots,
            "metric": metric(score),
            "value": score.interval,
            "stderr": score.stderr,
            "examples": score.examples,
        }
        for score in scores(results)
    ]


def leaderboard_row(
    results: Mapping[str, Any], *, model: str, size: str, alignment: str
) -> Row:
    """A row of the table in which Zephyr was published, scores in percent.

    Columns whose task was not run, or with other examples in the prompt, are None.

    Args:
      model, size, alignment: the first columns, such as "zephyr-7b", "7B", "dDPO".

    Reference: Tunstall et al. 2023, arXiv:2310.16944, table 2; the Open LLM
    Leaderboard's tasks, metrics and numbers of examples.
    """
    row: dict[str, Any] = {"model": model, "size": size, "alignment": alignment or None}
    by_name = {(s.task, s.metric): s for s in scores(results) if s.filter == "none"}
    for column in LEADERBOARD:
        score = by_name.get((column.task, column.metric))
        same = score is not None and score.shots == column.shots
        row[column.heading] = f"{100 * score.value:.2f}" if score and same else None
    return row


def size_text(parameters: int) -> str:
    """A number of parameters, short.

    >>> size_text(7_241_732_096), size_text(260_032), size_text(900)
    ('7.2B', '260K', '900')
    """
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if parameters >= unit:
            amount = parameters / unit
            return f"{amount:.1f}{name}" if amount < 10 else f"{amount:.0f}{name}"
    return str(parameters)


def plotted_scores(results: Mapping[str, Any]) -> dict[str, dict[str, Interval]]:
    """The metrics between 0 and 1 by task, as `interval_plot.plot_intervals` takes."""
    lines: dict[str, dict[str, Interval]] = {}
    for score in scores(results):
        better = (results.get("higher_is_better", {}).get(score.task) or {}).get(
            score.metric
        )
        if better and 0 <= score.value <= 1:
            lines.setdefault(score.task, {})[score.metric] = score.interval
    return lines
