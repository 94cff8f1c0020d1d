"""Over-optimization: the proxy reward rises with KL, and the gold reward humps.

Claim: optimized further, a reward model's own score only rises, while the true (gold)
reward rises less, and falls after a peak that more data move outwards; the laws of Gao
et al. in sqrt(KL) describe both best-of-n and PPO, and PPO spends more KL for the same
gain. A KL penalty stops earlier on the same frontier. Ensembles' minimum and mean less
variance fall later than one model.

    python -m experiments.studies.over_optimization --quick
    python -m experiments.studies.over_optimization --seeds 3 --out runs/over --resume

Gold is the toy world's true reward. Proxies are reward models of as many pairs as
--pairs says, whose labels are drawn by the gold reward (Bradley-Terry), and flipped at
--flip-rate; all train for as many steps. Best-of-n is measured on one set of samples of
the SFT policy, without bias (`evaluation/best_of_n`), for n up to a quarter of them, by
each proxy and by ensembles of --members models of --rl-pairs pairs. PPO trains by the
proxy of --rl-pairs pairs without a KL penalty and with --penalty, for each number of
iterations of --rl-steps, at a constant learning rate, so that shorter runs are the
beginnings of longer ones. Gains are over the policy's own answers to the same held-out
prompts; each reward is divided by its standard deviation on them.

Seen so far: smoke runs only. Not tried: reward models of other sizes, weight averaging,
length control, refreshed reward models, and models of one's own.

Reference: Gao et al. 2022, arXiv:2210.10760; Coste et al. 2023, arXiv:2310.02743.

Writes OUT/report.html, over_optimization.png, correlation.png and a folder for each
seed and arm.
"""

import dataclasses
import functools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from jaxalign.evaluation import over_optimization as laws
from jaxalign.evaluation.page import Page
from jaxalign.pipeline import datasets, held_out, over_optimization
from jaxalign.pipeline import over_optimization_report as report
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    run_config,
)
from jaxalign.pipeline.over_optimization import Samples
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.rewards import combination
from jaxalign.runtime import distributed, flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size
from jaxalign.types import Array

ENSEMBLES: dict[str, Callable[..., Array]] = {
    "mean": combination.ensemble_mean,
    "minimum": combination.ensemble_minimum,
    "mean - half the variance": partial(
        combination.variance_penalized_mean, coefficient=0.5
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """Reward over-optimization in the toy world."""

    RANGES: ClassVar = {
        **flags.ranges_of(flags.COUNT, "pairs rl_pairs sft_steps reward_steps"),
        **flags.ranges_of(flags.COUNT, "rl_steps max_new_tokens"),
        **flags.ranges_of(flags.FROM_2, "members eval_prompts"),
        "samples": flags.Range(8, flags.MAX_COUNT),
        "penalty": flags.POSITIVE,
    }
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ..."""
    pairs: tuple[int, ...] = (64, 256, 1024, 4096)
    """Pairs of each proxy."""
    rl_pairs: int = 256
    """Pairs of the proxy of PPO, and of the ensembles' models."""
    flip_rate: float = 0.0
    """The share of labels that are flipped."""
    members: int = 4
    """Reward models of an ensemble, of the same pairs and other seeds."""
    sft_steps: int = 250
    reward_steps: int = 200
    rl_steps: tuple[int, ...] = (5, 10, 20, 40, 80)
    """Iterations of PPO at which it is measured."""
    penalty: float = 0.05
    """KL coefficient of the second arm of PPO."""
    batch: int = 64
    """Answers of an iteration of PPO."""
    samples: int = 256
    """Answers to each prompt, four times the largest n."""
    eval_prompts: int = 256
    """Held-out prompts."""
    max_new_tokens: int = 24
    """Tokens of the longest answer."""
    quick: bool = False
    """One shorter run, of some minutes."""
    smoke: bool = False
    """A few steps of a few arms, to see that it runs."""


SMOKE: dict[str, Any] = {
    **{"pairs": (16, 32), "rl_pairs": 16, "members": 2, "sft_steps": 2},
    **{"reward_steps": 2, "rl_steps": (1, 2), "batch": 8, "samples": 16},
    **{"eval_prompts": 8, "max_new_tokens": 8},
}
QUICK: dict[str, Any] = {
    **{"pairs": (64, 256, 1024), "members": 3, "sft_steps": 150, "reward_steps": 100},
    **{"rl_steps": (4, 8, 16, 32), "samples": 128, "eval_prompts": 64},
}


class Arm(NamedTuple):
    """A curve of the study.

    Attributes:
      form: of its law: best-of-n, or PPO.
      group: the panel of its plot.
      pairs: of its reward models.
      ensemble: how several are combined, of `ENSEMBLES`; "" for one.
      beta: PPO's KL coefficient.
    """

    form: laws.Form
    group: str
    pairs: int
    ensemble: str = ""
    beta: float = 0.0


def main(config: Config) -> dict[str, Any]:
    """Trains, samples, optimizes and fits; returns the last gold gain of each arm.

    Raises:
      ValueError: bad flags.
    """
    command = config_command(config, "experiments.studies.over_optimization")
    config = with_size(config, smoke=SMOKE, quick=QUICK)
    free = {*flags.resumable_fields(Config), "seed", "quick", "smoke"}
    with ReportRun(config, "over_optimization") as run:
        arms, lab = arms_of(config), Lab(config, run.folder)
        cells = study_cells.measure_cells(
            run.folder,
            list(arms),
            range(config.seed, config.seed + config.seeds),
            lambda arm, seed, folder: lab.measure(arms[arm], seed, folder),
            settings={k: v for k, v in vars(config).items() if k not in free},
            resume=config.resume,
        )
        curves = {
            name: report.curve_of(cells[name], arm.form, arm.group)
            for name, arm in arms.items()
        }
        fits = report.fit_curves(curves)
        run.write_json("fits.json", {arm: fit._asdict() for arm, fit in fits.items()})
        if distributed.is_first():
            sections = report.sections(curves, fits, cells, run.folder)
            run.publish(Page("Over-optimization", sections, command))
        return run.finish(
            {f"{arm}: gold": float(c.gold[-1].mean()) for arm, c in curves.items()}
        )


def arms_of(config: Config) -> dict[str, Arm]:
    """The arms by name."""
    count = config.rl_pairs
    sizes = dict.fromkeys([*config.pairs, count])
    arms = {f"{n} pairs": Arm("best_of_n", "best of n", n) for n in sorted(sizes)}
    arms |= {
        f"{name} of {config.members}": Arm("best_of_n", "ensembles", count, name)
        for name in ENSEMBLES
    }
    arms["PPO"] = Arm("rl", "PPO", count)
    arms[f"PPO, KL penalty {config.penalty:g}"] = Arm(
        "rl", "PPO", count, beta=config.penalty
    )
    return arms


class Lab:
    """The models of the study, trained when an arm needs them."""

    def __init__(self, config: Config, folder: Path) -> None:
        self.config, self.folder = config, folder
        self.samples = functools.lru_cache(maxsize=1)(self.sample)
        self.scores = functools.lru_cache(maxsize=16)(self.score)

    def measure(self, arm: Arm, seed: int, folder: Path) -> dict[str, Any]:
        """The values of an arm's cell, as `report.curve_of` reads them."""
        if arm.form == "rl":
            return self.measure_ppo(arm, seed, folder)
        members = range(self.config.members if arm.ensemble else 1)
        proxy = np.stack([self.scores(seed, arm.pairs, m) for m in members])
        proxy = over_optimization.standardize(proxy)
        values: dict[str, Any] = {}
        if not arm.ensemble:
            values |= over_optimization.held_out_numbers(
                self.proxy(seed, arm.pairs).parent
            )
        combine = ENSEMBLES[arm.ensemble or "mean"]
        combined = np.asarray(combine(proxy.reshape(len(members), -1)))
        return values | over_optimization.best_of_n_values(
            self.samples(seed).gold, combined.reshape(proxy.shape[1:])
        )

    def measure_ppo(self, arm: Arm, seed: int, folder: Path) -> dict[str, Any]:
        """Trains PPO for each number of iterations; gains on held-out prompts."""
        config = self.config
        policy, proxy = self.policy(seed), self.proxy(seed, arm.pairs)
        run = run_config(config, model=str(policy), data="toy", seed=seed)
        source = datasets.load(run)
        evaluation = held_out.make_held_out_eval(
            *(run, source, policy, config.eval_prompts),
            max_new_tokens=config.max_new_tokens,
            reward=proxy,
        )
        start = {"gold": self.samples(seed).gold}
        start["proxy"] = self.scores(seed, arm.pairs, 0)
        point = over_optimization.start_point(start)
        values = {f"{name}@0": value for name, value in point.items()}
        ppo = ppo_stage.Config(
            model=str(policy),
            reward=str(proxy),
            batch=config.batch,
            beta=arm.beta,
            schedule="constant",
            max_new_tokens=config.max_new_tokens,
        )
        for steps in config.rl_steps:
            stage = dataclasses.replace(ppo, steps=steps)
            out = run_stage(config, ppo_stage.main, stage, folder / f"{steps}", seed)
            trained = held_out.load(run, source, out / "policy")
            found = evaluation.evaluate(trained, temperature=1.0)
            point = over_optimization.policy_point(found, start)
            values |= {f"{name}@{steps}": value for name, value in point.items()}
        return values

    def policy(self, seed: int) -> Path:
        """The SFT policy, which all arms of a seed share."""
        stage = sft_stage.Config(steps=self.config.sft_steps)
        folder = self.folder / f"seed-{seed}" / "sft"
        return run_stage(self.config, sft_stage.main, stage, folder, seed) / "policy"

    def proxy(self, seed: int, pairs: int, member: int = 0) -> Path:
        """A reward model of so many pairs; members of an ensemble differ by seed."""
        root = self.folder / f"seed-{seed}"
        data = over_optimization.write_pairs(
            root / f"pairs-{pairs}", seed, pairs, flip_rate=self.config.flip_rate
        )
        stage = reward_stage.Config(
            model=str(self.policy(seed)),
            data=str(data),
            steps=self.config.reward_steps,
            batch=min(pairs, 32),
        )
        folder = root / f"reward-{pairs}-{member}"
        other = seed + 1000 * member
        return (
            run_stage(self.config, reward_stage.main, stage, folder, other) / "reward"
        )

    def sample(self, seed: int) -> Samples:
        """Samples answers of the SFT policy."""
        config, policy = self.config, self.policy(seed)
        run = run_config(config, model=str(policy), data="toy", seed=seed)
        return over_optimization.sample_policy(
            run,
            policy,
            prompts=config.eval_prompts,
            samples=config.samples,
            max_new_tokens=config.max_new_tokens,
        )

    def score(self, seed: int, pairs: int, member: int) -> np.ndarray:
        """A proxy's scores of the samples [P N]."""
        folder = self.proxy(seed, pairs, member)
        samples = self.samples(seed)
        return over_optimization.score_samples(
            samples, folder, self.config.dtype, evaluation_mesh(self.config)
        )


if __name__ == "__main__":
    launch(main, Config)
