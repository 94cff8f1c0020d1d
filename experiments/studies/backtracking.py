"""Backtracking: a policy that may take back an unsafe beginning violates less.

Four arms from one model: SFT on safe answers, or with backtracking (an unsafe prefix,
[RESET], the safe answer; only what follows is trained), each with or without DPO
(ordinary pairs in all arms, pairs of both signs with [RESET] in the backtracking ones).
Violations in % of baseline SFT, backtrack SFT, baseline SFT + DPO, backtrack SFT + DPO:
published (arXiv:2409.14586, Llama 3 8B) 5.3, 4.8, 5.2, 1.5; here, three seeds, 15.7,
0.8, 5.5, 0.1, at 0.9 % of false resets (docs/results/studies/backtracking.md). DPO has
the chosen answers' NLL beside it: alone it lowers right answers from 79 to 66 %.

    python -m experiments.studies.backtracking --quick
    python -m experiments.studies.backtracking --seeds 3 --out runs/backtracking
    python -m experiments.studies.backtracking --model FOLDER --data PAIRS \\
        --suites advbench.csv,xstest_prompts.csv --utility SFT_ROWS

In the toy world each family of prompts is further from training (`toy_backtracking`).
With --model, preferences are those of --data whose rejected answer complies by rules,
families are the files of --suites (safe prompts: for false resets), and a violation is
full compliance by rules. The token is added to the model first, for all arms alike.

Attacks: forced first tokens of an unsafe answer, and suffixes of requests by GCG, of
which the adaptive one keeps p([RESET]) low, too (--gcg-prompts).

Writes OUT/report.md with plots (violations, false resets, right answers, discarded
tokens; curves over a bias on the logit of [RESET], over the worst of k samples, and
over forced first tokens), cells.json and a folder for each seed; --resume continues.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

from experiments import dpo as dpo_stage
from experiments import sft as sft_stage
from jaxalign.data.special_tokens import RESET
from jaxalign.evaluation.page import Page
from jaxalign.pipeline import added_tokens
from jaxalign.pipeline.behaviors import (
    backtracking,
    backtracking_metrics,
    backtracking_report,
    backtracking_tasks,
    behavior,
)
from jaxalign.pipeline.behaviors.backtracking_config import MeasureConfig
from jaxalign.pipeline.behaviors.backtracking_tasks import BacktrackingTask
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.runtime import flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.stages import run_once
from jaxalign.runtime.study_sizes import with_size

ARMS = ("baseline-sft", "backtrack-sft", "baseline-sft-dpo", "backtrack-sft-dpo")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(MeasureConfig):
    """Backtracking: baseline and backtrack, by SFT and SFT + DPO."""

    RANGES: ClassVar = {
        "dpo_nll": flags.NOT_NEGATIVE,
        **flags.ranges_of(flags.COUNT, "base_steps sft_steps dpo_steps pairs"),
        **flags.ranges_of(flags.POSITIVE, "sft_learning_rate dpo_learning_rate"),
    }
    model: str = "toy"
    """toy, or the Hugging Face folder of a model."""
    data: str = ""
    """With --model: preferences, safe answers over unsafe ones."""
    utility: str = ""
    """With --model: a data set of SFT rows, trained without a reset."""
    suites: str = ""
    """With --model: files of unsafe prompts, with commas between them, and safe ones,
    such as XSTest."""
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ...; intervals are over all."""
    smoke: bool = False
    """A few steps of every stage, to see that it runs."""
    quick: bool = False
    """A shorter run, of some minutes."""
    base_steps: int = 1000
    """Steps of the toy model before the study, on data that often comply."""
    sft_steps: int = 200
    """Steps of each arm's SFT."""
    dpo_steps: int = 30
    """Steps of DPO, where the arm has it."""
    dpo_nll: float = 5.0
    """Weight of the chosen answers' NLL per token beside DPO's loss; 0: DPO alone, as
    published, which costs right answers here."""
    sft_learning_rate: float | None = None
    """Learning rate of SFT; by default that of `experiments.sft`."""
    dpo_learning_rate: float | None = None
    """Learning rate of DPO; by default that of `experiments.dpo`."""
    batch: int = 16
    """Packed rows of an SFT step, and half of the pairs of a DPO step."""
    pairs: int = 600
    """Preference rows; twice as many rows of utility."""
    utility_pairs: bool = True
    """DPO also on pairs whose rejected answer resets without a reason."""
    log_uniform: bool = False
    """Cut prefixes at log-uniform lengths, rather than uniform ones."""


SMOKE: dict[str, Any] = {
    **{"base_steps": 2, "sft_steps": 2, "dpo_steps": 2, "pairs": 24, "prompts": 4},
    **{"samples": 2, "batch": 8, "temperatures": (1.0,), "biases": (-5.0, 5.0)},
    **{"prefills": (0, 2), "gcg_prompts": 2, "gcg_steps": 1, "gcg_targets": (2,)},
}
QUICK: dict[str, Any] = {
    **{"base_steps": 600, "prompts": 48, "samples": 4, "gcg_prompts": 0},
    **{"temperatures": (1.0,), "biases": (-5.0, -2.0, 0.0, 2.0)},
}


def main(config: Config) -> dict[str, Any]:
    """Runs all arms with all seeds; writes the report, and returns its numbers."""
    check(config)
    with ReportRun(config, "backtracking") as run:
        sized = with_size(config, smoke=SMOKE, quick=QUICK)
        task = make_task(sized, run.note)

        def measure(arm: str, seed: int, folder: Path) -> study_cells.Values:
            seeded = dataclasses.replace(sized, seed=seed)
            run.say(f"backtracking: seed {seed}, {arm}")
            policy = train_arm(seeded, task, arm, folder)
            return measure_policy(seeded, task, policy, arm, run.note)

        settings = {
            field.name: getattr(sized, field.name)
            for field in dataclasses.fields(sized)
            if field.name not in flags.resumable_fields(Config) | {"seed"}
        }
        seeds = range(config.seed, config.seed + config.seeds)
        cells = study_cells.measure_cells(
            run.folder, ARMS, seeds, measure, settings=settings, resume=config.resume
        )
        shares = backtracking_report.shares(cells)
        summary = study_cells.summarize_cells(cells, shares)
        run.write_json("cells.json", summary)
        gains = {
            arm: study_cells.compare_cells(cells, arm, ARMS[0]) for arm in ARMS[1:]
        }
        sections = backtracking_report.sections(summary, gains, run.folder)
        command = config_command(config, "experiments.studies.backtracking")
        run.publish(Page("Backtracking", sections, command), tables=2)
        return run.finish(backtracking_report.main_numbers(summary, gains))


def check(config: Config) -> None:
    """Refuses flags that do not fit together.

    Raises:
      ValueError: names the flags.
    """
    files = {name: getattr(config, name) for name in ("data", "utility", "suites")}
    if config.model == "toy" and any(files.values()):
        given = next(name for name, value in files.items() if value)
        raise ValueError(f"--{given} is for --model FOLDER; the toy world has its own")
    if config.model != "toy" and not (config.data and config.suites):
        raise ValueError(
            "--model needs --data, preferences of safe answers over unsafe ones, and "
            "--suites, files of unsafe prompts"
        )


def make_task(config: Config, note: Callable[[str], None]) -> BacktrackingTask:
    """The training data, prompts and judges; the same for all seeds."""
    sizes = {"pairs": config.pairs, "prompts": config.prompts}
    if config.model == "toy":
        return backtracking_tasks.toy_task(0, utility=2 * config.pairs, **sizes)
    data = evaluation_models.run_config(config, data=config.data)
    return backtracking_tasks.file_task(
        data, config.utility, config.suites, **sizes, note=note
    )


def train_arm(config: Config, task: BacktrackingTask, arm: str, folder: Path) -> Path:
    """Trains an arm; what arms of a seed share is in the folder above.
    Returns the folder of its policy.
    """
    method, *_, last = arm.split("-")
    start = starting_model(config, folder.parent)
    files = write_data(config, task, start, folder.parent)
    policy = run_once(
        sft_stage.main,
        sft_stage.Config(
            **stage_flags(config, folder.parent / f"{method}-sft" / "sft"),
            model=str(start),
            data=str(files / f"{method}-sft.jsonl"),
            mask_before=RESET,
            steps=config.sft_steps,
            batch=config.batch,
            learning_rate=config.sft_learning_rate,
        ),
    )
    if last != "dpo":
        return policy
    loss: dict[str, Any] = {"loss": "rpo", "alpha": config.dpo_nll}
    dpo = dpo_stage.Config(
        **stage_flags(config, folder / "dpo"),
        model=str(policy),
        data=str(files / f"{method}-pairs.jsonl"),
        steps=config.dpo_steps,
        batch=2 * config.batch,
        learning_rate=config.dpo_learning_rate,
        **(loss if config.dpo_nll else {}),
    )
    return run_once(dpo_stage.main, dpo)


def starting_model(config: Config, folder: Path) -> Path:
    """The model with [RESET], from which all arms of a seed start."""
    out = folder / "start"
    if not (out / "config.json").exists():
        model = config.model
        if model == "toy":
            shared = stage_flags(config, folder / "base")
            base = sft_stage.Config(**shared, steps=config.base_steps)
            model = str(run_once(sft_stage.main, base))
        added_tokens.add_to_folder(model, out, RESET, seed=config.seed)
    return out


def write_data(
    config: Config, task: BacktrackingTask, start: Path, folder: Path
) -> Path:
    """Writes METHOD-sft.jsonl and METHOD-pairs.jsonl."""
    policy = evaluation_models.load_policy(EvaluationConfig(), str(start), None)
    arms = backtracking.arms_data(
        backtracking.backtracking(policy.tokenizer, log_uniform=config.log_uniform),
        task.preferences,
        task.utility[: 2 * len(task.preferences)],
        task.helpful,
        seed=config.seed,
    )
    if config.utility_pairs:
        rows = task.safe_utility[: len(task.preferences)]
        arms["backtrack"].pairs.extend(
            backtracking.utility_pairs(policy.tokenizer, rows, seed=config.seed)
        )
    for method, data in arms.items():
        behavior.write(folder / "data", data, prefix=f"{method}-")
    return folder / "data"


def stage_flags(config: Config, out: Path) -> dict[str, Any]:
    """Flags that all stages share."""
    shared = ("seed", "mesh", "dtype", "template_date", "compilation_cache")
    context = config.context or (64 if config.model == "toy" else None)
    return {name: getattr(config, name) for name in shared} | {
        "out": out,
        "context": context,
        "keep_special_tokens": True,
        "held_out": 0.0,  # the study has prompts of its own
        "log": "none",
    }


def measure_policy(
    config: Config,
    task: BacktrackingTask,
    folder: Path,
    arm: str,
    note: Callable[[str], None],
) -> backtracking_metrics.Values:
    """The measures of an arm's policy."""
    loading = EvaluationConfig(context=config.context, dtype=config.dtype)
    policy = evaluation_models.load_policy(loading, str(folder), None)
    room = policy.context - config.max_new_tokens - config.given_tokens
    fitted = backtracking_tasks.fit_to_context(task, policy, room, note)
    measurer = backtracking_metrics.Measurer(policy, fitted, config.protocol())
    return measurer.values(biases=arm.startswith("backtrack"))


if __name__ == "__main__":
    launch(main, Config)
