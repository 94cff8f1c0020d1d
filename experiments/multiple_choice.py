"""BBQ and TruthfulQA by likelihood: bias and honesty of a language model.

A model answers with the option that it finds likeliest; nothing is sampled. BBQ has
accuracy in ambiguous and disambiguated contexts and the two bias scores (Parrish et al.
2022, arXiv:2110.08193); TruthfulQA has mc1, mc2 and the choice between the best true
and the best false answer (Lin et al. 2021, arXiv:2109.07958), beside chance.

    python -m experiments.multiple_choice --model MODEL --data bbq/*.jsonl
    python -m experiments.multiple_choice --model MODEL --data TruthfulQA.csv

Files are in the published layouts; none is part of the project. BBQ's options are
lettered, and log-probs of letters are averaged over the three rotations of the options,
so that a preference for a letter cancels; the order bias is reported. `--bbq texts`
scores the options' texts instead, per byte: for small models, which know no letters.
TruthfulQA's answers are scored as whole texts after a primer of six other questions, in
our own wording (`--primer none` leaves it out), as log-probs summed over their tokens.

A model with a chat template reads a question as the user's message; another reads
plain text. Intervals are over BBQ's question templates (25 a category), and over
TruthfulQA's questions. Questions beyond the model's context are left out and counted.

Writes OUT/multiple_choice.json, bbq_options.jsonl and truthfulqa_options.jsonl (the
log-prob of every option),
report.md and report.html with plots.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from jaxalign import streams
from jaxalign.evaluation.benchmarks import option_orders
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    load_policy,
)
from jaxalign.pipeline.multiple_choice import report as multiple_choice_report
from jaxalign.pipeline.multiple_choice import rows as question_rows
from jaxalign.pipeline.multiple_choice import scores as multiple_choice
from jaxalign.pipeline.multiple_choice import split
from jaxalign.pipeline.multiple_choice.rows import BbqQuestion, TruthfulQuestion
from jaxalign.pipeline.multiple_choice.scores import Question, QuestionRequests
from jaxalign.pipeline.policies import Policy
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows
from jaxalign.runtime.split_flags import SplitFlags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, EvaluationConfig):
    """BBQ and TruthfulQA by likelihood."""

    RANGES: ClassVar = {"examples": flags.COUNT}
    model: str
    """The folder of the model, or ORG/NAME of a hub."""
    data: tuple[str, ...]
    """Files or folders of questions, of one benchmark or of both."""
    task: Literal["auto", "bbq", "truthfulqa"] = "auto"
    """What the rows are; auto: their fields tell."""
    bbq: Literal["letters", "texts"] = "letters"
    """Score the letters of BBQ's options, or their texts."""
    primer: Literal["own", "none"] = "own"
    """Questions and answers before each question of TruthfulQA."""
    examples: int | None = None
    """At most so many questions of each benchmark, at random; by default all."""


def main(config: Config) -> dict[str, Any]:
    """Scores the options and writes the report; returns the main numbers.

    Raises:
      ValueError: a malformed row, or no question that fits the model's context.
    """
    with ReportRun(config, "multiple_choice") as run:
        task = None if config.task == "auto" else config.task
        paths = [path for part in config.data for path in part.split(",") if path]
        questions = question_rows.read_questions(paths, task)
        split.check_fields([*questions.bbq, *questions.truthfulqa], config.split_by)
        policy = load_policy(config, config.model, evaluation_mesh(config))
        numbers: dict[str, Any] = {"model": config.model}
        sections: list[Section] = []
        if questions.bbq:
            sections += run_bbq(config, run, policy, questions.bbq, numbers)
        if questions.truthfulqa:
            sections += run_truthful(config, run, policy, questions.truthfulqa, numbers)
        run.write_json("multiple_choice.json", numbers)
        command = config_command(config, "experiments.multiple_choice")
        run.publish(Page(f"Multiple choice: {config.model}", sections, command))
        return run.finish(multiple_choice_report.main_numbers(numbers))


def run_bbq(
    config: Config,
    run: ReportRun,
    policy: Policy,
    questions: list[BbqQuestion],
    numbers: dict[str, Any],
) -> list[Section]:
    """Adds BBQ's numbers; returns its sections."""
    kept, logps = score(config, run, policy, questions, "bbq")
    order = None
    if config.bbq == "letters":
        letters = multiple_choice.letter_logps(logps)
        scores = option_orders.option_scores(letters)
        order = multiple_choice_report.order_numbers(kept, letters, seed=config.seed)
    else:
        scores = multiple_choice.text_scores(logps, kept)
    found = multiple_choice_report.bbq_numbers(kept, scores, seed=config.seed)
    if unresolved := found["all"]["unresolved"]:
        run.note(
            f"BBQ: {unresolved} of {len(kept)} questions count for accuracy alone; "
            "their rows do not tell which one answer is the biased one"
        )
    tables = split.split_tables(
        *(kept, config.split_by),
        lambda mask: split.bbq_group(kept, scores, mask, config.seed),
    )
    numbers |= {"bbq": found, "bbq order": order, "bbq scoring": config.bbq}
    numbers["bbq split"] = tables
    return [
        *multiple_choice_report.bbq_sections(found, order, config.bbq, run.folder),
        *split.split_sections(tables, "BBQ"),
    ]


def run_truthful(
    config: Config,
    run: ReportRun,
    policy: Policy,
    questions: list[TruthfulQuestion],
    numbers: dict[str, Any],
) -> list[Section]:
    """Adds TruthfulQA's numbers; returns its sections."""
    kept, logps = score(config, run, policy, questions, "truthfulqa")
    found = multiple_choice_report.truthful_numbers(kept, logps, seed=config.seed)
    tables = split.split_tables(
        *(kept, config.split_by),
        lambda mask: split.truthful_group(kept, logps, mask, config.seed),
    )
    numbers |= {"truthfulqa": found, "truthfulqa primer": config.primer}
    numbers["truthfulqa split"] = tables
    kinds = list(dict.fromkeys(question.kind for question in kept))
    sections = multiple_choice_report.truthful_sections(
        found, config.primer == "own", kinds, run.folder
    )
    return sections + split.split_sections(tables, "TruthfulQA")


def score(
    config: Config,
    run: ReportRun,
    policy: Policy,
    questions: Sequence[Any],
    name: str,
) -> tuple[list[Any], list[np.ndarray]]:
    """The questions that fit, and log-probs of their options, as they come.

    Raises:
      ValueError: no question fits the model's context.
    """
    shown = sample_questions(questions, config.examples, config.seed)
    requests = multiple_choice.tokenize_questions(
        policy, shown, scoring=config.bbq, primer=config.primer == "own"
    )
    pairs = fitting_questions(shown, requests, policy, run, name)
    tokens = [request for _, request in pairs]

    def make(items: range) -> list[dict[str, Any]]:
        part = [tokens[i] for i in items]
        logps = multiple_choice.score_questions(policy, part, rows=config.rows)
        return [
            {"location": pairs[i][0].location, "logps": row.tolist()}
            for i, row in zip(items, logps, strict=True)
        ]

    written = resumable_rows(
        run.folder / f"{name}_options.jsonl",
        len(pairs),
        make,
        chunk=4 * config.rows,
        resume=config.resume,
        progress=lambda chunks: run.progress(chunks, name),
    )
    kept = [question for question, _ in pairs]
    return kept, [np.array(row["logps"]) for row in written]


def sample_questions(
    questions: Sequence[Any], count: int | None, seed: int
) -> list[Any]:
    """At most `count` random questions, in their order; None keeps all."""
    if count is None or count >= len(questions):
        return list(questions)
    order = streams.generator(seed, "questions").permutation(len(questions))
    return [questions[i] for i in sorted(order[:count].tolist())]


def fitting_questions(
    questions: Sequence[Question],
    requests: Sequence[QuestionRequests],
    policy: Policy,
    run: ReportRun,
    name: str,
) -> list[tuple[Question, QuestionRequests]]:
    """The questions whose options all fit the model's context.

    Raises:
      ValueError: none does.
    """
    pairs = list(zip(questions, requests, strict=True))
    fits = [pair for pair in pairs if pair[1].longest <= policy.context]
    longest = max(request.longest for request in requests)
    if not fits:
        raise ValueError(
            f"no question of {name} fits the model's context of {policy.context} "
            f"tokens; the longest has {longest}"
        )
    if len(fits) < len(pairs):
        run.note(
            f"{name}: {len(pairs) - len(fits)} of {len(pairs)} questions left out: "
            f"longer than the context of {policy.context} tokens ({longest} at most)"
        )
    return fits


if __name__ == "__main__":
    launch(main, Config)
