"""Safety by Llama 2's recipe: two reward models, a gate, RLHF, context distillation.

Claim: a little safety data removes most violations, and the left tail of the safety
scores, while helpfulness stays; false refusals of benign lookalikes are the price. RLHF
against the gated reward, and distillation of a system prompt, do it without more data
that people wrote (Touvron et al. 2023, arXiv:2307.09288, sections 3.2 and 4).

    python -m experiments.studies.safety --quick
    python -m experiments.studies.safety --seeds 3 --out runs/safety --resume

In the toy world (`data/toy_safety`) a base policy has learned what the web has: most
harmful requests are complied with, but after system prompts they are refused. Arms:

    base                  as it is, after the generic pre-prompt, and after the answer
                          template of the request's risk category
    safety SFT N %        helpful data, the same for all, and N % of the safety data
    RS, PPO               from --share: rejection sampling, then PPO, against
                          helpfulness or safety, as --gate says
    distilled, PREFIX     SFT of the base policy on helpful data and its own answers
                          after the prefix, where the safety model prefers them
    small, small taught   a smaller model, without, with what the large one wrote

The reward models start from the base policy: helpfulness from pairs with margins, and
safety from nine parts safety and one part helpful pairs, with an auxiliary head that
classifies unsafe answers (--safety-weight; a table has it beside the same without).
Measured beside: refusals' quality, a fixed attacker's finds per 1,000 queries by round.

On a model and files of your own: `experiments.studies.safety_model`.

Writes OUT/report.html, safety.png, shares.png and a folder for each seed and arm.

Seen with three seeds (docs/results/studies/safety.md): violations 86, 31, 0.7, 0.1 % at
0, 1, 10, 100 % of the safety data, false refusals 0.7 to 4.4 %, helpfulness 2.88 to
2.83; RS 1.7 %, PPO 0.1 %; finds 287 (base), 186 (1 %), 26, 6.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from experiments import winners as winners_stage
from jaxalign.evaluation.page import Page, Section
from jaxalign.pipeline.evaluation.models import (
    evaluation_mesh,
    load_policy,
)
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.safety_rewards import PiecewiseReward
from jaxalign.pipeline.safety_study import (
    distillation_files,
    measures,
    report,
    reward_scores,
    student,
    toy_files,
)
from jaxalign.pipeline.safety_study.config import SafetyConfig
from jaxalign.pipeline.safety_study.measures import PREFIXES
from jaxalign.pipeline.study_stages import run_stage
from jaxalign.runtime import study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun

ANSWER_TOKENS, CONTEXT, FINETUNE_RATE = 40, 96, 5e-4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SafetyConfig):
    """Llama 2's safety recipe in the toy world."""


def main(config: SafetyConfig) -> dict[str, Any]:
    """Trains and measures every arm with every seed; returns the main numbers."""
    config = config.with_size()
    with ReportRun(config, "safety") as run:
        study = Study(config, run)
        cells = study_cells.measure_cells(
            run.folder,
            list(study.arms),
            range(config.seed, config.seed + config.seeds),
            study.measure,
            settings=config.study_settings(),
            resume=config.resume,
        )
        summary = study_cells.summarize_cells(cells, report.SHARES)
        run.write_json("study.json", summary)
        rounds = ["base", sft_arm(config.share), "RS", "PPO"]
        models = study.reward_sections(config.seed)
        parts = report.sections(summary, rounds, models, run.folder)
        command = config_command(config, "experiments.studies.safety")
        run.publish(Page("Safety by Llama 2's recipe", parts, command))
        return run.finish(report.main_numbers(summary))


def sft_arm(share: float) -> str:
    """The name of the arm of a share of the safety data."""
    return f"{report.SHARE}{100 * share:g} %"


class Study:
    """The arms of the study, each a policy that is trained when it is first needed."""

    def __init__(self, config: SafetyConfig, run: ReportRun) -> None:
        self.config, self.run = config, run
        self.mesh = evaluation_mesh(config)
        sft = dict.fromkeys((*config.shares, config.share))
        # arm -> (seed) -> the folder of its policy
        self.arms: dict[str, Callable[[int], Path]] = {
            "base": self.base,
            **{f"base, {name}": self.base for name in PREFIXES},
            **{sft_arm(x): partial(self.safety_sft, x) for x in sorted(sft)},
            "RS": self.rejection_sampling,
            "PPO": self.ppo,
            **{f"distilled, {x}": partial(self.distill, x) for x in PREFIXES},
            "small": self.small,
            "small, taught": self.teach,
        }
        self.before = {sft_arm(config.share): "base", "PPO": "RS"}
        self.before["RS"] = sft_arm(config.share)

    def start(self, seed: int) -> Path:
        """The folder of what the arms of a seed share."""
        return self.run.folder / f"seed-{seed}" / "start"

    def policy(self, folder: Path) -> Policy:
        """The policy of a folder."""
        return load_policy(self.config, str(folder), self.mesh)

    def measure(self, arm: str, seed: int, folder: Path) -> dict[str, Any]:
        """The measures of an arm; writes its answers and the attacker's finds."""
        prefix = PREFIXES.get(arm.removeprefix("base, "), measures.no_prefix)
        bench = measures.Bench(
            rewards=self.rewards(seed),
            gate=PiecewiseReward(self.config.gate, self.config.whitening),
            seed=seed,
            count=self.config.eval_prompts,
            budget=self.config.attacks,
            max_new_tokens=ANSWER_TOKENS,
            world_seed=self.config.seed,
        )
        policy = self.policy(self.arms[arm](seed))
        before = folder.parent / self.before[arm] if arm in self.before else None
        return bench.measure(policy, prefix, folder, before)

    def sft(self, model: Path, data: Path, out: Path, seed: int, **own: Any) -> Path:
        """SFT of a policy; returns its folder."""
        own = {"steps": self.config.sft_steps, "learning_rate": FINETUNE_RATE} | own
        config = sft_stage.Config(model=str(model), data=str(data), **own)
        return run_stage(self.config, sft_stage.main, config, out, seed) / "policy"

    def data(self, seed: int, name: str, write: Callable[..., Any], *own: Any) -> Path:
        """A folder of data, written when it is first needed."""
        folder = self.start(seed) / "data" / name
        if not toy_files.is_written(folder):
            write(folder, seed, *own)
        return folder

    def base(self, seed: int) -> Path:
        """The base policy, of web data."""
        web = self.data(seed, "web", toy_files.write_web, self.config.web_rows)
        own = {"steps": self.config.base_steps, "learning_rate": None}
        out = self.start(seed) / "base"
        return self.sft(Path("toy"), web, out, seed, context=CONTEXT, **own)

    def reward_folder(self, seed: int, kind: str, weight: float = 0.0) -> Path:
        """A reward model of helpfulness or of safety."""
        write = toy_files.PAIRS[kind]
        pairs = self.data(seed, f"{kind}_pairs", write, self.config.pairs)
        config = reward_stage.Config(
            model=str(self.base(seed)),
            data=str(pairs),
            steps=self.config.reward_steps,
            safety_weight=weight,
            center=0.01,
        )
        folder = self.start(seed) / f"{kind}_reward_{weight:g}"
        done = run_stage(self.config, reward_stage.main, config, folder, seed)
        return done / "reward"

    def reward_folders(self, seed: int) -> tuple[Path, Path]:
        """Both reward models of the recipe."""
        weight = self.config.safety_weight
        helpful = self.reward_folder(seed, "helpful")
        return helpful, self.reward_folder(seed, "safety", weight)

    def rewards(self, seed: int) -> reward_scores.RewardModels:
        """The raw scores of both reward models."""
        folders = self.reward_folders(seed)
        score = partial(reward_scores.raw_scorer, config=self.config, mesh=self.mesh)
        return reward_scores.RewardModels(*map(score, folders))

    def safety_sft(self, share: float, seed: int) -> Path:
        """SFT on helpful data and a share of the safety data."""
        data = self.data(
            *(seed, f"sft_{share:g}", toy_files.write_sft, self.config.helpful_rows),
            *(self.config.safety_rows, share),
        )
        out = self.start(seed) / f"sft_{share:g}"
        return self.sft(self.base(seed), data, out, seed)

    def online_flags(self, seed: int) -> dict[str, Any]:
        """Flags of rejection sampling and PPO: prompts, and the gated reward."""
        prompts = self.data(
            seed, "prompts", toy_files.write_prompts, self.config.prompts
        )
        return {
            "data": str(prompts),
            "reward": ",".join(map(str, self.reward_folders(seed))),
            "ensemble": f"llama2:{self.config.gate}:{self.config.whitening}",
            "max_new_tokens": ANSWER_TOKENS,
        }

    def rejection_sampling(self, seed: int) -> Path:
        """SFT of the policy of --share on its best answers by the gated reward."""
        model = self.safety_sft(self.config.share, seed)
        config = winners_stage.Config(
            model=str(model),
            prompts=self.config.prompts,
            samples=self.config.samples,
            **self.online_flags(seed),
        )
        out = self.start(seed) / "winners"
        run_stage(self.config, winners_stage.main, config, out, seed)
        return self.sft(model, out / "best", self.start(seed) / "rs", seed)

    def ppo(self, seed: int) -> Path:
        """PPO of the policy after rejection sampling, against the gated reward."""
        config = ppo_stage.Config(
            model=str(self.rejection_sampling(seed)),
            steps=self.config.ppo_steps,
            beta=self.config.beta,
            value="policy",
            batch=min(64, self.config.prompts // 2),
            **self.online_flags(seed),
        )
        out = self.start(seed) / "ppo"
        return run_stage(self.config, ppo_stage.main, config, out, seed) / "policy"

    def distillation_data(self, name: str, seed: int) -> Path:
        """The base policy's own answers after a prefix, gated by the safety model."""
        helpful = self.data(
            *(seed, "sft_0", toy_files.write_sft, self.config.helpful_rows),
            *(self.config.safety_rows, 0.0),
        )
        folder = self.start(seed) / "data" / f"distilled_{name}"
        if not toy_files.is_written(folder):
            distillation_files.write_distilled(
                folder,
                self.policy(self.base(seed)),
                self.rewards(seed).safety,
                helpful,
                name=name,
                seed=seed,
                count=self.config.prompts,
                max_new_tokens=ANSWER_TOKENS,
                note=self.run.note,
            )
        return folder

    def distill(self, name: str, seed: int) -> Path:
        """SFT of the base policy on its own distilled answers."""
        data = self.distillation_data(name, seed)
        out = self.start(seed) / f"distilled_{name}"
        return self.sft(self.base(seed), data, out, seed)

    def small(self, seed: int) -> Path:
        """A smaller model of the same web data."""
        new = student.save_student(
            self.start(seed) / "student", self.policy(self.base(seed)), seed
        )
        web = self.data(seed, "web", toy_files.write_web, self.config.web_rows)
        own = {"steps": self.config.base_steps, "learning_rate": None}
        return self.sft(new, web, self.start(seed) / "small", seed, **own)

    def teach(self, seed: int) -> Path:
        """The smaller model, after what the large one wrote with templates."""
        data = self.distillation_data("template", seed)
        return self.sft(self.small(seed), data, self.start(seed) / "taught", seed)

    def reward_sections(self, seed: int) -> list[Section]:
        """Sections of the reward models of one seed."""
        helpful, safety = self.reward_folders(seed)
        folders = {"helpfulness": helpful, "safety": safety}
        folders["safety, no head"] = self.reward_folder(seed, "safety")
        score = partial(reward_scores.raw_scorer, config=self.config, mesh=self.mesh)
        return report.reward_sections(
            {name: score(folder) for name, folder in folders.items()},
            self.start(seed) / "data",
        )


if __name__ == "__main__":
    launch(main, Config)
