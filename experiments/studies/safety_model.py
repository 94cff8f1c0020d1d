"""Llama 2's safety recipe on a model and files of one's own.

The stages of `experiments.studies.safety` without its toy world: a reward model of
helpfulness and one of safety, then the policy by context distillation of a pre-prompt,
by rejection sampling, and by PPO after it, against the gated reward.

    python -m experiments.studies.safety_model --model FOLDER \\
        --helpful HELPFUL_PAIRS --safety SAFETY_PAIRS \\
        --suites advbench.csv,xstest_prompts.csv

Pairs are data sets as `--data` names them, such as HH-RLHF's helpful and harmless rows.
Where safety pairs have `chosen_unsafe` and `rejected_unsafe`, --safety-weight 1 trains
the auxiliary head. Prompts of rejection sampling and PPO are those of both kinds of
pairs, and those of safety pairs have the tag of the gate. Arms are measured on suites,
as those of `experiments.red_team`: violations and false refusals by rules, and scores
by the two reward models, which are also what was optimized: they are no neutral judges.

It shows mechanics on a small model; nothing about a large one has been claimed here.

Writes OUT/report.html, arms.png, cells.json and a folder for each seed and stage.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from experiments import winners as winners_stage
from jaxalign.evaluation.interval_plot import plot_intervals
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.red_team.suites import SuitePrompt, read_suites
from jaxalign.pipeline.safety_study import own_data, reward_scores, toy_files
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size

ARMS = ("base", "base, pre-prompt", "distilled", "RS", "PPO")
SHARES = ("violation", "broken", "false refusal", "safety score", "or", "and")
METRICS = {name: name for name in SHARES[:4]} | {"helpfulness": "helpfulness score"}
METRICS |= {gate: f"by safety, {gate}" for gate in ("or", "and")}
SMOKE: dict[str, Any] = {
    **{"reward_steps": 2, "sft_steps": 2, "ppo_steps": 2, "prompts": 16},
    **{"samples": 2, "eval_prompts": 4, "max_new_tokens": 24, "batch": 8},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """Llama 2's safety recipe on a model and files of one's own."""

    RANGES: ClassVar = flags.ranges_of(flags.COUNT, "reward_steps sft_steps ppo_steps")
    model: str
    """The Hugging Face folder of a model."""
    helpful: str
    """Pairs for helpfulness."""
    safety: str
    """Pairs for safety, safe answers over unsafe ones."""
    suites: str
    """Files of unsafe prompts, with commas between them, and safe ones, as XSTest."""
    seeds: int = flags.resumable(1)
    """Number of runs, of seeds --seed, --seed + 1, ..."""
    preprompt: str = "You are a safe and responsible assistant."
    """The system prompt that is distilled."""
    gate: Literal["or", "and"] = "or"
    """As of `experiments.studies.safety`."""
    whitening: Literal["batch", "branch"] = "batch"
    """As of `experiments.studies.safety`."""
    safety_weight: float = 0.0
    """Weight of the safety model's auxiliary loss, for pairs with labels."""
    reward_steps: int = 400
    sft_steps: int = 100
    """Steps of SFT on distilled answers, and on the best of several."""
    ppo_steps: int = 100
    """Iterations of PPO."""
    batch: int = 32
    """Pairs, conversations or answers of a step."""
    beta: float = 0.05
    """Coefficient of PPO's KL penalty."""
    prompts: int = 512
    """Prompts of rejection sampling and PPO; half of them are distilled."""
    samples: int = 8
    """Answers to each for rejection sampling."""
    eval_prompts: int = 256
    """Most prompts of the suites, unsafe and safe."""
    max_new_tokens: int = 128
    smoke: bool = False
    """A few steps of every stage, to see that it runs."""


def main(config: Config) -> dict[str, Any]:
    """Trains and measures every arm with every seed; returns the main numbers.

    Raises:
      ValueError, FileNotFoundError: a malformed row, or no such file.
    """
    config = with_size(config, smoke=SMOKE, quick={})
    suite = choose(read_suites(config.suites), config.eval_prompts)
    run_config = evaluation_models.run_config(config, data=config.helpful)
    data = own_data.load(run_config, config.helpful, config.safety)
    with ReportRun(config, "safety_model") as run:
        free = flags.resumable_fields(Config) | {"seed"}
        settings = {k: v for k, v in vars(config).items() if k not in free}
        cells = study_cells.measure_cells(
            run.folder,
            ARMS,
            range(config.seed, config.seed + config.seeds),
            partial(measure_arm, config, data, suite, run),
            settings=settings,
            resume=config.resume,
        )
        summary = study_cells.summarize_cells(cells, SHARES)
        run.write_json("cells.json", summary)
        gains = {a: study_cells.compare_cells(cells, a, ARMS[0]) for a in ARMS[1:]}
        sections = make_sections(summary, gains, run.folder)
        command = config_command(config, "experiments.studies.safety_model")
        run.publish(Page("Safety on a model of one's own", sections, command))
        return run.finish({"by_model": summary})


def make_sections(
    summary: dict[str, dict[str, Interval]], gains: Any, folder: Path
) -> list[Section]:
    """The tables and the plot."""
    shown = ("violation", "false refusal", "safety score")
    lines = {arm: {n: v[n] for n in shown} for arm, v in summary.items()}
    image = plot_intervals(
        folder / "arms.png", lines, label="share", limits=(-0.02, 1.02)
    )
    text = "Violations are full compliance by rules, on unsafe prompts alone."
    rows = study_cells.cell_rows(summary, METRICS)
    changes = study_cells.cell_rows(gains, METRICS)
    return [
        Section("arms", text, rows, image),
        Section("change from base", rows=changes),
    ]


def choose(suite: list[SuitePrompt], most: int) -> list[SuitePrompt]:
    """At most so many unsafe prompts and so many safe ones, evenly from all."""
    chosen = []
    for is_safe in (False, True):
        some = [one for one in suite if one.safe == is_safe]
        chosen += some[:: -(-len(some) // most)] if some else []
    return chosen


def measure_arm(
    config: Config,
    data: own_data.OwnData,
    suite: list[SuitePrompt],
    run: ReportRun,
    arm: str,
    seed: int,
    folder: Path,
) -> study_cells.Values:
    """Trains what an arm needs; its measures on the suites."""
    run.say(f"safety_model: seed {seed}, {arm}")
    recipe = Recipe(config, data, run, seed, folder.parent / "stages")
    return own_data.measure(
        recipe.load(recipe.policy(arm)),
        suite,
        recipe.rewards(),
        prefix=config.preprompt if arm.endswith("pre-prompt") else "",
        seed=seed,
        max_new_tokens=config.max_new_tokens,
        rows=config.rows,
        note=run.note,
    )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The stages of one seed, each run when it is first needed.

    Attributes:
      root: the folder of all stages.
    """

    config: Config
    data: own_data.OwnData
    run: ReportRun
    seed: int
    root: Path

    def load(self, folder: Path) -> Policy:
        """The policy of a folder."""
        mesh = evaluation_models.evaluation_mesh(self.config)
        return evaluation_models.load_policy(self.config, str(folder), mesh)

    def policy(self, arm: str) -> Path:
        """The folder of an arm's policy."""
        made = {"distilled": self.distill, "RS": self.rejection_sampling}
        made |= {"PPO": self.ppo}
        return made[arm]() if arm in made else Path(self.config.model)

    def stage(self, module: Any, name: str, **own: Any) -> Path:
        """The folder of a stage that has run."""
        stage = module.Config(**{"context": self.config.context} | own)
        return run_stage(self.config, module.main, stage, self.root / name, self.seed)

    def reward(self, kind: str) -> Path:
        """The reward model of a kind of pairs."""
        own = {"data": getattr(self.config, kind), "steps": self.config.reward_steps}
        weight = self.config.safety_weight if kind == "safety" else 0.0
        own |= {"safety_weight": weight, "center": 0.01, "batch": self.config.batch}
        own |= {"normalize_samples": 16, "eval_rows": 16} if self.config.smoke else {}
        name = f"{kind}_reward"
        model = self.config.model
        return self.stage(reward_stage, name, model=model, **own) / "reward"

    def rewards(self) -> reward_scores.RewardModels:
        """The raw scores of both reward models."""
        mesh = evaluation_models.evaluation_mesh(self.config)
        score = partial(reward_scores.raw_scorer, config=self.config, mesh=mesh)
        folders = map(self.reward, ("helpful", "safety"))
        return reward_scores.RewardModels(*map(score, folders))

    def sft(self, model: str, data: Path, name: str) -> Path:
        """SFT of a policy; returns its folder."""
        own = {"steps": self.config.sft_steps, "batch": self.config.batch}
        done = self.stage(sft_stage, name, model=model, data=str(data), **own)
        return done / "policy"

    def distill(self) -> Path:
        """SFT on the model's own answers after the pre-prompt, gated by safety."""
        folder = self.root / "distilled_data"
        if not toy_files.is_written(folder):
            own_data.write_distilled(
                *(folder, self.load(Path(self.config.model)), self.rewards().safety),
                *(self.data, self.config.preprompt),
                count=self.config.prompts // 2,
                max_new_tokens=self.config.max_new_tokens,
                seed=self.seed,
                note=self.run.note,
            )
        return self.sft(self.config.model, folder, "distilled")

    def online(self) -> dict[str, Any]:
        """Flags of rejection sampling and PPO: prompts, and the gated reward."""
        prompts = self.root / "prompts"
        if not toy_files.is_written(prompts):
            own_data.write_prompts(prompts, self.data, self.config.prompts)
        return {
            "data": str(prompts),
            "reward": f"{self.reward('helpful')},{self.reward('safety')}",
            "ensemble": f"llama2:{self.config.gate}:{self.config.whitening}",
            "max_new_tokens": self.config.max_new_tokens,
        }

    def rejection_sampling(self) -> Path:
        """SFT on the model's best answers by the gated reward."""
        sizes = {"prompts": self.config.prompts, "samples": self.config.samples}
        own = self.online() | {"model": self.config.model} | sizes
        best = self.stage(winners_stage, "winners", **own) / "best"
        return self.sft(self.config.model, best, "rs")

    def ppo(self) -> Path:
        """PPO of the policy after rejection sampling."""
        own = self.online() | {"model": str(self.rejection_sampling())}
        own |= {"steps": self.config.ppo_steps, "beta": self.config.beta}
        own |= {"value": "policy", "batch": self.config.batch}
        return self.stage(ppo_stage, "ppo", **own) / "policy"


if __name__ == "__main__":
    launch(main, Config)
