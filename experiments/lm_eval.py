"""The benchmarks of EleutherAI's evaluation harness (lm_eval), on a model's folder.

Tasks are the harness's own, by name, or YAML files and folders of them; `:SHOTS` sets
the number of examples in a task's prompts. `open_llm` stands for the four benchmarks
in whose table Zephyr was published: arc_challenge:25, hellaswag:10, mmlu:5 and
truthfulqa_mc2:0. Log-probs, rolling log-probs and answers come from this project's
model, batched, on a mesh if there is one, and equal those of the harness's `hf` model.

    python -m experiments.lm_eval --model MODEL --tasks hellaswag:10,arc_challenge:25
    python -m experiments.lm_eval --model MODEL --tasks my_tasks/ --limit 200
    python -m experiments.lm_eval --model MODEL --tasks ifeval --apply-chat-template

Needs the extra `lm-eval`. Nothing is downloaded unless --download says so: data sets
come from the cache of `datasets` or, for tasks of one's own, from local files, whose
paths (`dataset_kwargs: data_files:`) start at the working directory. An interrupted
evaluation goes on with --resume.

Writes OUT/lm_eval.json (the harness's results), samples/TASK.jsonl (each document with
its prompt and the model's answers), report.md and report.html with each metric, its
standard error and its 95 % interval, scores.png, and numbers.json.
"""

import dataclasses
from typing import Any, ClassVar

import jax

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.benchmarks import harness_tables
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    load_policy,
)
from jaxalign.pipeline.harness import lm_eval_model, lm_eval_tasks
from jaxalign.pipeline.harness import texts as harness_texts
from jaxalign.runtime import flags, hub, jsonl
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """The benchmarks of EleutherAI's evaluation harness."""

    RANGES: ClassVar = {
        "num_fewshot": flags.FROM_0,
        "limit": flags.Range(0, flags.MAX_COUNT, above=True),
    }
    model: str
    """The folder of the model, or ORG/NAME of a hub."""
    tasks: str
    """Tasks with commas between them: names of the harness, YAML files, folders of
    them, each with :SHOTS if its number of examples is to differ; open_llm for the four
    of Zephyr's table."""
    num_fewshot: int | None = None
    """Examples in the prompts of tasks without :SHOTS; by default each task's own
    number. Tasks that are defined with 0 keep 0."""
    limit: float | None = None
    """The first examples of each task: a number, or a share below 1; by default all."""
    apply_chat_template: bool = False
    """Render prompts by the model's chat template, examples as earlier turns."""
    system: str = ""
    """A system message before each prompt."""
    alignment: str = ""
    """How the model was aligned, such as dDPO, for the column of Zephyr's table."""
    download: bool = False
    """Download data sets that are not on this machine; HF_DATASETS_OFFLINE and
    HF_HUB_OFFLINE, where they are set, decide instead."""


def main(config: Config) -> dict[str, Any]:
    """Evaluates the tasks and writes the report; returns each metric by its name.

    Raises:
      ImportError: the extra lm-eval is not installed.
      ValueError: an unknown task, a data set that is not at hand, a bad model.
    """
    lm_eval_model.require()
    requests = lm_eval_tasks.parse_tasks(config.tasks)
    check_limit(config.limit)
    lm_eval_tasks.set_downloads(config.download)
    with ReportRun(config, "lm_eval") as run:
        run.say("reading the harness's tasks and their data ...")
        loaded = lm_eval_tasks.load_tasks(
            requests, num_fewshot=config.num_fewshot, note=run.note
        )
        mesh = evaluation_mesh(config)
        policy = load_policy(config, config.model, mesh)
        if config.apply_chat_template:
            harness_texts.check_chat_template(policy.tokenizer)
        model = lm_eval_model.HarnessModel(
            policy,
            rows=config.rows,
            seed=config.seed,
            name=config.model,
            progress=run.progress,
        )
        several = jax.process_count() > 1  # which must all compute the same batches
        results = lm_eval_tasks.run_tasks(
            model,
            loaded,
            limit=config.limit,
            chat_template=config.apply_chat_template,
            system=config.system,
            cache=None if several else run.folder / "answers",
        )
        for method, count in model.cut.items():
            if count:
                run.note(
                    f"{count} contexts of {method} were longer than the model's "
                    f"{policy.context} tokens, and cut from the left"
                )
        return report(config, run, results, model.get_model_info())


def check_limit(limit: float | None) -> None:
    """Refuse a limit that is neither a number of examples nor a share.

    Raises:
      ValueError: names the flag.
    """
    if limit is not None and limit > 1 and limit != int(limit):
        raise ValueError(
            f"--limit {limit:g}: expected a whole number, or a share below 1"
        )


def report(
    config: Config, run: ReportRun, results: dict[str, Any], info: dict[str, Any]
) -> dict[str, Any]:
    """Write results, documents and the page; returns each metric by its name."""
    for task, rows in results.pop("samples", {}).items():
        file = f"{task.replace('/', '_')}.jsonl"
        jsonl.write(run.folder / "samples" / file, rows)
    rows = harness_tables.result_rows(results)
    row = harness_tables.leaderboard_row(
        results,
        model=hub.public_name(config.model),
        size=harness_tables.size_text(info["model_num_parameters"]),
        alignment=config.alignment,
    )
    run.write_json("lm_eval.json", results | {"leaderboard": row})
    lines, image = harness_tables.plotted_scores(results), None
    if lines:
        image = interval_plot.plot_intervals(
            run.folder / "scores.png",
            lines,
            label="score, with 95 % interval over examples",
            limits=(0, 1),
        )
    sections = [Section("Tasks", task_text(config, results), rows, image)]
    if any(row[column.heading] for column in harness_tables.LEADERBOARD):
        text = leaderboard_text(config)
        sections.append(Section("In the shape of Zephyr's table", text, [row]))
    title = f"Benchmarks of {hub.public_name(config.model)}"
    run.publish(Page(title, sections, config_command(config, "experiments.lm_eval")))
    return run.finish(
        {
            f"{score.task}/{score.metric}": score.interval
            for score in harness_tables.scores(results)
        }
    )


def task_text(config: Config, results: dict[str, Any]) -> str:
    """What the numbers are, above the table of tasks."""
    limit = "" if config.limit is None else f", with --limit {config.limit:g}"
    template = "with" if config.apply_chat_template else "without"
    return (
        f"lm_eval {results['lm_eval_version']}, {template} the chat template{limit}. "
        "Standard errors are the harness's, over examples, of this one model; "
        "intervals are 1.96 of them to each side, and ± ? where it has none."
    )


def leaderboard_text(config: Config) -> str:
    """What Zephyr's table holds."""
    partial = "" if config.limit is None else " Of the first examples alone: --limit."
    return (
        "Percent; a dash where the task was not run with this number of examples in "
        f"its prompts.{partial} Tunstall et al. 2023, arXiv:2310.16944, table 2."
    )


if __name__ == "__main__":
    launch(main, Config)
