"""Answers of one model or several to the prompts of a file or a data set.

    python -m experiments.generate --model runs/sft/policy --data prompts.jsonl
    python -m experiments.generate --model A,B --data hh-rlhf --data-path FOLDER \\
        --temperature 0.7 --top-p 0.9 --samples 4 --out runs/answers

Writes OUT/answers.jsonl, one row an answer: `prompt` (messages), `answer`, `model`,
`tokens` (of the answer, its stop token included), `ended` (with a stop token, not cut
off), `settings`, and the other fields of the prompt's row. Rows are in the order of the
models, of each in that of the prompts, samples side by side. `--data OUT/answers.jsonl`
reads them again: to train on, to score, to compare.

An answer depends on --seed, on its prompt and on the number of its sample alone: not on
the other prompts, --rows, or where a run was interrupted. --resume goes on after the
last part that was saved. Prompts without room for an answer of --max-new-tokens in the
context are left out and named in OUT/left_out.json. A prompt that comes twice is
answered once; --samples gives several answers.

Also writes numbers.json and a page (report.md, report.html) with some answers side by
side: tokens an answer and the share that ended, with 95 % intervals over prompts, and
tokens a second, of all parts (--save-every) of a model but its first, which compiles.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import numpy as np

from jaxalign.data import splits
from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import Groups, RowMetric, TableRow
from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.page import Page, Section, SideBySide
from jaxalign.evaluation.report import Row
from jaxalign.pipeline.evaluation import answer_generation, row_fields
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation import prompts as evaluation_prompts
from jaxalign.pipeline.evaluation.answer_generation import AnswerGenerator, ModelPrompts
from jaxalign.runtime import data_report, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.resumable_rows import resumable_rows
from jaxalign.runtime.split_flags import SplitFlags
from jaxalign.sampling import SamplingParams

SHOWN = 8  # prompts whose answers are on the page
NAMED = 3  # prompts left out that are named on the screen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, evaluation_prompts.PromptConfig):
    """Answers of models to prompts."""

    RANGES: ClassVar = {"save_every": flags.COUNT}
    model: str
    """A Hugging Face folder (every run writes one) or ORG/NAME of a hub; of several
    models, with commas between them and as NAME=FOLDER where names are to be short, all
    answers are in one file."""
    samples: int = 1
    """Answers to each prompt."""
    temperature: float = 1.0
    """Sampling temperature; 0 is greedy."""
    top_p: float | None = None
    """Sample from the fewest most likely tokens of this total probability."""
    top_k: int | None = None
    """Sample from this many most likely tokens."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default 512, or half of a shorter context."""
    system_prompt: str | None = None
    """A system prompt for all prompts, in place of their own."""
    save_every: int = 1024
    """Answers that are sampled and saved at one time."""


def main(config: Config) -> dict[str, Any]:
    """Samples the answers and writes them; returns the numbers of all models.

    Raises:
      ValueError: a model is named twice, or can answer no prompt.
    """
    models_given = [text.strip() for text in config.model.split(",")]
    names = [evaluation_models.split_name(text)[0] for text in models_given]
    if len(set(names)) < len(names) or "" in names:
        raise ValueError(
            f"--model {config.model}: expected folders of different names, with "
            "commas between them"
        )
    with ReportRun(config, "generate") as run:
        source = evaluation_prompts.load_dataset(config)
        prompts = [
            answer_generation.with_system_prompt(prompt, config.system_prompt)
            for prompt in evaluation_prompts.load_prompts(config, source)
        ]
        for kind, account in source.accounts():
            run.say(f"generate: {data_report.summary(kind, account)}")
        models = open_models(config, models_given, prompts)
        split = [split_groups(config, model) for model in models]
        report_left_out(run, models, len(prompts))
        mesh = evaluation_models.evaluation_mesh(config)
        generator = AnswerGenerator(config, models, mesh)
        parts = answer_generation.split_into_parts(models, config.save_every)
        with jax.set_mesh(mesh):
            rows = resumable_rows(
                run.folder / "answers.jsonl",
                len(parts),
                lambda items: [r for i in items for r in generator.rows(parts[i])],
                chunk=1,
                resume=config.resume,
                progress=lambda left: run.progress(left, "parts of the answers"),
            )
        by_model = [[row for row in rows if row["model"] == name] for name in names]
        table = [
            summary(model, answers, generator.tokens_per_second(i))
            for i, (model, answers) in enumerate(zip(models, by_model, strict=True))
        ]
        tables = [
            split_tables(model, answers, groups)
            for model, answers, groups in zip(models, by_model, split, strict=True)
        ]
        run.publish(page(config, models, by_model, table, tables))
        run.say(f"answers are in {run.folder / 'answers.jsonl'}")
        left_out = sum(len(model.left_out) for model in models)
        numbers = {"answers": len(rows), "left_out": left_out}
        of_models = {
            name: {**row, **by_field.named_numbers(own)}
            for name, row, own in zip(names, table, tables, strict=True)
        }
        return run.finish(numbers | {"by_model": of_models})


def open_models(
    config: Config, folders: Sequence[str], prompts: Sequence[Any]
) -> list[ModelPrompts]:
    """The prompts that each model answers; no weights are read."""
    params = SamplingParams(
        max_new_tokens=config.max_new_tokens or 1,
        samples=config.samples,
        temperature=config.temperature,
        top_p=config.top_p,
        top_k=config.top_k,
    )
    return [
        answer_generation.open_prompts(
            config, folder, prompts, params, config.max_new_tokens
        )
        for folder in folders
    ]


def report_left_out(run: ReportRun, models: Sequence[ModelPrompts], total: int) -> None:
    """Says which prompts a model cannot answer, and writes all of them to a file."""
    for model in models:
        named = "; ".join(
            f"{one.location}: {one.reason}" for one in model.left_out[:NAMED]
        )
        more = len(model.left_out) - NAMED
        if model.left_out:
            run.note(
                f"{model.model}: {len(model.left_out)} of {total} prompts are left "
                f"out: {named}" + f"; and {more} more in left_out.json" * (more > 0)
            )
        run.say(
            f"generate: {model.model}: {len(model.prompts)} prompts, "
            f"{model.params.samples} answers to each, of at most "
            f"{model.params.max_new_tokens} tokens"
        )
    run.write_json(
        "left_out.json", [one._asdict() for model in models for one in model.left_out]
    )


def summary(
    model: ModelPrompts, rows: Sequence[dict[str, Any]], rate: float | None
) -> Row:
    """The numbers of one model, with intervals over prompts.

    Args:
      rate: answer tokens a second.
    """
    units = splits.prompt_hashes(model.prompts.records)
    units = np.repeat(units, model.params.samples)
    mean = lambda field, share: bootstrap(
        np.array([row[field] for row in rows], float), units=units, share=share
    )
    tokens: Interval = mean("tokens", False)
    return {
        "model": model.model,
        "prompts": len(model.prompts),
        "left_out": len(model.left_out),
        "answers": len(rows),
        "tokens": tokens,
        "ended": mean("ended", True),
        "empty": sum(not row["answer"] for row in rows),
        "tokens_per_second": rate,
    }


def split_groups(config: Config, model: ModelPrompts) -> Groups:
    """The groups of a model's answers by the fields of --split-by.

    Raises:
      ValueError: as `by_field.field_groups`.
    """
    fields = [prompt.fields for prompt in model.prompts.records]
    groups = by_field.group_rows(fields, config.split_by, "prompt")
    rows = np.repeat(np.arange(len(fields)), model.params.samples)
    return by_field.select(groups, rows)


def split_tables(
    model: ModelPrompts, rows: Sequence[dict[str, Any]], groups: Groups
) -> dict[str, list[TableRow]]:
    """The numbers of one model's answers in each group, a table a field."""
    units = np.repeat(splits.prompt_hashes(model.prompts.records), model.params.samples)
    column = lambda name: np.array([row[name] for row in rows], np.float64)
    metrics = {
        "tokens": RowMetric(column("tokens"), has_interval=True),
        "ended": RowMetric(column("ended"), has_interval=True, share=True),
    }
    return by_field.group_tables(groups, metrics, units=units, count="answers")


def page(
    config: Config,
    models: Sequence[ModelPrompts],
    by_model: Sequence[Sequence[dict[str, Any]]],
    table: Sequence[Row],
    split: Sequence[dict[str, list[TableRow]]],
) -> Page:
    """The report: a table of the models, and the first answers side by side."""
    shared = set.intersection(*({key(r) for r in rows} for rows in by_model))
    records = models[0].prompts.records
    keys = list(dict.fromkeys(key({"prompt": p.messages}) for p in records))
    shown = [k for k in keys if k in shared][:SHOWN]
    answers = {
        model.model: [next(r["answer"] for r in rows if key(r) == k) for k in shown]
        for model, rows in zip(models, by_model, strict=True)
    }
    settings = answer_generation.sampling_settings(models[0].params, config.seed)
    how = ", ".join(f"{k.replace('_', ' ')} {v:g}" for k, v in settings.items())
    text = (
        f"Prompts of {config.data}; {how}; {config.samples} a prompt. The tokens of an "
        "answer count its stop token; ended is the share that ended with one rather "
        "than by the limit; empty answers have no text."
    )
    return Page(
        "Answers",
        [
            Section("Answers of each model", text, table),
            *(
                dataclasses.replace(one, title=f"{one.title}: {model.model}")
                for model, tables in zip(models, split, strict=True)
                for one in row_fields.split_sections(tables)
            ),
            Section(
                "The first answers",
                "The first sample to the first prompts that all models answered.",
                answers=SideBySide(list(shown), answers),
            ),
        ],
        config_command(config, "experiments.generate"),
    )


def key(row: dict[str, Any]) -> str:
    """The prompt of a row as text."""
    return "\n".join(f"{m['role']}: {m['content']}" for m in row["prompt"])


if __name__ == "__main__":
    launch(main, Config)
