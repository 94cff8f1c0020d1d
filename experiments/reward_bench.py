"""Reward-model benchmarks: RewardBench 1 and 2, RM-Bench, LLMBar, or any pairs.

A reward is right on a pair where it scores the chosen answer above the rejected one;
equal scores are wrong (RewardBench's rule), and half right for judges. Reported are
accuracy by subset, beside that of "the longer answer wins"; RewardBench's sections and
overall score; the best of four and the Ties score of RewardBench 2; RM-Bench's matrix
of styles with easy, normal and hard; accuracy where the longer answer is the rejected
one, by rating margin and by row fields (--split-by); and calibration (ECE, Brier, NLL,
and the best temperature). Each has its 95 % interval over prompts. A score of which
rows are absent is not printed as if it were whole.

    python -m experiments.reward_bench --reward REWARD --data llmbar/*.json
    python -m experiments.reward_bench --reward judge:MODEL --data reward_bench.parquet

Files are in the benchmarks' published layouts (see
`jaxalign.pipeline.reward_benchmarks.rows`), none of which is part of the project, or
pairs and rankings as `experiments.reward_model` reads them. RewardBench has the subset
of a row in `subset`; rows without it are one of their own by the name of their file.

"Longer wins" is right on 0.130, 0.447, 0.174, 0.119 and 0.560 of LLMBar's GPTInst,
GPTOut, Manual, Neighbor and Natural: most of it is made against length.

Writes OUT/reward_bench.json, scores.jsonl (the score of every answer), report.md and
report.html with accuracy.png and reliability.png.
"""

import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

from jaxalign.evaluation.by_field import Groups
from jaxalign.evaluation.page import Page
from jaxalign.pipeline.evaluation.answer_scorers import load_scorer
from jaxalign.pipeline.evaluation.models import EvaluationConfig, evaluation_mesh
from jaxalign.pipeline.reward_benchmarks import numbers as figures
from jaxalign.pipeline.reward_benchmarks import page as reward_benchmark_page
from jaxalign.pipeline.reward_benchmarks import rows as reward_benchmark_rows
from jaxalign.pipeline.reward_benchmarks.reward_context import answer_tokens
from jaxalign.pipeline.reward_benchmarks.rows import BenchmarkRow
from jaxalign.pipeline.reward_benchmarks.scores import by_layout, score_rows
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows
from jaxalign.runtime.split_flags import SplitFlags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, EvaluationConfig):
    """Accuracy, length bias and calibration of a reward on benchmarks."""

    RANGES: ClassVar = {"examples": flags.COUNT}
    reward: str
    """The reward: a reward model's folder, several with commas between them,
    judge:FOLDER, or a name of `jaxalign.pipeline.reward_functions`, such as
    length:40."""
    data: tuple[str, ...]
    """Files or folders of benchmark rows, of several subsets at once."""
    examples: int | None = None
    """At most so many prompts of each subset, at random; by default all."""
    equal_scores: Literal["auto", "wrong", "half"] = "auto"
    """What equal scores count as; auto: half right for judge:FOLDER, else wrong."""
    skip_bad_rows: bool = False
    """Leave malformed rows out and count them, rather than stop at the first."""


def main(config: Config) -> dict[str, Any]:
    """Scores the rows and writes the report; returns the main numbers.

    Raises:
      ValueError: bad flags, a malformed row, no row that fits the reward's context, or
        a score that is not finite (names the row).
    """
    with ReportRun(config, "reward_bench") as run:
        rows = fitting_rows(config, read_rows(config, run), run)
        groups = figures.split_groups(rows, config.split_by)  # refused before scoring
        scores = score(config, rows, run)
        numbers = collect_numbers(config, rows, scores, groups)
        for line in reward_benchmark_page.missing_parts(numbers):
            run.note(line)
        run.write_json("reward_bench.json", numbers)
        command = config_command(config, "experiments.reward_bench")
        sections = reward_benchmark_page.sections(numbers, run.folder)
        run.publish(Page(f"Reward benchmarks: {config.reward}", sections, command))
        return run.finish(figures.main_numbers(numbers))


def read_rows(config: Config, run: ReportRun) -> list[BenchmarkRow]:
    """The rows of --data, at most --examples prompts of each subset."""
    paths = [path for part in config.data for path in part.split(",") if path]
    rows, reasons = reward_benchmark_rows.read_benchmarks(
        paths, skip_bad_rows=config.skip_bad_rows
    )
    for reason, count in reasons.items():
        run.note(f"{count} rows left out: {reason}")
    return reward_benchmark_rows.sample_rows(rows, config.examples, seed=config.seed)


def fitting_rows(
    config: Config, rows: list[BenchmarkRow], run: ReportRun
) -> list[BenchmarkRow]:
    """The rows whose answers a learned reward can read, within its context.

    Raises:
      ValueError: none does.
    """
    prompts = [row.prompt for row in rows for _ in row.answers]
    answers = [text for row in rows for text in row.answers]
    tokens = answer_tokens(config.reward, config, prompts, answers)
    if tokens is None:
        return rows
    starts = np.cumsum([0] + [len(row.answers) for row in rows])[:-1]
    longest = np.maximum.reduceat(tokens.lengths, starts)
    encoded = np.minimum.reduceat(tokens.lengths, starts) > 0
    fits = encoded & (longest <= tokens.limit)
    if not fits.any():
        raise ValueError(
            f"no row of --data fits the {tokens.limit} tokens that {config.reward} "
            f"reads; the shortest has {longest.min()}{tokens.error and '; '}"
            f"{tokens.error}"
        )
    if long := int((longest > tokens.limit).sum()):
        run.note(
            f"{long} of {len(rows)} rows left out: longer than the {tokens.limit} "
            f"tokens that {config.reward} reads ({longest.max()} at most)"
        )
    if bad := int((~encoded).sum()):
        run.note(
            f"{bad} of {len(rows)} rows left out, which cannot be tokenized; the "
            f"first: {tokens.error}"
        )
    return [row for row, fit in zip(rows, fits, strict=True) if fit]


def score(config: Config, rows: list[BenchmarkRow], run: ReportRun) -> list[np.ndarray]:
    """The scores of each row's answers; written to scores.jsonl as they come."""
    scorer = load_scorer(config.reward, config, evaluation_mesh(config))
    written = resumable_rows(
        run.folder / "scores.jsonl",
        len(rows),
        lambda items: score_rows(scorer, [rows[i] for i in items]),
        chunk=4 * config.rows,
        resume=config.resume,
        progress=lambda chunks: run.progress(chunks, "scores"),
    )
    return [np.array(row["scores"]) for row in written]


def collect_numbers(
    config: Config, rows: list[BenchmarkRow], scores: list[np.ndarray], split: Groups
) -> figures.Numbers:
    """The numbers of all benchmarks of which there are rows.

    Args:
      split: the group of each pair by the fields of --split-by.
    """
    is_judge = config.reward.startswith("judge:")
    half = config.equal_scores == "half" or (config.equal_scores == "auto" and is_judge)
    equal, seed = (0.5 if half else 0.0), config.seed
    groups = by_layout(rows, scores)
    numbers: figures.Numbers = {
        "reward": config.reward,
        "rows": len(rows),
        "equal scores count as": "half right" if half else "wrong",
    }
    if pairs := groups.get("pair"):
        shared: dict[str, Any] = {"equal": equal, "seed": seed}
        numbers["pairs"] = figures.pair_numbers(pairs, **shared)
        numbers["reward_bench"] = figures.reward_bench_numbers(pairs, **shared)
        numbers["margins"] = figures.margin_numbers(pairs, **shared)
        numbers["calibration"] = figures.calibration_numbers(pairs, seed=seed)
        numbers["split"] = figures.split_numbers(pairs, split, **shared)
    best_of, ties = groups.get("best_of"), groups.get("ties")
    if best_of or ties:
        numbers["reward_bench_2"] = figures.best_of_numbers(best_of, ties, seed=seed)
    if styles := groups.get("styles"):
        numbers["rm_bench"] = figures.rm_bench_numbers(styles, equal=equal, seed=seed)
    return numbers


if __name__ == "__main__":
    launch(main, Config)
