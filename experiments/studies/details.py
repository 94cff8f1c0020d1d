"""The implementation details of PPO, one off at a time, and its sensitivities.

Claim, not tested yet (smoke runs only): most of the details that papers list move the
true reward less than the seed does; a few settings (the learning rate, the KL penalty)
move it more than the choice of a method: "messy, brittle" is about these.

    python -m experiments.studies.details --quick
    python -m experiments.studies.details --seeds 3 --out runs/details --resume
    python -m experiments.studies.details --model FOLDER --reward FOLDER --data DATA

All arms start from one SFT policy and one reward model, of the seed, and train by
`experiments.ppo` with one flag changed (`DETAILS`, `SENSITIVITIES`). Measured are
held-out prompts, the same noise in all arms: true reward, the reward model's score, KL,
length; gains over the default are paired by seed and prompt. With --model and --reward,
of a model and a reward model of your own; the true reward is that of --data, or the
reward model's where the data have none.

Reference: Huang et al. 2024, The N+ Implementation Details of RLHF with PPO,
arXiv:2403.17031; Engstrom et al. 2020, arXiv:2005.12729.

Writes OUT/report.html, details.png, sensitivity.png and a folder for each seed and arm.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from jaxalign.evaluation import interval_plot, line_plots
from jaxalign.evaluation.line_plots import Panel
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline import policy_cells
from jaxalign.pipeline.policy_cells import Program
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import distributed, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size

SFT = Program(sft_stage.main, sft_stage.Config)
REWARD_MODEL = Program(reward_stage.main, reward_stage.Config)
DEFAULT = "default"
DETAILS: dict[str, dict[str, Any]] = {
    "no KL penalty": {"beta": 0.0},
    "no clipping of the ratio": {"clip": 1e6},
    "no clipping of values": {"value_clip": math.inf},
    "values start from the policy": {"value": "policy"},
    "values warm up for 5 iterations": {"value_warmup": 5},
    "no GAE: lambda 1": {"lam": 1.0},
    "one epoch": {"epochs": 1},
    "one minibatch": {"minibatches": 1},
    "constant learning rate": {"schedule": "constant"},
    "Adam's epsilon 1e-8": {"eps": 1e-8},
    "TensorFlow's Adam": {"adam": "tensorflow"},
    "no clipping of gradients": {"clip_norm": math.inf},
    "missing end token not penalized": {"missing_eos_penalty": 0.0},
    "rewards scaled to unit variance": {"whiten_rewards": True},
    "scores normalized by the reference": {"normalize": "reference"},
    "entropy bonus 0.01": {"entropy_weight": 0.01},
}
SENSITIVITIES: dict[str, dict[str, dict[str, Any]]] = {
    "learning rate": {
        f"{rate:g}": {"learning_rate": rate} for rate in (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
    },
    "KL coefficient": {f"{b:g}": {"beta": b} for b in (0.005, 0.02, 0.05, 0.2, 1.0)},
    "clip range": {f"{c:g}": {"clip": c} for c in (0.02, 0.1, 0.2, 0.5, 0.9)},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(policy_cells.PolicyStudyConfig):
    """PPO's details, one off at a time."""

    details: tuple[str, ...] = tuple(DETAILS)
    """Which are tried."""
    sensitivities: tuple[str, ...] = tuple(SENSITIVITIES)
    """Settings that are tried over a range."""
    batch: int = 64
    """Answers of an iteration."""


SMOKE: dict[str, Any] = {
    **{"sft_steps": 2, "reward_steps": 2, "steps": 2, "batch": 8, "eval_prompts": 8},
    **{"details": ("no KL penalty",), "sensitivities": (), "max_new_tokens": 8},
}
QUICK: dict[str, Any] = {
    **{"sft_steps": 150, "reward_steps": 100, "steps": 15, "eval_prompts": 256},
    **{"sensitivities": ("learning rate",)},
}


def main(config: Config) -> dict[str, Any]:
    """Trains all arms; returns the true reward of each.

    Raises:
      ValueError: bad flags, or a folder that is no model.
    """
    check(config)
    command = config_command(config, "experiments.studies.details")
    config = with_size(config, smoke=SMOKE, quick=QUICK)
    names = [
        *("model", "reward", "data", "sft_steps", "reward_steps", "steps", "batch"),
        *("eval_prompts", "max_new_tokens"),
    ]
    with ReportRun(config, "details") as run:
        arms = arm_flags(config)
        cells = study_cells.measure_cells(
            run.folder,
            list(arms),
            range(config.seed, config.seed + config.seeds),
            lambda arm, seed, folder: measure_arm(config, arms[arm], seed, folder),
            settings={name: getattr(config, name) for name in names},
            resume=config.resume,
        )
        summary = study_cells.summarize_cells(cells)
        run.write_json("study.json", summary)
        if distributed.is_first():
            parts = sections(config, cells, run.folder)
            run.publish(Page("Details of PPO", parts, command))
        return run.finish({arm: values["reward"] for arm, values in summary.items()})


def check(config: Config) -> None:
    """Refuses flags that do not fit together, and unknown details.

    Raises:
      ValueError: names the flag.
    """
    for flag, known in (("details", DETAILS), ("sensitivities", SENSITIVITIES)):
        if unknown := [name for name in getattr(config, flag) if name not in known]:
            raise ValueError(f"--{flag} {unknown[0]!r} is none of {', '.join(known)}")
    config.check_start()


def arm_flags(config: Config) -> dict[str, dict[str, Any]]:
    """The flags of PPO of each arm, the default first."""
    arms: dict[str, dict[str, Any]] = {DEFAULT: {}}
    arms |= {name: DETAILS[name] for name in config.details}
    for name in config.sensitivities:
        for value, setting in SENSITIVITIES[name].items():
            arms[f"{name} {value}"] = setting
    return arms


def measure_arm(
    config: Config, changed: dict[str, Any], seed: int, folder: Path
) -> dict[str, Any]:
    """Trains PPO with some flags changed; its measures on held-out prompts."""
    start = policy_cells.starting_models(
        *(config, folder.parent, seed), sft=SFT, reward=REWARD_MODEL
    )
    settings: dict[str, Any] = {"model": str(start.policy), "reward": str(start.reward)}
    settings |= {"data": config.data, "steps": config.steps, "batch": config.batch}
    settings |= {"max_new_tokens": config.max_new_tokens} | changed
    stage = ppo_stage.Config(**settings)
    run_stage(config, ppo_stage.main, stage, folder / "ppo", seed)
    return policy_cells.policy_values(config, folder / "ppo" / "policy", start, seed)


def sections(config: Config, cells: study_cells.Cells, folder: Path) -> list[Section]:
    """The table, the bars of gains over the default, and the sensitivities."""
    summary = study_cells.summarize_cells(cells)
    gains = {
        name: study_cells.compare_cells(cells, name, DEFAULT) for name in config.details
    }
    bars = {name: {"gain": gain["reward"]} for name, gain in gains.items()}
    gap = {arm: {"gain over default": gain["reward"]} for arm, gain in gains.items()}
    rows = [
        row | gap.get(row["arm"], {})
        for row in study_cells.cell_rows(summary, policy_cells.MEASURES)
    ]
    image = interval_plot.plot_intervals(
        folder / "details.png",
        bars,
        label="true reward less that of the default",
        title="One detail changed",
    )
    panels = [
        Panel(
            name,
            name,
            "true reward",
            {
                "PPO": [
                    (float(value), summary[f"{name} {value}"]["reward"])
                    for value in SENSITIVITIES[name]
                ]
            },
            scale="log",
        )
        for name in config.sensitivities
    ]
    parts = [Section("Details, one off at a time", "", rows, image if bars else None)]
    if panels:
        plot = line_plots.plot_lines(folder / "sensitivity.png", panels)
        parts.append(Section("Sensitivity", image=plot))
    return parts


if __name__ == "__main__":
    launch(main, Config)
