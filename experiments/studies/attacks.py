"""Attacks on an aligned model: which succeed, what they win, and what defences cost.

    python -m experiments.studies.attacks --quick
    python -m experiments.studies.attacks --seeds 3 --out runs/attacks --resume
    python -m experiments.studies.attacks --model FOLDER --suite advbench.csv,xstest.csv

Claim: an alignment that safety data of plain requests gave to the toy is shallow.
Attack success is near 0 without an attack; it rises with the first tokens of an answer
that are given (prefill), with the complying turns before the request (many shots, by a
power law) and with the tries (best of N, by another), and a suffix by gradient (GCG)
lowers the target's loss. Defences lower it at the price of over-refusal: each is a
curve along its setting.

The toy world (`data/toy_attacks`): a base policy learns what text of the web has,
harmful requests refused and answered; safety SFT (or --align dpo) on plain requests
teaches it to refuse. Attacks are in the toy's words; it reads no encodings. With
--model, any model and suites of real prompts; shots are the toy's, which harm nobody.

    rewritten     prefix injection, refusal suppression, role play, encodings, past tense
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
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal

from experiments import dpo as dpo_stage
from experiments import sft as sft_stage
from jaxalign.data import toy_attacks
from jaxalign.evaluation.attacks.gcg import GcgOptions
from jaxalign.evaluation.page import Page
from jaxalign.pipeline.attacks import (
    gcg_suffix,
    measures,
    report,
    toy_files,
    worlds,
)
from jaxalign.pipeline.attacks.attempts import Bench, Values, bench_key
from jaxalign.pipeline.evaluation.models import (
    EvaluationConfig,
    evaluation_mesh,
    load_policy,
)
from jaxalign.pipeline.red_team import judges, suites
from jaxalign.runtime import distributed, flags, study_cells
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_run import ReportRun

SAFETY_ROWS, SAFETY_RATE = 1000, 1e-3
CONTEXT = 256  # tokens of the toy: a talk of eight shots, a request, an answer
SHARES = ("success", "any_success", "plain_success", "refused", "broken", "off_topic")
SHARES += ("over_refusal", "optimized", "transfer")
Arm = Callable[[Bench, Path], Values]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(EvaluationConfig):
    """Attacks on a model, and defences."""

    RANGES: ClassVar = {
        "threshold": flags.ANY,
        **flags.ranges_of(flags.COUNT, "judge_tokens tries gcg_width gcg_topk"),
        **flags.ranges_of(flags.COUNT, "gcg_length gcg_prompts gcg_target"),
        **flags.ranges_of(flags.COUNT, "base_steps safety_steps"),
        **flags.ranges_of(flags.FROM_0, "prefill shots gcg_steps"),
        **flags.ranges_of(flags.SHARE, "safety_share shares attacked_shares"),
        "refusal_nats": flags.POSITIVE,
    }
    model: str = "toy"
    """toy, or the folder of a model to attack, with --suite."""
    suite: str | None = None
    """Files of prompts, with commas between them, as of experiments.red_team."""
    prompts: int = 64
    """At most so many harmful requests, and so many safe ones."""
    judge: str = judges.RULES
    """Of --suite: rules, a reward model's folder, or model:FOLDER, a language model."""
    threshold: float | None = None
    """Of the judge: as of experiments.red_team."""
    judge_tokens: int = 512
    """Tokens of a judge model's longest text."""
    max_new_tokens: int | None = None
    """Tokens of the longest answer; by default 24 of the toy, 128 of a model."""
    seeds: int = 1
    """Number of seeds, from --seed on: of the toy's policies, and of all sampling."""
    prefill: tuple[int, ...] = (0, 1, 2, 4, 8)
    """Numbers of tokens that begin the answer."""
    shots: tuple[int, ...] = (0, 1, 2, 4, 6, 8)
    """Numbers of complying turns before the request."""
    tries: int = 32
    """Variants of each request for best-of-N."""
    gcg_steps: int = 40
    """Steps of GCG; 0 leaves it out."""
    gcg_width: int = 64
    """Candidates of a step."""
    gcg_topk: int = 32
    """Tokens of each place that candidates take."""
    gcg_length: int = 8
    """Tokens of the suffix."""
    gcg_prompts: int = 4
    """Requests that the suffix is optimized on."""
    gcg_target: int = 6
    """Tokens of the complying answer that are the target."""
    system_prompt: str = ""
    """A system prompt as a defence; by default of the toy its own, of a model none."""
    refusal_nats: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    """Thresholds on -log p of the refusal, below which a request is refused."""
    refusal: str = worlds.REFUSAL
    """Of --suite: the refusal of --refusal-nats."""
    shares: tuple[float, ...] = (0.02, 0.05, 0.5)
    """Toy: shares of harmful requests in the safety data, as a defence."""
    safety_share: float = 0.2
    """Toy: this share in the policy that is attacked."""
    attacked_shares: tuple[float, ...] = (0.1, 0.5)
    """Toy: shares of attacks among the requests of the safety data, as a defence."""
    align: Literal["sft", "dpo"] = "sft"
    """Toy: how the safety data are trained on."""
    base_steps: int = 300
    """Toy: steps of the base policy."""
    safety_steps: int = 30
    """Toy: steps of the safety training."""
    quick: bool = False
    """Fewer requests, tries and arms: ten minutes on two cores."""
    smoke: bool = False
    """A few steps of everything, to see that it runs."""


def main(config: Config) -> dict[str, Any]:
    """Measures every arm with every seed; writes the report; returns its numbers.

    Raises:
      ValueError: bad flags, a malformed row of a suite, a model that is no model.
    """
    check(config)
    with ReportRun(config, "attacks") as run:
        command = config_command(config, "experiments.studies.attacks")
        config = sized(config)
        lab = Lab(config, run)
        arms, defenses = lab.arms()
        for name, rewrite in lab.world(config.seed).attacks.items():
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
        attacks = lab.world(config.seed).attacks
        if distributed.is_first():
            parts = report.sections(summary, attacks, defenses, run.folder)
            run.publish(Page(f"Attacks on {config.model}", parts, command))
        return run.finish(main_numbers(summary))


def sized(config: Config) -> Config:
    """The configuration of --quick or --smoke."""
    replace = functools.partial(dataclasses.replace, config)
    if config.smoke:
        small: dict[str, Any] = {"prompts": 4, "tries": 4, "gcg_steps": 2, "rows": 16}
        small |= {"gcg_width": 8, "gcg_topk": 8, "gcg_length": 4, "gcg_prompts": 2}
        small |= {"base_steps": 2, "safety_steps": 2, "prefill": (0, 2)}
        small |= {"shots": (0, 1, 2, 3), "shares": (0.5,), "attacked_shares": ()}
        return replace(**small, max_new_tokens=config.max_new_tokens or 8)
    if config.quick:
        return replace(prompts=32, tries=16, shares=(0.05, 0.5), attacked_shares=(0.3,))
    return config


def check(config: Config) -> None:
    """Refuses flags that do not fit together, before anything is computed.

    Raises:
      ValueError: names the flags.
    """
    if (config.model == "toy") == bool(config.suite):
        raise ValueError(
            "--model FOLDER and --suite FILE go together; without, the toy"
        )
    if config.model == "toy" and config.judge != judges.RULES:
        raise ValueError("--judge is for --suite; the toy has its own rules")
    if config.model != "toy":
        judges.check_judge(config.judge, config.threshold)
        judges.check_judge_folder(config.judge, config)


class Lab:
    """The policies and arms of a study; policies are trained when an arm needs them."""

    def __init__(self, config: Config, run: ReportRun) -> None:
        self.config, self.run = config, run
        self.is_toy = config.model == "toy"
        self.world = functools.cache(self.make_world)
        self.policy = functools.lru_cache(maxsize=1)(self.load)

    def make_world(self, seed: int) -> worlds.AttackWorld:
        """The requests; those of the toy are the same for every seed."""
        config = self.config
        if self.is_toy:
            return worlds.toy_world(config.prompts, config.seed)
        assert config.suite is not None  # check
        judge = judges.load_judge(
            config.judge,
            config.threshold,
            config,
            evaluation_mesh(config),
            max_new_tokens=config.judge_tokens,
            note=self.run.note,
        )
        read = suites.read_suites(config.suite)
        number = config.prompts
        return worlds.suite_world(read, judge, prompts=number, refusal=config.refusal)

    def arms(self) -> tuple[dict[str, Arm], dict[str, list[str]]]:
        """What is measured, by the name of an arm; and the arms of each defence."""
        config, part = self.config, functools.partial
        attacks = self.world(config.seed).attacks
        arms: dict[str, Arm] = {
            name: part(measures.rewritten, name=name)
            for name, rewrite in attacks.items()
            if rewrite
        }
        for k in config.prefill:
            arms[f"{report.PREFILL}{k}"] = part(measures.prefilled, tokens=k)
        for k in config.shots:
            arms[f"{report.MANY_SHOT}{k}"] = part(measures.many_shot, shots=k)
        arms[f"{report.BEST_OF}{config.tries}"] = part(
            measures.best_of_n, tries=config.tries
        )
        if config.gcg_steps:
            arms[report.GCG] = self.gcg
        undefended = part(measures.defended, thresholds=config.refusal_nats)
        arms["undefended"] = undefended
        defenses = {"refusal threshold": ["undefended"]}
        if self.system:
            arms["system prompt"] = measures.defended
            defenses["system prompt"] = ["undefended", "system prompt"]
        if self.is_toy:
            names = {s: f"share {s:g}" for s in sorted(config.shares)}
            arms |= dict.fromkeys(names.values(), measures.defended)
            own = {config.safety_share: "undefended"}
            defenses["refusals in the safety data"] = [
                (names | own)[s] for s in sorted(names | own)
            ]
            attacked = [f"attacked {s:g}" for s in sorted(config.attacked_shares)]
            arms |= dict.fromkeys(attacked, measures.defended)
            defenses["attacks in the safety data"] = ["undefended", *attacked]
        return arms, defenses

    @property
    def system(self) -> str:
        """The system prompt of that defence."""
        return self.config.system_prompt or toy_attacks.SYSTEM * self.is_toy

    def gcg(self, bench: Bench, folder: Path) -> Values:
        """The arm of GCG."""
        config = self.config
        options = GcgOptions(
            steps=config.gcg_steps, width=config.gcg_width, topk=config.gcg_topk
        )
        return gcg_suffix.gcg_attack(
            bench,
            folder,
            options,
            prompts=config.gcg_prompts,
            length=config.gcg_length,
            target_tokens=config.gcg_target,
        )

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
            world=self.world(seed),
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
            path = str(self.trained(seed, share, attacked))
        return load_policy(self.config, path, evaluation_mesh(self.config))

    def trained(self, seed: int, share: float, attacked: float) -> Path:
        """The folder of a toy policy, which is trained unless it is there."""
        config, root = self.config, self.run.folder / f"seed-{seed}"
        shared: dict[str, Any] = {"log": "none", "eval_rows": 64, "seed": seed}
        shared |= {"context": CONTEXT, "compilation_cache": config.compilation_cache}
        base, name = root / "base", f"{config.align}-{share:g}-{attacked:g}"
        if not (base / "numbers.json").exists():
            rows = 20 * config.base_steps + 200
            data = str(toy_files.write_base(root / "base.jsonl", rows, seed))
            steps = config.base_steps
            given = {"data": data, "out": base, "all_turns": True, "batch": 8}
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
            sft_stage.main(sft_stage.Config(**shared, batch=2, learning_rate=rate))
        else:
            dpo_stage.main(dpo_stage.Config(**shared, batch=16))
        return root / name / "policy"


def main_numbers(summary: report.Summary) -> dict[str, Any]:
    """The main numbers: success without an attack and with each, and over-refusal."""
    success = {arm: v["success"] for arm, v in summary.items() if "success" in v}
    undefended = summary["undefended"]
    more = {k: undefended[k] for k in ("over_refusal",) if k in undefended}
    return {**success, **more}


if __name__ == "__main__":
    launch(main, Config)
