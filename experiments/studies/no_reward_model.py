"""Do we need a reward model? Overlap, length, format, random and constant rewards.

Claim, not tested yet (smoke runs only): rewards that know nothing (random, constant)
move the true reward no further than noise, with and without clipping; what is easy to
measure (length, format) is optimized at the cost of what is meant; overlap with
reference answers (BLEU, ROUGE) comes as near to the true reward as the references are
good.

    python -m experiments.studies.no_reward_model --quick
    python -m experiments.studies.no_reward_model --seeds 3 --resume --out runs/rewards
    python -m experiments.studies.no_reward_model --model FOLDER --reward FOLDER \\
        --data PROMPTS_WITH_ANSWERS

All arms train one SFT policy by GRPO, each with its reward, as `--reward` names it
(docs/rewards.md), and are judged by the true reward on held-out prompts with the same
noise: the data set's own rule, or the reward model's score where the data have none.
Beside it the share of each gain that is not due to length (`evaluation/length_gains`).
Whether metrics agree with people's pairs: `experiments.reward_bench --reward rouge`.

Reference: Chang et al. 2025, BLEUBERI, arXiv:2505.11080; Shao et al. 2025, Spurious
Rewards, arXiv:2506.10947; Singhal et al. 2023, arXiv:2310.03716.

Writes OUT/report.html, rewards.png and a folder for each seed and arm.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments import grpo as grpo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from jaxalign.data.toy_references import prompt_with_references
from jaxalign.evaluation import interval_plot, length_gains
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline import policy_cells
from jaxalign.pipeline.policy_cells import Program
from jaxalign.pipeline.safety_study import toy_files
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import distributed, flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size
from jaxalign.training import group_methods

SFT = Program(sft_stage.main, sft_stage.Config)
REWARD_MODEL = Program(reward_stage.main, reward_stage.Config)
BASE, LEARNED = "SFT", "reward model"
CONTROLS = "jaxalign.rewards.controls:"
REWARDS = {
    "true reward": "programmed",
    LEARNED: "",
    "BLEU": "bleu",
    "BLEU, 4 references": "bleu",
    "BLEU, web references": "bleu",
    "ROUGE-L": "rouge",
    "format": "regex:^(sure|happy to help|of course|gladly|sorry)",
    "length 12": "length:12",
    "random": f"{CONTROLS}random_reward",
    "random, no clipping": f"{CONTROLS}random_reward",
    "constant": f"{CONTROLS}constant_reward",
}
# of the toy world, by arm: the number of references, and whether they are good
REFERENCES = {
    "BLEU": (1, True),
    "BLEU, 4 references": (4, True),
    "BLEU, web references": (1, False),
    "ROUGE-L": (1, True),
}
TRAIN_PROMPTS, TEST_PROMPTS = 4000, 64  # with references
BIN = 2  # tokens of a bin of answer length


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(policy_cells.PolicyStudyConfig):
    """Rewards without a reward model."""

    RANGES: ClassVar = {
        **policy_cells.PolicyStudyConfig.RANGES,
        **flags.ranges_of(flags.COUNT, "prompts samples epochs"),
    }
    rewards: tuple[str, ...] = tuple(REWARDS)
    """Which are tried."""
    prompts: int = 8
    samples: int = 8
    epochs: int = 2
    """Updates on the answers of an iteration: clipping acts from the second on."""


SMOKE: dict[str, Any] = {
    **{"sft_steps": 2, "reward_steps": 2, "steps": 2, "prompts": 8, "samples": 2},
    **{"eval_prompts": 8, "max_new_tokens": 8},
    **{"rewards": (LEARNED, "BLEU", "random, no clipping")},
}
QUICK: dict[str, Any] = {
    **{"sft_steps": 150, "reward_steps": 100, "steps": 20, "eval_prompts": 256}
}


def main(config: Config) -> dict[str, Any]:
    """Trains with every reward; returns the true reward of each arm.

    Raises:
      ValueError: bad flags, prompts without reference answers, or no model.
    """
    check(config)
    command = config_command(config, "experiments.studies.no_reward_model")
    config = with_size(config, smoke=SMOKE, quick=QUICK)
    free = {*flags.resumable_fields(Config), "seed", "rewards"}
    settings = {k: v for k, v in vars(config).items() if k not in free}
    with ReportRun(config, "no_reward_model") as run:
        cells = study_cells.measure_cells(
            run.folder,
            [BASE, *config.rewards],
            range(config.seed, config.seed + config.seeds),
            partial(measure_arm, config),
            settings=settings,
            resume=config.resume,
        )
        summary = study_cells.summarize_cells(cells)
        run.write_json("study.json", summary)
        if distributed.is_first():
            section = rewards_section(cells, run.folder)
            run.publish(Page("Rewards without a reward model", [section], command))
        return run.finish({arm: values["reward"] for arm, values in summary.items()})


def check(config: Config) -> None:
    """Refuses flags that do not fit together, and unknown rewards.

    Raises:
      ValueError: names the flag.
    """
    if unknown := [name for name in config.rewards if name not in REWARDS]:
        raise ValueError(f"--rewards {unknown[0]!r} is none of {', '.join(REWARDS)}")
    config.check_start()


def measure_arm(config: Config, arm: str, seed: int, folder: Path) -> dict[str, Any]:
    """Trains by GRPO with a reward; its measures on held-out prompts."""
    start = policy_cells.starting_models(
        *(config, folder.parent, seed), sft=SFT, reward=REWARD_MODEL
    )
    policy = start.policy
    if arm != BASE:
        policy = folder / "grpo" / "policy"
        stage = grpo_stage.Config(
            model=str(start.policy),
            data=prompts_of(config, arm, folder.parent, seed),
            reward=REWARDS[arm] or str(start.reward),
            steps=config.steps,
            prompts=config.prompts,
            samples=config.samples,
            epochs=config.epochs,
            max_new_tokens=config.max_new_tokens,
        )
        train = partial(grpo_stage.main, method=method_of(arm))
        run_stage(config, train, stage, folder / "grpo", seed)
    return policy_cells.policy_values(config, policy, start, seed)


def prompts_of(config: Config, arm: str, root: Path, seed: int) -> str:
    """The data set of an arm's prompts: with references where its reward needs them."""
    if config.data != "toy" or arm not in REFERENCES:
        return config.data
    count, good = REFERENCES[arm]
    folder = root / f"prompts_{count}_{'good' if good else 'web'}"
    make = partial(prompt_with_references, seed, count=count, good=good)
    if not toy_files.is_written(folder):
        toy_files.write(
            folder,
            (make(i) for i in range(TRAIN_PROMPTS)),
            (make(i, test=True) for i in range(TEST_PROMPTS)),
        )
    return str(folder)


def method_of(arm: str) -> group_methods.GroupMethod | None:
    """GRPO without clipping where the arm says so; None for GRPO as it is."""
    if not arm.endswith("no clipping"):
        return None
    grpo = group_methods.METHODS["grpo"]
    return dataclasses.replace(grpo, clip_low=1.0, clip_high=1e6)


def rewards_section(cells: study_cells.Cells, folder: Path) -> Section:
    """The table and the plot of gains over SFT."""
    gains = {
        arm: study_cells.compare_cells(cells, arm, BASE) for arm in cells if arm != BASE
    }
    rows = study_cells.cell_rows(
        study_cells.summarize_cells(cells), policy_cells.MEASURES
    )
    for row in rows:
        if row["arm"] in gains:
            row["gain over SFT"] = gains[row["arm"]]["reward"]
            row["not due to length"] = round(length_share(cells, row["arm"]), 2)
    image = interval_plot.plot_intervals(
        folder / "rewards.png",
        {arm: {"gain": gain["reward"]} for arm, gain in gains.items()},
        label="true reward less that of SFT",
        title="GRPO with each reward, judged by the true one",
    )
    text = (
        "Gains are paired by seed and prompt. Not due to length: the gain within bins "
        f"of {BIN} tokens as a share of the gain, which means little where it is small."
    )
    return Section("Rewards", text, rows, image)


def length_share(cells: study_cells.Cells, arm: str) -> float:
    """The share of an arm's gain over SFT within bins of length, over all seeds."""
    join = lambda name, key: np.concatenate([seed[key] for seed in cells[name]])
    gain = length_gains.length_gain(
        join(BASE, "reward"),
        join(arm, "reward"),
        join(BASE, "length"),
        join(arm, "length"),
        width=BIN,
    )
    return gain.share


if __name__ == "__main__":
    launch(main, Config)
