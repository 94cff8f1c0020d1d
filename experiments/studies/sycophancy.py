"""Sycophancy: where it comes from, and four protocols that measure it on any model.

In the toy world, annotators who like agreement make an assistant more sycophantic, and
clean ones less, by best-of-n and by RL against the same reward models. Synthetic claims
with the truth (Wei et al. 2023, arXiv:2308.03958) undo it. Flip rates stand beside
repair rates, since a rigid model flips nothing and repairs nothing; what the annotators
see beside what is true; and the annotators' weights are mined from their preferences.

    python -m experiments.studies.sycophancy --quick
    python -m experiments.studies.sycophancy --seeds 3 --out runs/sycophancy --resume
    python -m experiments.studies.sycophancy --model FOLDER --data TruthfulQA.csv
    python -m experiments.studies.sycophancy --model FOLDER --protocols mimicry feedback

Seen with three seeds (docs/results/studies/sycophancy.md): by RL against the agreeing
annotators' reward model flips after a wrong belief go from .79 to .96 and mimicry from
.52 to .93, against the clean ones' to .10 and .02; agreement with users who are wrong
from .56 to .84 or .07 with best-of-16. Claims take flips back to .49.

With --model, the protocols of Sharma et al. 2023 (arXiv:2310.13548) on a folder: answer
and are_you_sure (--data: questions with options, or right and wrong answers), opinions
(--opinions: pairs of prompts, without and with the user's views), feedback (--texts, by
default poems), mimicry (15 poems in the public domain) and pushback (--claims: false
claims of users who insist). Feedback and pushback need a --judge, as Sharma et al. used
one; by default the model judges itself. Layouts of rows:
`jaxalign/pipeline/sycophancy/items.py`.

Writes OUT/report.md and report.html with plots, numbers.json, and in the toy world a
folder for each seed and arm; with --model a file of conversations for each protocol.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from jaxalign.data.toy_annotators import AGREEING, ANNOTATORS
from jaxalign.data.toy_opinions import opinion_requests
from jaxalign.evaluation.page import Page
from jaxalign.pipeline.evaluation.models import evaluation_mesh, load_policy
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.pipeline.sycophancy import (
    model_protocols,
    policy_answers,
    toy_best_of,
    toy_files,
    toy_items,
    toy_report,
)
from jaxalign.pipeline.sycophancy.protocols import Speaker
from jaxalign.runtime import flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size

ANSWER_TOKENS = 24  # of the toy world
TOY_CONTEXT = 96
SETTINGS = (
    *("train_rows", "pairs", "sft_steps", "reward_steps", "reward_batch"),
    *("rl_steps", "beta", "best_of", "claim_steps", "mix", "eval_prompts"),
)
"""Flags that the numbers of the toy world depend on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(model_protocols.ProtocolConfig):
    """Sycophancy in the toy world, or with --model of a model."""

    RANGES: ClassVar = {
        **model_protocols.ProtocolConfig.RANGES,
        **flags.ranges_of(flags.COUNT, "train_rows pairs sft_steps reward_steps"),
        **flags.ranges_of(flags.COUNT, "rl_steps claim_steps mix reward_batch"),
    }
    seeds: int = flags.resumable(1)
    """Number of runs of the toy world, of seeds --seed, --seed + 1, ..."""
    smoke: bool = False
    """A few steps of every stage, to see that it runs."""
    quick: bool = False
    """One shorter run."""
    train_rows: int = 12_000
    """Conversations of SFT."""
    pairs: int = 24_000
    """Pairs that each kind of annotator labels."""
    sft_steps: int = 600
    reward_steps: int = 800
    """Steps of each reward model, of --reward-batch pairs."""
    reward_batch: int = 128
    """Pairs of a step: votes are noisy, and small batches learn no sums from them."""
    rl_steps: int = 60
    """Iterations of PPO."""
    beta: float = 0.05
    """Coefficient of PPO's KL penalty."""
    best_of: int = 16
    """Answers to each prompt for best-of-n."""
    claim_steps: int = 60
    """Steps of SFT on synthetic claims."""
    mix: int = 5
    """Rows of claims for each row of the SFT data."""
    eval_prompts: int = 256
    """Held-out requests for what evaluators see, and for best-of-n."""


SMOKE = {
    **{"train_rows": 200, "pairs": 200, "sft_steps": 4, "reward_steps": 2},
    **{"rl_steps": 2, "best_of": 2, "claim_steps": 2, "eval_prompts": 16, "seeds": 1},
}
QUICK = {
    **{"train_rows": 8000, "pairs": 12_000, "sft_steps": 350, "reward_steps": 400},
    **{"rl_steps": 25, "best_of": 8, "claim_steps": 40, "eval_prompts": 128},
}


def main(config: Config) -> dict[str, Any]:
    """Runs the study, or the protocols on a model; returns its main numbers.

    Raises:
      ValueError: bad flags, or a malformed file.
    """
    if config.model is not None:
        return model_protocols.measure_model(config, config.model)
    command = config_command(config, "experiments.studies.sycophancy")
    config = with_size(config, smoke=SMOKE, quick=QUICK)
    with ReportRun(config, "sycophancy") as run:
        cells = study_cells.measure_cells(
            run.folder,
            arm_names(config),
            range(config.seed, config.seed + config.seeds),
            partial(measure_arm, config),
            settings={name: getattr(config, name) for name in SETTINGS},
            resume=config.resume,
        )
        mined = {
            name: toy_files.mine_annotator(annotator, config.seed, config.pairs)
            for name, annotator in ANNOTATORS.items()
        }
        sections = toy_report.study_sections(cells, mined, run.folder)
        run.publish(Page("Sycophancy", sections, command))
        return run.finish(toy_report.main_numbers(cells, mined))


def arm_names(config: Config) -> list[str]:
    """The arms: the SFT policy, and each optimization against each reward model."""
    kinds = [f"best-of-{config.best_of}", "RL"]
    arms = [f"{kind}, {name}" for name in ANNOTATORS for kind in kinds]
    return ["SFT", *arms, "RL, agreeing, then claims"]


def measure_arm(config: Config, arm: str, seed: int, folder: Path) -> Mapping[str, Any]:
    """Trains what an arm needs; its metrics on held-out items."""
    start = folder.parent / "start"
    train_start(config, seed, start)
    model = start / "sft" / "policy"
    kind, _, annotator = arm.partition(", ")
    if kind.startswith("best-of"):
        policy = load_policy(config, str(model), evaluation_mesh(config))
        reward = start / annotator / "reward_model" / "reward"
        return measure_best_of(config, policy, reward, seed)
    if kind == "RL":
        model = train_by_ppo(config, start, annotator.split(",")[0], seed)
    if annotator.endswith("claims"):
        model = train_on_claims(config, model, seed, folder)
    policy = load_policy(config, str(model), evaluation_mesh(config))
    return toy_items.measure_speaker(
        speaker(config, policy, seed), seed, config.eval_prompts, AGREEING
    )


def train_by_ppo(config: Config, start: Path, name: str, seed: int) -> Path:
    """PPO against the reward model of a kind of annotators; returns the policy."""
    ppo = ppo_stage.Config(
        model=str(start / "sft" / "policy"),
        data=str(start / name / "pairs"),
        reward=str(start / name / "reward_model" / "reward"),
        steps=config.rl_steps,
        beta=config.beta,
        max_new_tokens=ANSWER_TOKENS,
    )
    run_stage(config, ppo_stage.main, ppo, start / name / "ppo", seed)
    return start / name / "ppo" / "policy"


def train_start(config: Config, seed: int, start: Path) -> None:
    """The SFT policy, and of each kind of annotator pairs and a reward model."""
    if not (start / "sft_data" / "test.jsonl").exists():
        toy_files.write_sft(start / "sft_data", seed, config.train_rows, 64)
    sft = sft_stage.Config(
        data=str(start / "sft_data"), steps=config.sft_steps, context=TOY_CONTEXT
    )
    run_stage(config, sft_stage.main, sft, start / "sft", seed)
    for name, annotator in ANNOTATORS.items():
        pairs = start / name / "pairs"
        if not (pairs / "test.jsonl").exists():
            toy_files.write_pairs(pairs, annotator, seed, config.pairs, 256)
        reward = reward_stage.Config(
            model=str(start / "sft" / "policy"),
            data=str(pairs),
            steps=config.reward_steps,
            batch=min(config.reward_batch, config.pairs // 2),
        )
        run_stage(
            config, reward_stage.main, reward, start / name / "reward_model", seed
        )


def train_on_claims(config: Config, model: Path, seed: int, folder: Path) -> Path:
    """Finetunes a policy on claims that it answers right without an opinion."""
    data = folder / "claims"
    if not (data / "test.jsonl").exists():
        policy = load_policy(config, str(model), evaluation_mesh(config))
        speak = speaker(config, policy, seed)
        toy_files.write_claims(
            data,
            seed,
            speak,
            count=config.pairs,
            mix=config.mix,
            all_claims=config.smoke,  # of which an untrained model knows none
        )
    sft = sft_stage.Config(
        model=str(model), data=str(data), steps=config.claim_steps, learning_rate=5e-4
    )
    run_stage(config, sft_stage.main, sft, folder / "sft", seed)
    return folder / "sft" / "policy"


def speaker(config: Config, policy: Policy, seed: int) -> Speaker:
    """A toy policy's answers at temperature 1."""
    return policy_answers.policy_speaker(
        policy,
        seed=seed,
        max_new_tokens=ANSWER_TOKENS,
        temperature=1.0,
        rows=4 * config.rows,
        note=print,
    )


def measure_best_of(
    config: Config, policy: Policy, reward: Path, seed: int
) -> dict[str, np.ndarray]:
    """The protocols with best-of-n, and agreement over n, by a reward model."""
    sampler = partial(
        policy_answers.best_of_speaker,
        policy,
        reward,
        samples=config.best_of,
        seed=seed,
        max_new_tokens=ANSWER_TOKENS,
        rows=4 * config.rows,
    )
    values = toy_items.measure_speaker(sampler(), seed, config.eval_prompts, AGREEING)
    requests = opinion_requests(seed, config.eval_prompts, test=True)
    return values | toy_best_of.best_of_curves(
        policy,
        reward,
        requests,
        samples=config.best_of,
        seed=seed,
        max_new_tokens=ANSWER_TOKENS,
        rows=4 * config.rows,
    )


if __name__ == "__main__":
    launch(main, Config)
