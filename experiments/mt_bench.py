"""MT-Bench with local models: two turns, rated from 1 to 10, or compared in pairs.

The model answers 80 questions of two turns by itself; the second turn continues the
conversation. A judge rates each answer from 1 to 10, after an explanation; with
`--baseline` it also compares the answers of both models, in both orders: a win needs
both.

    python -m experiments.mt_bench --model MODEL --judge JUDGE
        --questions question.jsonl --judge-prompts judge_prompts.jsonl
    python -m experiments.mt_bench ... --baseline OTHER

The questions and the judge's prompts are read from files, and are no part of the
project: FastChat has them below fastchat/llm_judge/data (mt_bench/question.jsonl,
judge_prompts.jsonl, and mt_bench/reference_answer/gpt-4.jsonl for `--references`).
Answers to math, reasoning and coding are judged beside a reference answer where there
is one; the report says how many had none.

A rating is [[7]] or [[7.5]], else [7]; a judge's text without one is unparsable (-1),
leaves the means and is counted. Temperatures of the answers are FastChat's by category
(writing and roleplay 0.7, stem and humanities 0.1, others 0), and the judge is greedy.
Scores of different judges cannot be compared, nor with published ones, whose judge is
GPT-4. Intervals are over questions: of the ten of a category they are wide.

Writes OUT/mt_bench.json, answers.jsonl (and baseline_answers.jsonl), ratings.jsonl,
pairs.jsonl, report.md and report.html with a plot.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from jaxalign.evaluation.page import Page
from jaxalign.pipeline.evaluation import conversation_answers
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    load_policy,
)
from jaxalign.pipeline.mt_bench import files as mt_bench_files
from jaxalign.pipeline.mt_bench import judging as mt_bench_judging
from jaxalign.pipeline.mt_bench import prompts as mt_bench_prompts
from jaxalign.pipeline.mt_bench import report as mt_bench_report
from jaxalign.pipeline.mt_bench.files import JudgePrompt, Question
from jaxalign.pipeline.mt_bench.judging import Row, Speaker
from jaxalign.pipeline.mt_bench.prompts import PAIR, SINGLE
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """MT-Bench: two turns, rated by a judge, or compared with a baseline."""

    RANGES: ClassVar = {"judge_tokens": flags.COUNT}
    model: str
    """The folder of the model that answers."""
    judge: str
    """The folder of the language model that judges."""
    questions: Path
    """MT-Bench's questions, JSON lines: question_id, category, turns, and reference
    where there is one."""
    judge_prompts: Path
    """The judge's prompts, JSON lines: name, system_prompt, prompt_template."""
    references: Path | None = None
    """Reference answers, JSON lines: question_id, choices; by default those in
    --questions."""
    baseline: str | None = None
    """The folder of a model to compare with."""
    temperature: float | None = None
    """Sampling temperature of the answers; by default FastChat's, by category."""
    max_new_tokens: int = 1024
    """Tokens of the longest answer."""
    judge_tokens: int = 2048
    """Tokens of the judge's longest text."""


def main(config: Config) -> dict[str, Any]:
    """Answers, judges and writes the report; returns its numbers.

    Raises:
      ValueError: a malformed file, a prompt of the judge that is missing.
      FileNotFoundError: no such file, or no such model.
    """
    questions = mt_bench_files.read_questions(config.questions, config.references)
    prompts = mt_bench_files.read_judge_prompts(config.judge_prompts)
    for names in (SINGLE, PAIR) if config.baseline else (SINGLE,):
        mt_bench_prompts.check_judge_prompts(
            prompts, questions, names, config.judge_prompts
        )
    for flag in ("judge", "baseline"):
        if folder := getattr(config, flag):
            conversation_answers.check_model_folder(config, folder, f"--{flag}")
    with ReportRun(config, "mt_bench") as run:
        if lacking := sum(map(mt_bench_prompts.lacks_reference, questions)):
            run.note(
                f"{lacking} questions of math, reasoning or coding lack a reference "
                "answer to a turn, which is judged without: --references gives them"
            )
        answers = answer(config, run, questions, config.model, "answers")
        baseline: list[Row] = []
        if config.baseline is not None:
            baseline = answer(
                config, run, questions, config.baseline, "baseline_answers"
            )
        ratings, pairs = judge(config, run, questions, prompts, answers, baseline)
        if all(row["rating"] < 0 for row in ratings):
            run.note(f"none of {len(ratings)} texts of the judge holds a rating")
        figures = mt_bench_report.summarize(ratings, pairs, answers, config.seed)
        described = {
            "model": config.model,
            "judge": config.judge,
            "baseline": config.baseline,
            "questions": len(questions),
            "without_reference": lacking,
        }
        run.write_json("mt_bench.json", described | figures)
        sections = mt_bench_report.sections(figures, run.folder)
        sections.append(mt_bench_report.answer_section(answers, baseline, ratings))
        command = config_command(config, "experiments.mt_bench")
        run.publish(Page(f"MT-Bench: {config.model}", sections, command))
        return run.finish(mt_bench_report.main_numbers(figures))


def answer(
    config: Config, run: ReportRun, questions: list[Question], model: str, name: str
) -> list[Row]:
    """A model's answers to all questions, kept in NAME.jsonl."""
    speaker = load_speaker(
        *(config, run, model, "max_new_tokens"), temperature=config.temperature
    )
    return make_rows(
        *(config, run, questions, name),
        lambda part: mt_bench_judging.answer_rows(speaker, questions[part], model),
    )


def judge(
    config: Config,
    run: ReportRun,
    questions: list[Question],
    prompts: Mapping[str, JudgePrompt],
    answers: list[Row],
    baseline: list[Row],
) -> tuple[list[Row], list[Row]]:
    """The judge's ratings of the answers, and its comparisons with the baseline's."""
    speaker = load_speaker(config, run, config.judge, "judge_tokens", temperature=0.0)
    ratings = make_rows(
        *(config, run, questions, "ratings"),
        lambda part: mt_bench_judging.grade_rows(
            speaker, prompts, questions[part], answers[part]
        ),
    )
    if not baseline:
        return ratings, []
    return ratings, make_rows(
        *(config, run, questions, "pairs"),
        lambda part: mt_bench_judging.pair_rows(
            speaker, prompts, questions[part], answers[part], baseline[part]
        ),
    )


def load_speaker(
    config: Config,
    run: ReportRun,
    folder: str,
    flag: str,
    *,
    temperature: float | None,
) -> Speaker:
    """A model that answers or judges, with its settings of sampling.

    Raises:
      ValueError: the length of its texts (that of a flag) fills its context.
    """
    max_new_tokens = getattr(config, flag)
    policy = load_policy(config, folder, evaluation_mesh(config))
    name = "--" + flag.replace("_", "-")
    conversation_answers.check_room(policy, max_new_tokens, f"{folder}: {name}")
    return Speaker(
        policy=policy,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=config.seed,
        rows=config.rows,
        note=run.note,
    )


def make_rows(
    config: Config,
    run: ReportRun,
    questions: Sequence[Question],
    name: str,
    make: Callable[[slice], list[Row]],
) -> list[Row]:
    """The rows of all questions, kept in NAME.jsonl as they come."""
    return resumable_rows(
        run.folder / f"{name}.jsonl",
        len(questions),
        lambda items: make(slice(items.start, items.stop)),
        chunk=config.rows,
        resume=config.resume,
        progress=lambda chunks: run.progress(chunks, name.replace("_", " ")),
    )


if __name__ == "__main__":
    launch(main, Config)
