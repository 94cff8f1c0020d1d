"""Win rates against a baseline, raw and length-controlled as in AlpacaEval 2.

Judges prefer long answers. Length control regresses a judge's verdicts on the lengths
of the two answers, the difficulty of the instruction, and the model, and reports the
win rate at equal lengths (Dubois et al. 2024, arXiv:2404.04475).

    python -m experiments.win_rate --judgements runs/compare/judgements.jsonl
    python -m experiments.win_rate --judgements annotations --difficulty difficulty.csv

Reads the judgements of `experiments.compare`, AlpacaEval's annotations, and CSV files
of `index`, `len_baseline`, `len_model`, `preference`, one for each model; or a folder
of these. --difficulty has `instruction_difficulty` by `index`, `prompt_id`, or
`instruction` (the text). Without it the regression is AlpacaEval's `minimal` form; with
it the `noreg` form, which is the published one without the two gamed baselines, and
within about a point of it.

Writes OUT/win_rates.json, one entry for each model: `n`, `win_rate` and its `se`,
`length_controlled`, `length_controlled_se` (AlpacaEval's: the spread over
instructions), `interval` (a bootstrap over instructions that refits the regression),
and more; with --split-by the raw win rate of each value of a field of the rows (texts
and numbers, such as the length of an answer); head_to_head.json (the win rate of each
model over each other, at equal lengths), win_rates.png, report.md and report.html.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.page import Page, Section
from jaxalign.evaluation.win_rates import comparison_plots
from jaxalign.evaluation.win_rates.length_control import (
    BASELINE,
    LengthWeights,
    head_to_head,
)
from jaxalign.pipeline.comparisons import (
    baseline_comparisons,
    difficulties,
    win_rate_report,
    win_rate_split,
)
from jaxalign.pipeline.comparisons.comparison_files import read_comparisons
from jaxalign.pipeline.comparisons.difficulties import Difficulties
from jaxalign.pipeline.comparisons.win_rate_report import Measurement
from jaxalign.pipeline.evaluation import answer_rows
from jaxalign.pipeline.evaluation.prompt_ids import prompt_text
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.split_flags import SplitFlags

MOST_CELLS = 24  # models of a head-to-head plot whose numbers can be read


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, ReportConfig):
    """Raw and length-controlled win rates against a baseline."""

    RANGES: ClassVar = {"resamples": flags.FROM_2}
    judgements: tuple[Path, ...]
    """Files or folders of judged comparisons."""
    difficulty: Path | None = None
    """A file of the instructions' difficulties."""
    instructions: Path | None = None
    """The list of instructions whose positions are the `index` of --difficulty, such as
    AlpacaEval's outputs of any model: joins by text where judgements have no index."""
    baseline: str | None = None
    """The model that the others are compared with; by default the one that is in every
    comparison."""
    length_control: bool = True
    """Whether to fit the regression; needs the lengths of all answers."""
    resamples: int = 1000
    """Resamples of the bootstrap."""


def main(config: Config) -> dict[str, Any]:
    """Reads comparisons, fits each model's regression, and writes the report.

    Raises:
      ValueError: a malformed row (FILE:LINE), no baseline, unknown lengths, or an
        instruction without a difficulty.
    """
    check(config)
    with ReportRun(config, "win_rate") as run:
        comparisons = read_comparisons(config.judgements)
        baseline = baseline_comparisons.find_baseline(comparisons, config.baseline)
        groups = baseline_comparisons.group_by_model(comparisons, baseline)
        others = len(comparisons) - sum(map(len, groups.values()))
        if others:
            run.note(f"{others} comparisons without {baseline!r} are left out")
        table = load_difficulties(config)
        split = win_rate_split.split_groups(groups, config.split_by)
        measured = {}
        for name, rows in run.progress(groups.items(), "models", len(groups)):
            with flags.prefix_errors(name):
                measured[name] = win_rate_report.measure_win_rate(
                    baseline_comparisons.baseline_arrays(rows),
                    table,
                    with_length_control=config.length_control,
                    seed=config.seed,
                    resamples=config.resamples,
                )
        headline = win_rate_report.headline
        best_first = sorted(measured, key=lambda name: -headline(measured[name]).mean)
        measured = {name: measured[name] for name in best_first}
        for limit in win_rate_report.limits(measured):
            run.note(limit)
        by_group = {
            name: win_rate_split.split_tables(each, split[name], seed=config.seed)
            for name, each in measured.items()
        }
        entries = {
            name: {
                **win_rate_report.entry(each),
                "baseline": baseline,
                "split": by_group[name],
            }
            for name, each in measured.items()
        }
        run.write_json("win_rates.json", entries)
        sections = report_sections(run, measured, baseline, table)
        sections += win_rate_split.split_sections(by_group)
        command = config_command(config, "experiments.win_rate")
        run.publish(Page(f"Win rates against {baseline}", sections, command))
        best = measured[best_first[0]]
        numbers: dict[str, Any] = {
            "models": len(measured),
            "baseline": baseline,
            "best": best_first[0],
        }
        if best.control is not None:
            numbers["length_controlled"] = best.control.interval
        if config.split_by:
            numbers["by_model"] = win_rate_split.split_numbers(measured, by_group)
        return run.finish(numbers | {"win_rate": best.interval})


def check(config: Config) -> None:
    """Refuses flags that do not fit together.

    Raises:
      ValueError: names the flags.
    """
    if config.difficulty is not None and not config.length_control:
        raise ValueError(
            "--difficulty is of the length control; leave out one of the two"
        )
    if config.instructions is not None and config.difficulty is None:
        raise ValueError("--instructions are those of --difficulty, which is missing")


def load_difficulties(config: Config) -> Difficulties | None:
    """The difficulties that the flags name."""
    if config.difficulty is None:
        return None
    texts = None
    if config.instructions is not None:
        rows = answer_rows.read_answers(config.instructions)
        texts = [prompt_text(row.prompt) for row in rows]
    return difficulties.read_difficulties(config.difficulty, texts)


def report_sections(
    run: ReportRun,
    measured: Mapping[str, Measurement],
    baseline: str,
    table: Difficulties | None,
) -> list[Section]:
    """The report: tables, a plot, and models against each other."""
    lines = {}
    for name, each in measured.items():
        lines[name] = {"win rate": each.interval}
        if each.control is not None:
            lines[name]["length-controlled"] = each.control.interval
    image = interval_plot.plot_intervals(
        run.folder / "win_rates.png",
        lines,
        label=f"win rate against {baseline} (%), with 95 % interval",
        limits=(0.0, 100.0),
    )
    controls = {k: m.control for k, m in measured.items() if m.control is not None}
    text = f"In percent, against {baseline}; 95 % bootstrap intervals over instructions"
    if controls:
        form = next(iter(controls.values())).form
        text += (
            ", in which the regression is fitted again. Length control is AlpacaEval's "
            f"`{form}` form, an L1-penalized logistic regression"
        )
    text = ". ".join([text, *win_rate_report.limits(measured)]) + "."
    details = (
        "LC SE is AlpacaEval's, the spread over instructions; refit SE is the standard "
        "deviation over the resamples. Discrete: wins and half the draws."
    )
    sections = [
        Section("Win rates", text, win_rate_report.main_rows(measured), image),
        Section("Details", details, win_rate_report.detail_rows(measured)),
    ]
    if controls:
        weights = {name: control.weights for name, control in controls.items()}
        sections.append(head_to_head_section(run, weights, baseline, table))
    return sections


def head_to_head_section(
    run: ReportRun,
    weights: Mapping[str, LengthWeights],
    baseline: str,
    table: Difficulties | None,
) -> Section:
    """The win rate of each model over each other; writes head_to_head.json."""
    weights = {**weights, baseline: BASELINE}
    gamma = None if table is None else np.array(list(table.values.values()))
    names = list(weights)
    matrix = np.array(
        [
            [head_to_head(weights[ours], weights[theirs], gamma) for theirs in names]
            for ours in names
        ]
    )
    run.write_json("head_to_head.json", {"models": names, "win_rate": 100 * matrix})
    text = "By the regressions, at equal lengths: how often the row's model wins, in %."
    if len(names) > MOST_CELLS:
        return Section("Head to head", text + " See head_to_head.json.")
    np.fill_diagonal(matrix, np.nan)
    image = comparison_plots.plot_win_rate_matrix(
        run.folder / "head_to_head.png", names, matrix
    )
    return Section("Head to head", text, image=image)


if __name__ == "__main__":
    launch(main, Config)
