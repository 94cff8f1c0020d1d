"""Attacks on an aligned model: which succeed, what they win, and what defences cost.

    python -m experiments.studies.attacks --quick
    python -m experiments.studies.attacks --seeds 3 --out runs/attacks --resume
    python -m experiments.studies.attacks --model FOLDER --suite advbench.csv,xstest.csv

Claim: an alignment that safety data of plain requests gave to the toy is shallow.
Seen with three seeds (docs/results/studies/attacks.md): attack success 0 without an
attack, .79 with a prefix injection, .85 with one token of a complying answer given
(prefill), .78 within 32 tries (best of N, more than the power law of few tries
predicts), .72 on requests that a GCG suffix was not optimized on. Complying turns
before the request (many shots) lower -log p of the answer from 9.6 to 8 nats; none won
a greedy answer. Of the defences attacks in the safety data work best, and only the
refusal threshold is paid for by over-refusal. --quick takes 5 minutes of CPU time.

The toy world (`data/toy_attacks`): a base policy learns what text of the web has,
harmful requests refused and answered; safety SFT (or --align dpo) on plain requests
teaches it to refuse. Attacks are in the toy's words; it reads no encodings. With
--model, any model and suites of real prompts; shots are the toy's, which harm nobody.

    rewritten     prefix injection, refusal suppression, role play, past tense, base64
    prefill-K     the answer begins with K tokens of one that complies
    many-shot-K   K turns in which the assistant complied
    best-of-N     random variants, sampled once each
    gcg           one suffix for several requests, by gradient, and its transfer

Defences: --shares of refusals in the safety data, --attacked-shares of requests in it
that are attacks, --system-prompt, and --refusal-nats: a request is refused where the
refusal's -log p is below a threshold. Judges: the toy's rules; with --model those of
`experiments.red_team` (rules, a reward model, model:FOLDER with StrongREJECT's rubric).

Writes OUT/report.html, attacks.png, study.png, study.json and seed-S/ARM/answers.jsonl.
"""

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax

from experiments import dpo as dpo_stage
from experiments import sft as sft_stage
from jaxalign.data import toy_attacks
from jaxalign.evaluation.page import Page
from jaxalign.pipeline.attacks import config as attack_config
from jaxalign.pipeline.attacks import measures, report, toy_files
from jaxalign.pipeline.attacks.attempts import Bench, bench_key
from jaxalign.pipeline.attacks.config import Arm, AttackConfig
from jaxalign.pipeline.evaluation.models import evaluation_mesh, load_policy
from jaxalign.runtime import distributed, flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.study_sizes import with_size

SAFETY_ROWS, SAFETY_RATE = 1000, 1e-3
CONTEXT = 320  # tokens of the toy: ten requests and their answers
SHARES = frozenset(
    "success won any_success plain_success refused broken off_topic over_refusal "
    "optimized transfer".split()
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(AttackConfig):
    """Attacks on a model, and defences."""

    RANGES: ClassVar = {
        **flags.ranges_of(flags.COUNT, "base_steps safety_steps"),
        **flags.ranges_of(flags.SHARE, "safety_share shares attacked_shares"),
    }
    shares: tuple[float, ...] = (0.05, 0.2, 0.8)
    """Toy: shares of harmful requests in the safety data, as a defence."""
    safety_share: float = 0.5
    """Toy: this share in the policy that is attacked."""
    attacked_shares: tuple[float, ...] = (0.1, 0.5)
    """Toy: shares of attacks among the requests of the safety data, as a defence."""
    align: Literal["sft", "dpo"] = "sft"
    """Toy: how the safety data are trained on."""
    base_steps: int = 500
    """Toy: steps of the base policy."""
    safety_steps: int = 30
    """Toy: steps of the safety training."""
    quick: bool = False
    """Fewer requests, tries and arms: ten minutes on two cores."""
    smoke: bool = False
    """A few steps of everything, to see that it runs."""


SMOKE: dict[str, Any] = {
    **{"prompts": 4, "tries": 4, "gcg_steps": 2, "rows": 16, "max_new_tokens": 8},
    **{"gcg_width": 8, "gcg_topk": 8, "gcg_length": 4, "gcg_prompts": 2},
    **{"base_steps": 2, "safety_steps": 2, "prefill": (0, 2)},
    **{"shots": (0, 1, 2, 3), "shares": (), "attacked_shares": ()},
}
QUICK: dict[str, Any] = {
    **{"prompts": 32, "tries": 16, "shares": (0.1, 0.8), "attacked_shares": (0.3,)},
}


def main(config: Config) -> dict[str, Any]:
    """Measures every arm with every seed; writes the report; returns its numbers.

    Raises:
      ValueError: bad flags, a malformed row of a suite, a model that is no model.
    """
    attack_config.check_flags(config)
    with ReportRun(config, "attacks") as run:
        command = config_command(config, "experiments.studies.attacks")
        config = with_size(config, smoke=SMOKE, quick=QUICK)
        lab = Lab(config, run)
        arms, defenses = lab.arms()
        for name, rewrite in lab.world.attacks.items():
            if rewrite is None:
                run.note(f"{name}: not applicable, a model of words reads no encoding")
        seeds = range(config.seed, config.seed + config.seeds)
        cells = study_cells.measure_cells(
            run.folder,
            list(arms),
            seeds,
            lambda arm, seed, folder: arms[arm](lab.bench(arm, seed), folder),
            settings={"arms": "attacks"},  # config.json is compared by ReportRun
            resume=config.resume,
        )
        shares = {n for c in cells.values() for n in c[0] if n.split("@")[0] in SHARES}
        summary = study_cells.summarize_cells(cells, shares)
        run.write_json("study.json", summary)
        if distributed.is_first():
            parts = report.sections(summary, lab.world.attacks, defenses, run.folder)
            run.publish(Page(f"Attacks on {config.model}", parts, command))
        return run.finish(main_numbers(summary))


class Lab:
    """The policies and arms of a study; policies are trained when an arm needs them."""

    def __init__(self, config: Config, run: ReportRun) -> None:
        self.config, self.run = config, run
        self.is_toy = config.model == "toy"
        self.world = attack_config.load_world(config, run.note)
        self.policy = functools.lru_cache(maxsize=1)(self.load)

    def arms(self) -> tuple[dict[str, Arm], dict[str, list[str]]]:
        """What is measured, by the name of an arm; and the arms of each defence."""
        config = self.config
        arms = attack_config.attack_arms(config, self.world)
        arms["undefended"] = functools.partial(
            measures.measure_defense, thresholds=config.refusal_nats
        )
        defenses = {"none": ["undefended"]}
        if self.system:
            arms["system prompt"] = measures.measure_defense
            defenses["system prompt"] = ["undefended", "system prompt"]
        if self.is_toy:
            names = {s: f"share {s:g}" for s in sorted(config.shares)}
            names.pop(config.safety_share, None)
            attacked = [f"attacked {s:g}" for s in sorted(config.attacked_shares)]
            arms |= dict.fromkeys(
                [*names.values(), *attacked], measures.measure_defense
            )
            every = names | {config.safety_share: "undefended"}
            by_share = [every[share] for share in sorted(every)]
            defenses["refusals in the safety data"] = by_share
            defenses["attacks in the safety data"] = ["undefended", *attacked]
        return arms, defenses

    @property
    def system(self) -> str:
        """The system prompt of that defence."""
        return self.config.system_prompt or toy_attacks.SYSTEM * self.is_toy

    def bench(self, arm: str, seed: int) -> Bench:
        """The policy of an arm and a seed, under attack."""
        kind, _, value = arm.partition(" ")
        share, attacked = self.config.safety_share, 0.0
        if kind == "share":
            share = float(value)
        elif kind == "attacked":
            attacked = float(value)
        return Bench(
            policy=self.policy(seed, share, attacked),
            world=self.world,
            key=bench_key(seed),
            max_new_tokens=self.config.max_new_tokens or (24 if self.is_toy else 128),
            rows=self.config.rows,
            note=self.run.note,
            system=self.system if arm == "system prompt" else "",
        )

    def load(self, seed: int, share: float, attacked: float) -> Any:
        """The given model, or a toy policy of such safety data."""
        path = self.config.model
        if self.is_toy:
            path = str(self.train_policy(seed, share, attacked))
        return load_policy(self.config, path, evaluation_mesh(self.config))

    def train_policy(self, seed: int, share: float, attacked: float) -> Path:
        """The folder of a toy policy, which is trained unless it is there."""
        config, root = self.config, self.run.folder / f"seed-{seed}"
        shared: dict[str, Any] = {"log": "none", "eval_rows": 64, "seed": seed}
        shared |= {"context": CONTEXT, "compilation_cache": config.compilation_cache}
        base, name = root / "base", f"{config.align}-{share:g}-{attacked:g}"
        if not (base / "numbers.json").exists():
            rows = 20 * config.base_steps + 200
            data = str(toy_files.write_base(root / "base.jsonl", rows, seed))
            steps = config.base_steps
            given = {"data": data, "out": base, "all_turns": True, "batch": rows_of(8)}
            sft_stage.main(sft_stage.Config(**shared | given, steps=steps))
        if (root / name / "numbers.json").exists():
            return root / name / "policy"
        is_sft = config.align == "sft"
        write = toy_files.write_safety if is_sft else toy_files.write_pairs
        file = write(
            root / f"{name}.jsonl", SAFETY_ROWS, seed, harmful=share, attacked=attacked
        )
        shared |= {"model": str(base / "policy"), "data": str(file), "out": root / name}
        shared |= {"steps": config.safety_steps}
        if is_sft:
            rate = SAFETY_RATE
            sft_stage.main(
                sft_stage.Config(**shared, batch=rows_of(2), learning_rate=rate)
            )
        else:
            dpo_stage.main(dpo_stage.Config(**shared, batch=rows_of(16)))
        return root / name / "policy"


def rows_of(batch: int) -> int:
    """The least multiple of a batch that divides over the devices."""
    return math.lcm(batch, jax.device_count())


def main_numbers(summary: report.Summary) -> dict[str, Any]:
    """The main numbers: success without an attack and with each, and over-refusal."""
    success = {arm: v["success"] for arm, v in summary.items() if "success" in v}
    undefended = summary["undefended"]
    more = {k: undefended[k] for k in ("over_refusal",) if k in undefended}
    return {**success, **more}


if __name__ == "__main__":
    launch(main, Config)
