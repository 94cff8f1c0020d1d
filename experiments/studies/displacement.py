"""Likelihood displacement: DPO may lower both answers of a pair, the chosen one too.

Claim: DPO's margin grows while the chosen answer falls, the more of what the rejected
one loses the more alike the two are, and the mass goes to answers in no pair. A term
for the chosen answer (DPO + NLL, DPO-Positive) prevents it; SimPO does not, nor does
unlikelihood, which punishes the tokens that both answers share.

    python -m experiments.studies.displacement --quick
    python -m experiments.studies.displacement --seeds 3 --resume --out runs/dpl
    python -m experiments.studies.displacement --model FOLDER --data PREFERENCES

Exact: a log-linear world of four answers (`evaluation/displacement`), where the chosen
answer of DPO falls from the first step for a similarity above 7/8. Models: preferences
are split in two halves, by how alike the answers of a pair are as text, and each loss
trains on each half, from one SFT policy. Measured are held-out pairs of that half, by
changes of log-probs from the SFT policy, nats an answer, over training too.

Writes OUT/report.html, exact.png, changes.png, curves.png, and a folder for each seed.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

from experiments import dpo as dpo_stage
from experiments import sft as sft_stage
from jaxalign.evaluation.page import Page
from jaxalign.pipeline import displacement_report, similar_pairs
from jaxalign.pipeline.evaluation.models import EvaluationConfig, run_config
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import distributed, flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size

LOSSES: dict[str, dict[str, Any]] = {
    "DPO": {"loss": "dpo"},
    "DPO + NLL": {"loss": "rpo", "alpha": 1.0},
    "DPO-Positive": {"loss": "dpop"},
    "SimPO": {"loss": "simpo", "reference_metrics": True},
    "unlikelihood": {"loss": "unlikelihood", "reference_metrics": True},
}
HALVES = ("alike", "unlike")
METRICS = {
    "chosen": "eval/logratio/chosen",
    "rejected": "eval/logratio/rejected",
    "margin": "eval/logratio/margin",
    "accuracy": "eval/accuracy",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """Likelihood displacement, exact and in models."""

    RANGES: ClassVar = flags.ranges_of(flags.COUNT, "sft_steps steps pairs")
    model: str = "toy"
    """toy, or the Hugging Face folder of a model that follows instructions."""
    data: str = "toy"
    """Preferences."""
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ..."""
    pairs: int = 4000
    """Most preferences, before they are split."""
    sft_steps: int = 250
    """Steps of the toy model before the study."""
    steps: int = 100
    """Steps of each loss."""
    batch: int = 32
    """Pairs of a step."""
    learning_rate: float | None = None
    """By default that of `experiments.dpo`."""
    quick: bool = False
    """One shorter run, of some minutes."""
    smoke: bool = False
    """A few steps of everything, to see that it runs."""


SMOKE = {"pairs": 200, "sft_steps": 2, "steps": 2, "batch": 8}
QUICK = {"pairs": 2000, "sft_steps": 150, "steps": 50}


def main(config: Config) -> dict[str, Any]:
    """Trains every loss on both halves; returns the changes of log-probs by arm.

    Raises:
      ValueError: bad flags, no preferences, or no model.
    """
    command = config_command(config, "experiments.studies.displacement")
    config = with_size(config, smoke=SMOKE, quick=QUICK)
    names = ("model", "data", "pairs", "sft_steps", "steps", "batch", "learning_rate")
    with ReportRun(config, "displacement") as run:
        cells = study_cells.measure_cells(
            run.folder,
            [f"{loss}, {half}" for half in HALVES for loss in LOSSES],
            range(config.seed, config.seed + config.seeds),
            lambda arm, seed, folder: measure_arm(config, arm, seed, folder),
            settings={name: getattr(config, name) for name in names},
            resume=config.resume,
        )
        summary = study_cells.summarize_cells(cells)
        run.write_json("study.json", summary)
        if distributed.is_first():
            sections = displacement_report.sections(summary, run.folder)
            run.publish(Page("Likelihood displacement", sections, command))
        return run.finish(
            {
                f"{arm}: {name}": values[name]
                for arm, values in summary.items()
                for name in ("chosen", "rejected")
            }
        )


def measure_arm(config: Config, arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """Trains a loss on a half of the pairs; its held-out changes, over steps too."""
    loss, half = arm.split(", ")
    root = folder.parent
    model = starting_model(config, root, seed)
    data = write_halves(config, root / "data", seed) / half
    stage = dpo_stage.Config(
        model=str(model),
        data=str(data),
        steps=config.steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        eval_every=max(config.steps // 8, 1),
        **LOSSES[loss],
    )
    run_stage(config, dpo_stage.main, stage, folder / "dpo", seed)
    rows = map(json.loads, (folder / "dpo" / "metrics.jsonl").read_text().splitlines())
    curve = {row["step"]: row for row in rows if METRICS["chosen"] in row}
    values = {
        f"{name}@{step}": row[key]
        for step, row in curve.items()
        for name, key in METRICS.items()
    }
    return values | {name: curve[max(curve)][key] for name, key in METRICS.items()}


def starting_model(config: Config, root: Path, seed: int) -> Path:
    """The model that all losses start from."""
    if config.model != "toy":
        return Path(config.model)
    stage = sft_stage.Config(steps=config.sft_steps)
    return run_stage(config, sft_stage.main, stage, root / "sft", seed) / "policy"


def write_halves(config: Config, folder: Path, seed: int) -> Path:
    """Writes the preferences whose answers are most alike, and the others."""
    if not all((folder / half / "test.jsonl").exists() for half in HALVES):
        similar_pairs.write_halves(
            folder,
            run_config(config, model=config.model, data=config.data, seed=seed),
            names=HALVES,
            pairs=config.pairs,
        )
    return folder


if __name__ == "__main__":
    launch(main, Config)
