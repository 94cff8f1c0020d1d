"""The flags of attacks on a model, and what they ask for: requests, judge, arms."""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from jaxalign.evaluation.attacks.gcg import GcgOptions
from jaxalign.pipeline.attacks import gcg_suffix, measures, report, worlds
from jaxalign.pipeline.attacks.attempts import Bench, Values
from jaxalign.pipeline.evaluation.models import EvaluationConfig, evaluation_mesh
from jaxalign.pipeline.red_team import judges, suites
from jaxalign.runtime import flags

Arm = Callable[[Bench, Path], Values]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig(EvaluationConfig):
    """Flags of a study that attacks a model: the model, its requests, the attacks."""

    RANGES: ClassVar = {
        "threshold": flags.ANY,
        **flags.ranges_of(flags.COUNT, "judge_tokens tries gcg_width gcg_topk"),
        **flags.ranges_of(flags.COUNT, "gcg_length gcg_prompts gcg_target"),
        **flags.ranges_of(flags.FROM_0, "prefill shots gcg_steps"),
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


def check_flags(config: AttackConfig) -> None:
    """Refuses flags that do not fit together, before anything is computed.

    Raises:
      ValueError: names the flags.
    """
    if (config.model == "toy") == bool(config.suite):
        raise ValueError(
            "--model FOLDER and --suite FILE go together; without them it is the toy"
        )
    if config.model == "toy" and config.judge != judges.RULES:
        raise ValueError("--judge is for --suite; the toy has its own rules")
    if config.model != "toy":
        judges.check_judge(config.judge, config.threshold)
        judges.check_judge_folder(config.judge, config)


def load_world(config: AttackConfig, note: Callable[[str], None]) -> worlds.AttackWorld:
    """The requests of --suite with their judge, or those of the toy.

    Args:
      note: shows a line about answers that a judge model has no room for.

    Raises:
      ValueError, OSError: a malformed row, or a judge's folder without a model.
    """
    if config.suite is None:
        return worlds.toy_world(config.prompts, config.seed)
    read = suites.read_suites(config.suite)
    judge = judges.load_judge(
        config.judge,
        config.threshold,
        config,
        evaluation_mesh(config),
        max_new_tokens=config.judge_tokens,
        note=note,
    )
    number = config.prompts
    return worlds.suite_world(read, judge, prompts=number, refusal=config.refusal)


def attack_arms(config: AttackConfig, world: worlds.AttackWorld) -> dict[str, Arm]:
    """The attacks that are measured, by the name of their arm."""
    part = functools.partial
    arms: dict[str, Arm] = {
        name: part(measures.measure_rewritten, name=name)
        for name, rewrite in world.attacks.items()
        if rewrite
    }
    for k in config.prefill:
        arms[f"{report.PREFILL}{k}"] = part(measures.measure_prefill, tokens=k)
    for k in config.shots:
        arms[f"{report.MANY_SHOT}{k}"] = part(measures.measure_many_shot, shots=k)
    name = f"{report.BEST_OF}{config.tries}"
    arms[name] = part(measures.measure_best_of_n, tries=config.tries)
    if config.gcg_steps:
        arms[report.GCG] = part(
            gcg_suffix.gcg_attack,
            options=GcgOptions(
                steps=config.gcg_steps, width=config.gcg_width, topk=config.gcg_topk
            ),
            prompts=config.gcg_prompts,
            length=config.gcg_length,
            target_tokens=config.gcg_target,
        )
    return arms
