"""Mode covering and mode seeking: what a divergence does to a policy that cannot be p.

Claim: maximum likelihood (forward KL, SFT) covers all modes of its target, and puts
mass between them; reinforcement learning (reverse KL, reward log p) seeks one, and
which one depends on where it starts. The optimum of KL-regularized RL concentrates as
beta falls. Truncated sampling trades recall for precision; RLHF loses both here, as its
reward is not the reference's taste (docs/results/studies/mode_seeking.md).

    python -m experiments.studies.mode_seeking --quick
    python -m experiments.studies.mode_seeking --seeds 3 --out runs/modes --resume
    python -m experiments.studies.mode_seeking --reference LARGE --models LM,CHAT

Fits and optima are exact, on a grid (`evaluation/mode_seeking`); beside them the same
two from samples: SFT, and policy gradients. Sampling adapters and models are compared
by their next-token distributions with those of a reference along its own answers
(`evaluation/sampling_adapters`; Meister et al. 2023, arXiv:2307.03749): a policy of a
longer training, beside a shorter one (base), which DPO and PPO then train. With
--reference and --models, folders of one vocabulary, answering --prompts.

Writes OUT/report.html, fits.png, beta.png, adapters.png and a folder for each seed.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from experiments import dpo as dpo_stage
from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from jaxalign import streams
from jaxalign.evaluation.page import Page
from jaxalign.pipeline import datasets, held_out, modes_report, next_tokens, rollouts
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    load_policy,
    run_config,
    split_name,
)
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import distributed, flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """Mode covering and mode seeking."""

    RANGES: ClassVar = {
        **flags.ranges_of(flags.COUNT, "reference_steps base_steps reward_steps"),
        **flags.ranges_of(flags.COUNT, "dpo_steps ppo_steps eval_prompts"),
        **flags.ranges_of(flags.COUNT, "max_new_tokens"),
    }
    reference: str = ""
    """The folder of the reference model; by default one is trained in the toy world."""
    models: tuple[str, ...] = ()
    """With --reference: folders of models, as PATH or NAME=PATH."""
    data: str = "toy"
    """Prompts of the comparison: a file, or toy."""
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ..."""
    reference_steps: int = 800
    base_steps: int = 150
    reward_steps: int = 200
    dpo_steps: int = 60
    ppo_steps: int = 40
    eval_prompts: int = 256
    """Prompts that the reference answers, once each."""
    max_new_tokens: int = 24
    """Tokens of its longest answer."""
    quick: bool = False
    """One shorter run, of some minutes."""
    smoke: bool = False
    """A few steps of every stage, to see that it runs."""


STAGES = ("reference_steps", "base_steps", "reward_steps", "dpo_steps", "ppo_steps")
SMOKE = dict.fromkeys(STAGES, 2) | {"eval_prompts": 4, "max_new_tokens": 8}
QUICK = {"reference_steps": 400, "base_steps": 100, "reward_steps": 150}
QUICK |= {"dpo_steps": 40, "ppo_steps": 20, "eval_prompts": 96}


def main(config: Config) -> dict[str, Any]:
    """Fits, tilts, trains and compares; returns the main numbers.

    Raises:
      ValueError: --models without --reference, or models of other vocabularies.
    """
    if bool(config.reference) != bool(config.models):
        raise ValueError("--reference and --models are given together, or neither")
    command = config_command(config, "experiments.studies.mode_seeking")
    config = with_size(config, smoke=SMOKE, quick=QUICK)
    with ReportRun(config, "mode_seeking") as run:
        seeds = range(config.seed, config.seed + config.seeds)
        lab = Lab(config, run.folder)
        cells = study_cells.measure_cells(
            run.folder,
            list(lab.models),
            seeds,
            lambda arm, seed, folder: lab.measure(arm, seed),
            settings={name: getattr(config, name) for name in (*STAGES, "data")},
            resume=config.resume,
        )
        summary = study_cells.summarize_cells(cells)
        run.write_json("study.json", summary)
        fits, numbers = modes_report.fit_rows()
        if distributed.is_first():
            sections = [
                *modes_report.exact_sections(fits, run.folder),
                *modes_report.model_sections(summary, run.folder),
            ]
            run.publish(Page("Mode covering and mode seeking", sections, command))
        return run.finish(numbers | modes_report.main_numbers(summary))


class Lab:
    """The models of the comparison; those of the toy world are trained when needed."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        given = dict(split_name(model) for model in config.models)
        self.models = given or {
            **{modes_report.BASE: "base", "DPO": "dpo", "PPO": "ppo"}
        }

    def path(self, name: str, seed: int) -> Path:
        """The folder of a model's weights."""
        if self.config.reference:
            is_reference = name == "reference"
            return Path(self.config.reference if is_reference else self.models[name])
        return self.train(name if name == "reference" else self.models[name], seed)

    def measure(self, arm: str, seed: int) -> dict[str, np.ndarray]:
        """Measures of a model beside the reference, by adapter for the first."""
        config, mesh = self.config, evaluation_mesh(self.config)
        load = lambda name: load_policy(config, str(self.path(name, seed)), mesh)
        reference = load("reference")
        answers = self.answers(reference, seed)
        is_first = arm == next(iter(self.models))
        adapters = modes_report.ADAPTERS if is_first else modes_report.UNCHANGED
        found = next_tokens.answer_coverage(
            reference, load(arm), adapters, answers.sequences, rows=config.rows // 4
        )
        return {
            f"{measure}@{name}": values
            for name, measures in found.items()
            for measure, values in measures.items()
        }

    def answers(self, reference: Policy, seed: int) -> rollouts.Answers:
        """The reference's own answers to held-out prompts, at temperature 1."""
        config = self.config
        source = datasets.load(run_config(config, data=config.data, seed=seed))
        prompts = held_out.fitting_prompts(
            reference, source, config.eval_prompts, config.max_new_tokens
        )
        return rollouts.sample_answers(
            reference,
            tokenize_prompts(reference, prompts),
            streams.key(jax.random.key(seed), "mode seeking"),
            max_new_tokens=config.max_new_tokens,
        )

    def train(self, name: str, seed: int) -> Path:
        """The folder of a toy policy, which is trained unless it is there."""
        config, root = self.config, self.folder / f"seed-{seed}"
        run = lambda main, stage, out: run_stage(config, main, stage, root / out, seed)
        if name in ("reference", "base"):
            steps = getattr(config, f"{name}_steps")
            stage: Any = sft_stage.Config(steps=steps)
            return run(sft_stage.main, stage, name) / "policy"
        base = str(self.train("base", seed))
        if name == "dpo":
            stage = dpo_stage.Config(model=base, steps=config.dpo_steps)
            return run(dpo_stage.main, stage, name) / "policy"
        reward = reward_stage.Config(model=base, steps=config.reward_steps)
        scores = run(reward_stage.main, reward, "reward_model") / "reward"
        stage = ppo_stage.Config(model=base, reward=str(scores), steps=config.ppo_steps)
        return run(ppo_stage.main, stage, name) / "policy"


if __name__ == "__main__":
    launch(main, Config)
