"""Brevity: a second behavior that preference pairs teach, by backtracking's recipe.

Claim: what a behavior needs is a rule that makes SFT conversations and pairs of both
signs from ordinary preferences (`jaxalign/pipeline/behaviors`). Here the rule is: say
the first sentence, whole, and end. Its pairs prefer the sentence to the whole answer,
and to the same sentence cut in its middle.

    python -m experiments.studies.brevity --quick
    python -m experiments.studies.brevity --seeds 3 --out runs/brevity --resume
    python -m experiments.studies.brevity --model FOLDER --data PREFERENCES

Arms: the policy before; after SFT on the recipe's conversations; after SFT and DPO on
its pairs; and the same DPO without pairs of the second sign. In the toy world the
policy before has learned from assistants that add a needless sentence to every answer.
With --model it is that model, and prompts are the held-out ones of --data.

Seen with --quick (one seed, 128 requests): words 10.9 before, 4.5 after SFT, 4.4 after
DPO, right answers 88, 86 and 76 %, true reward 2.44, 2.84 and 2.73. SFT is enough here,
and DPO costs right answers; without the second sign it costs nearly all: 13 %, at 2.3
words, since it ends at once: "gladly.".

Writes OUT/report.html, words.png, shares.png, cells.json and a folder for each seed.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

from experiments import dpo as dpo_stage
from experiments import sft as sft_stage
from jaxalign.data import toy_brevity
from jaxalign.evaluation.interval_plot import plot_intervals
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline.behaviors import behavior, brevity_task
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size

BEFORE, SFT, DPO, ONE_SIGN = "before", "SFT", "SFT + DPO", "SFT + DPO, one sign"
ARMS = (BEFORE, SFT, DPO, ONE_SIGN)
METRICS = {
    "words": "words per answer",
    "whole": "ends with its sentence",
    "reward": "true reward",
    "right": "right answers",
}
TOY_CONTEXT = 64
SMOKE: dict[str, Any] = {
    **{"base_steps": 2, "sft_steps": 2, "dpo_steps": 2, "batch": 8},
    **{"pairs": 48, "prompts": 8},
}
QUICK: dict[str, Any] = {"base_steps": 400, "prompts": 128}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """Brevity by preference pairs: before, SFT, and SFT + DPO."""

    RANGES: ClassVar = flags.ranges_of(flags.COUNT, "base_steps sft_steps dpo_steps")
    model: str = "toy"
    """toy, or the Hugging Face folder of a model."""
    data: str = ""
    """With --model: preferences."""
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ...; intervals are over all."""
    smoke: bool = False
    """A few steps of every stage, to see that it runs."""
    quick: bool = False
    """A shorter run, of some minutes."""
    base_steps: int = 800
    """Steps of the toy policy before."""
    sft_steps: int = 40
    dpo_steps: int = 30
    batch: int = 16
    """Packed rows of an SFT step, and half of the pairs of a DPO step."""
    pairs: int = 1000
    """Preference rows that the recipe is applied to."""
    prompts: int = 256
    """Prompts of the measures."""
    max_new_tokens: int = 32


def main(config: Config) -> dict[str, Any]:
    """Trains and measures every arm with every seed; returns the main numbers.

    Raises:
      ValueError: flags that do not fit, or data in which no answer has two sentences.
    """
    if (config.model == "toy") == bool(config.data):
        raise ValueError(
            "--model FOLDER and --data PREFERENCES go together; the toy world has its "
            "own data"
        )
    with ReportRun(config, "brevity") as run:
        sized = with_size(config, smoke=SMOKE, quick=QUICK)
        context = config.context or (TOY_CONTEXT if config.model == "toy" else None)
        sized = dataclasses.replace(sized, context=context)
        task = make_task(sized)

        def measure(arm: str, seed: int, folder: Path) -> study_cells.Values:
            run.say(f"brevity: seed {seed}, {arm}")
            trained = train_arm(sized, task, arm, seed, folder.parent)
            mesh = evaluation_models.evaluation_mesh(sized)
            policy = evaluation_models.load_policy(sized, str(trained), mesh)
            sampling = {"seed": seed, "max_new_tokens": sized.max_new_tokens}
            return brevity_task.measure(policy, task, run, **sampling)

        free = flags.resumable_fields(Config) | {"seed"}
        settings = {k: v for k, v in vars(sized).items() if k not in free}
        seeds = range(config.seed, config.seed + config.seeds)
        options: dict[str, Any] = {"settings": settings, "resume": config.resume}
        cells = study_cells.measure_cells(run.folder, ARMS, seeds, measure, **options)
        summary = study_cells.summarize_cells(cells, ("whole", "right"))
        run.write_json("cells.json", summary)
        gains = {a: study_cells.compare_cells(cells, a, BEFORE) for a in ARMS[1:]}
        sections = make_sections(summary, gains, run.folder)
        command = config_command(config, "experiments.studies.brevity")
        run.publish(Page("Brevity by preference pairs", sections, command))
        return run.finish({"by_model": summary})


def make_task(config: Config) -> brevity_task.BrevityTask:
    """The training data and prompts; the same for all seeds."""
    sizes = {"pairs": config.pairs, "prompts": config.prompts}
    if config.model == "toy":
        return brevity_task.toy_task(0, **sizes)
    data = evaluation_models.run_config(config, data=config.data)
    return brevity_task.file_task(data, **sizes)


def start_policy(config: Config, seed: int, root: Path) -> Path:
    """The policy before: the model, or in the toy world a wordy assistant."""
    if config.model != "toy":
        return Path(config.model)
    rows = toy_brevity.wordy_rows(seed, 16 * config.base_steps)
    data = behavior.write_demonstrations(root / "wordy.jsonl", rows)
    base = sft_stage.Config(
        data=str(data), steps=config.base_steps, context=config.context, held_out=0.0
    )
    return run_stage(config, sft_stage.main, base, root / "base", seed) / "policy"


def train_arm(
    config: Config, task: brevity_task.BrevityTask, arm: str, seed: int, root: Path
) -> Path:
    """Trains an arm, after those that it starts from; returns its policy's folder."""
    start = start_policy(config, seed, root)
    # the study has prompts of its own
    shared: dict[str, Any] = {"held_out": 0.0, "context": config.context}
    if arm == BEFORE:
        return start
    mesh = evaluation_models.evaluation_mesh(config)
    policy = evaluation_models.load_policy(config, str(start), mesh)
    sft_file, pairs = brevity_task.write_data(
        root / "data", policy.tokenizer, task.preferences, seed=seed
    )
    sft = sft_stage.Config(
        model=str(start),
        data=str(sft_file),
        steps=config.sft_steps,
        batch=config.batch,
        **shared,
    )
    done = run_stage(config, sft_stage.main, sft, root / "sft", seed)
    if arm == SFT:
        return done / "policy"
    signs = "one" if arm == ONE_SIGN else "both"
    dpo = dpo_stage.Config(
        model=str(done / "policy"),
        data=str(pairs[signs]),
        steps=config.dpo_steps,
        batch=2 * config.batch,
        **shared,
    )
    done = run_stage(config, dpo_stage.main, dpo, root / f"dpo-{signs}", seed)
    return done / "policy"


def make_sections(
    summary: dict[str, dict[str, Interval]], gains: Any, folder: Path
) -> list[Section]:
    """The tables and plots; writes words.png and shares.png."""

    def plot(name: str, label: str, metrics: tuple[str, ...]) -> Path:
        lines = {
            arm: {METRICS[n]: values[n] for n in metrics if n in values}
            for arm, values in summary.items()
        }
        limits = (-0.02, 1.02) if label == "share" else None
        return plot_intervals(folder / name, lines, label=label, limits=limits)

    text = "At temperature 1, on prompts that training lacks."
    rows = study_cells.cell_rows(summary, METRICS)
    changes = study_cells.cell_rows(gains, METRICS)
    words = plot("words.png", "words", ("words",))
    shares = plot("shares.png", "share", ("whole", "right"))
    return [
        Section("answers by arm", text, rows, words),
        Section("change from before", rows=changes, image=shares),
    ]


if __name__ == "__main__":
    launch(main, Config)
