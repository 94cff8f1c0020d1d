"""Evaluate models by a suite of measurements, and write one report of all of them.

A suite is a YAML file: the measurements by the program that makes them, each with that
program's flags. The models are set here, and each measurement has a folder in OUT:

    generate:        {data: prompts.jsonl, samples: 4}
    score:           {reward: runs/reward/reward}
    compare:         {reward: runs/reward/reward}
    perplexity:      {data: held_out.txt}
    multiple_choice: {data: TruthfulQA.csv}
    red_team:        {suite: xstest_prompts.csv}
    mt_bench:        {questions: question.jsonl, judge_prompts: ..., judge: JUDGE}
    lm_eval:         {tasks: task.yaml}
    reward_bench:    {reward: runs/reward/reward, data: pairs.jsonl}

    python -m experiments.evaluate --models sft=runs/sft/policy dpo=runs/dpo/policy \\
        --suite suite.yaml --out runs/evaluation

`score` and `compare` without `data` read the answers of the `generate` before them, and
of several answers to a prompt the diversity is reported: distinct n-grams, self-BLEU,
entropy. Models are folders, or NAME=FOLDER. A program may run twice, with a label, as
`red_team advbench`. Writes OUT/report.html and report.md
(one table of all models, then the tables, plots and answers of each measurement, and
the commands that make them), numbers.json, and OUT/NAME/. With --resume, what is
complete is read, not measured again.
"""

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import (
    compare,
    generate,
    lm_eval,
    mt_bench,
    multiple_choice,
    perplexity,
    red_team,
    reward_bench,
    score,
)
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation import suite as evaluation_suite
from jaxalign.pipeline.evaluation.suite import Program
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun

PROGRAMS = {
    "generate": Program(generate, "model", joined=True),
    "score": Program(score, reads_answers="data"),
    "compare": Program(compare, "policies", joined=True, reads_answers="policies"),
    "perplexity": Program(perplexity, "model"),
    "multiple_choice": Program(multiple_choice, "model"),
    "red_team": Program(red_team, "model"),
    "mt_bench": Program(mt_bench, "model"),
    "lm_eval": Program(lm_eval, "model"),
    "reward_bench": Program(reward_bench),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """Evaluate models by a suite of measurements."""

    models: tuple[str, ...]
    """Folders of the models as FOLDER or NAME=FOLDER, or ORG/NAME of a hub."""
    suite: Path
    """A YAML file: the measurements, each with its flags."""


def main(config: Config) -> dict[str, Any]:
    """Measures what the suite says, and writes the report; returns the main numbers.

    Raises:
      ValueError: a suite that is empty, or names what does not exist (before anything
        is computed); no model, or one twice.
    """
    check(config)
    with ReportRun(config, "evaluate") as run:
        measurements = evaluation_suite.read_suite(
            *(config.suite, PROGRAMS, config.models, run.folder),
            seed=config.seed,
            resume=config.resume,
        )
        results = []
        for i, measurement in enumerate(measurements, 1):
            done = " is complete" * evaluation_suite.is_complete(measurement)
            run.say(f"evaluate: {measurement} ({i} of {len(measurements)}){done}")
            results.append(evaluation_suite.measure(measurement))
        names = model_names(config.models)
        rows = evaluation_suite.summary_rows(names, measurements, results)
        commands = [
            {"measurement": str(m), "command": config_command(m.config, name_of(m))}
            for m in measurements
        ]
        sections = [
            Section("All models", rows=evaluation_suite.transpose(rows)),
            *evaluation_suite.diversity_sections(measurements),
            *(s for one in measurements for s in evaluation_suite.own_sections(one)),
            Section("Commands", "Each measurement by itself:", commands),
        ]
        command = (
            f"python -m experiments.evaluate --models {shlex.join(config.models)} "
            f"--suite {shlex.quote(str(config.suite))}"
        )
        title = f"Evaluation of {', '.join(names)}"
        run.publish(Page(title, sections, command), tables=1)
        by_model = {row.pop("model"): row for row in map(dict, rows)}
        return run.finish({"measurements": len(measurements), "by_model": by_model})


def name_of(measurement: evaluation_suite.Measurement) -> str:
    """The module of a measurement's program."""
    return measurement.program.module.__name__


def model_names(models: Sequence[str]) -> list[str]:
    """The models' names."""
    return [evaluation_models.split_name(model)[0] for model in models]


def check(config: Config) -> None:
    """Refuse models that cannot be told apart.

    Raises:
      ValueError: no model, or a name that comes twice.
    """
    names = model_names(config.models)
    if not names:
        raise ValueError("--models names no model; expected a folder or several")
    for name in names:
        if names.count(name) > 1:
            raise ValueError(
                f"--models: {names.count(name)} models are called {name}; give them "
                "names, as in --models one=FOLDER other=FOLDER"
            )


if __name__ == "__main__":
    launch(main, Config)
