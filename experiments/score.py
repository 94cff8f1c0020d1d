"""Rewards of given answers: of one model or of several, by group and by length.

`--data` is a file of prompts with an answer each: answers.jsonl of
`experiments.generate`, AlpacaEval's outputs, or any layout with a prompt and an answer;
or a folder of such files. `--reward` takes all that training takes: a reward model's
folder, an ensemble, judge:FOLDER (a rating from 1 to 10), programmed (the toy world's),
length:40, gsm8k, ...

    python -m experiments.score --reward runs/reward/reward --data answers.jsonl
    python -m experiments.score --reward judge:JUDGE --data answers.jsonl

Writes OUT/scores.jsonl (the rows with their `reward`), scores.json, histogram.png, and
the report. Scoring goes on with --resume where it was interrupted.

Numbers: `mean`, `std` and quantiles (`q05` ... `q95`) of the rewards, with 95 %
intervals over prompts; means by field (of the fields of --split-by also in
numbers.json, `mean/FIELD=VALUE`) and by length in characters; `pearson` and
`spearman` are the correlations of the reward with the length, far above 0 where a
reward model mostly likes long answers. Models are compared by prompt: the mean
difference, and the share of prompts on which one scores higher, ties half.
"""

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxalign.evaluation import by_field, score_summary
from jaxalign.evaluation.by_field import Groups
from jaxalign.evaluation.page import Page, Section, SideBySide
from jaxalign.evaluation.win_rates import comparison_plots
from jaxalign.pipeline.evaluation import answer_rows, model_checks, row_fields
from jaxalign.pipeline.evaluation.answer_rows import AnswerRow
from jaxalign.pipeline.evaluation.answer_scorers import load_scorer
from jaxalign.pipeline.evaluation.models import EvaluationConfig, evaluation_mesh
from jaxalign.pipeline.evaluation.prompt_ids import prompt_id, prompt_text
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows
from jaxalign.runtime.split_flags import SplitFlags

FIELDS = ("model", "category", "source", "dataset")  # which --split-by is by default


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, EvaluationConfig):
    """Rewards of answers, summarized by field and by length."""

    RANGES: ClassVar = {"length_bins": flags.FROM_2}
    reward: str
    """A reward model's folder, several with commas between them, judge:FOLDER,
    programmed, or a reward by name, such as length:40."""
    data: str
    """A file of prompts with an answer each, or a folder of them."""
    ensemble: str = "mean"
    """How reward models are combined: mean, minimum, llama2, variance:NUMBER."""
    split_by: tuple[str, ...] = ()
    """Fields of the rows, with commas between them, by whose values the rewards are
    summarized; by default model, category, source and dataset, where rows have them."""
    length_bins: int = 4
    """Bins of the answers' lengths, of about as many answers each."""
    examples: int = 3
    """Answers of the lowest and of the highest reward in the report."""


def main(config: Config) -> dict[str, Any]:
    """Scores the answers, writes the summaries; returns mean and deviation."""
    model_checks.check_reward(config, config.reward)
    answers = answer_rows.read_answers(config.data)
    groups = row_fields.groups_by_field(answers, config.split_by, FIELDS)
    with ReportRun(config, "score") as run:
        scores = score_rows(config, run, answers)
        groups = by_field.select(groups, np.isfinite(scores))
        answers, scores = drop_long(run, answers, scores)
        units = np.array([prompt_id(row.prompt) for row in answers])
        lengths = np.array([len(row.answer) for row in answers], np.float64)
        models = np.array([row.model for row in answers])
        summary = score_summary.summarize(scores, units, seed=config.seed)
        length = length_summary(config, scores, lengths, units)
        report = {
            "reward": config.reward,
            "summary": summary,
            "by": score_summary.field_tables(scores, groups, units, seed=config.seed),
            "length": length,
            "models": score_summary.model_differences(
                scores, models, units, seed=config.seed
            ),
        }
        run.write_json("scores.json", report)
        image = comparison_plots.plot_score_histograms(
            run.folder / "histogram.png",
            {str(m): scores[models == m] for m in dict.fromkeys(models.tolist())},
            name=f"reward: {config.reward}",
        )
        shown = examples(config, answers, scores)
        run.publish(page(config, run.notes, report, image, shown))
        keys = ("answers", "prompts", "mean", "std")
        numbers = {key: summary[key] for key in keys}
        numbers["spearman"] = length["spearman"]
        asked = {name: groups[name] for name in config.split_by}
        numbers |= split_numbers(scores, asked, units, config.seed)
        rows = score_summary.group_means(scores, models, units, seed=config.seed)
        by_model = {
            name: {k: row[k] for k in ("answers", "mean", "std")}
            | split_numbers(
                *(scores[own], by_field.select(asked, own), units[own], config.seed)
            )
            for row in rows
            if (name := row["group"]) and (own := models == name).any()
        }
        return run.finish(numbers | {"by_model": by_model})


def split_numbers(
    scores: np.ndarray, groups: Groups, units: np.ndarray, seed: int
) -> dict[str, Any]:
    """The means of groups by name, such as `mean/category=sums`, and their answers."""
    tables = score_summary.field_tables(scores, groups, units, seed=seed)
    return by_field.named_numbers(tables, ("mean", "answers"))


def score_rows(
    config: Config, run: ReportRun, answers: Sequence[AnswerRow]
) -> np.ndarray:
    """The reward of each answer [A]; the rows are written with their rewards."""
    # a resumed run that is complete loads no model
    load = functools.cache(
        lambda: load_scorer(
            *(config.reward, config, evaluation_mesh(config)),
            ensemble=config.ensemble,
            skip_long=True,
        )
    )

    def make(items: range) -> list[dict[str, Any]]:
        rows = [answers[i] for i in items]
        scores = load()([r.prompt for r in rows], [r.answer for r in rows])
        return [
            {
                **answer_rows.write_row(row),
                "reward": None if np.isnan(score) else float(score),
            }
            for row, score in zip(rows, scores, strict=True)
        ]

    rows = resumable_rows(
        *(run.folder / "scores.jsonl", len(answers), make),
        chunk=8 * config.rows,
        resume=config.resume,
        progress=lambda chunks: run.progress(chunks, "scores"),
    )
    return np.array([row["reward"] for row in rows], np.float64)


def drop_long(
    run: ReportRun, answers: Sequence[AnswerRow], scores: np.ndarray
) -> tuple[list[AnswerRow], np.ndarray]:
    """The answers that have a reward; others are too long for the reward model.

    Raises:
      ValueError: none has one.
    """
    long = [row for row, x in zip(answers, scores, strict=True) if np.isnan(x)]
    if len(long) == len(answers):
        raise ValueError("every conversation is longer than the reward model's context")
    if long:
        run.note(
            f"{len(long)} of {len(answers)} conversations are longer than the reward "
            "model's context and are in no number (their reward is null), the first "
            f"of them at {long[0].prompt.location}"
        )
    scored = [row for row, x in zip(answers, scores, strict=True) if not np.isnan(x)]
    return scored, scores[np.isfinite(scores)]


def length_summary(
    config: Config, scores: np.ndarray, lengths: np.ndarray, units: np.ndarray
) -> dict[str, Any]:
    """Mean rewards by length bin, and the correlations of rewards with lengths."""
    bins = score_summary.length_bins(lengths.astype(int), config.length_bins)
    order = np.argsort(lengths, kind="stable")  # bins in the order of their lengths
    by_bin = score_summary.group_means(
        scores[order], bins[order], units[order], seed=config.seed
    )
    correlations = score_summary.length_correlation(
        scores, lengths, units, seed=config.seed
    )
    return {"bins": by_bin, **correlations}


def examples(
    config: Config, answers: Sequence[AnswerRow], scores: np.ndarray
) -> SideBySide | None:
    """The answers of the lowest and of the highest reward."""
    order = np.argsort(scores, kind="stable")
    count = min(config.examples, len(order) // 2)
    if not count:
        return None
    places = [*order[:count], *order[-count:]]
    notes = [f"reward {scores[i]:.3f}  {answers[i].model}".rstrip() for i in places]
    return SideBySide(
        [prompt_text(answers[i].prompt) for i in places],
        {"answer": [answers[i].answer for i in places]},
        notes,
    )


def page(
    config: Config,
    notes: Sequence[str],
    report: dict[str, Any],
    image: Path,
    shown: SideBySide | None,
) -> Page:
    """The report: summary, histogram, groups, lengths, models, answers."""
    length = report["length"]
    sections = [
        Section(
            "Rewards",
            text="\n\n".join(notes),
            rows=[
                {"statistic": name, "value": value}
                for name, value in report["summary"].items()
            ],
            image=image,
        ),
        *(
            Section(f"By {name}", rows=[{name: r.pop("group"), **r} for r in rows])
            for name, rows in copy_rows(report["by"]).items()
        ),
        Section(
            "By length of the answer, in characters",
            text=f"Correlation of reward and length: Pearson {length['pearson']}, "
            f"Spearman {length['spearman']}.",
            rows=[
                {"characters": r.pop("group"), **r} for r in map(dict, length["bins"])
            ],
        ),
    ]
    if report["models"]:
        rows = [
            {name.replace("_", " "): x for name, x in row.items()}
            for row in report["models"]
        ]
        sections.append(Section("Models on the same prompts", rows=rows))
    if shown is not None:
        title = "Answers of the lowest and of the highest reward"
        sections.append(Section(title, answers=shown))
    command = config_command(config, "experiments.score")
    return Page(f"Rewards of {config.data} by {config.reward}", sections, command)


def copy_rows(
    groups: dict[str, list[dict[str, Any]]],
) -> dict[str, list[dict[str, Any]]]:
    """Copies of the rows of each table."""
    return {name: list(map(dict, rows)) for name, rows in groups.items()}


if __name__ == "__main__":
    launch(main, Config)
