"""Rejection sampling: finetune on the best of a policy's own answers, in rounds.

    {sample K answers a prompt -> keep the best by a reward -> SFT on the winners} x k

This is RAFT (Dong et al. 2023, arXiv:2304.06767), where each round finetunes the policy
that it sampled from, on its own winners: --sft-data newest. By default winners of all
earlier rounds are kept, as Llama 2 does (Touvron et al. 2023, arXiv:2307.09288, section
3.2.3), which without them forgot what it could; with --start first each round finetunes
the first policy anew, as there. Every round has prompts and a temperature of its own.
With --winners.samples 1 any answer wins: the control.

    python -m experiments.rejection_sampling --model runs/sft/policy \\
        --reward runs/reward/reward --rounds 4 --temperatures 1.0 1.1 1.2 1.3

Writes OUT/round-1/winners, demonstrations, finetune, ... (the policy of a round is in
its finetune/policy), and table.md, reward_kl.png and samples.md over the rounds, with
gains and KL against the policy that it began from. Policies, which imitate, are
measured at temperature 1 or --eval-temperature, whatever --temperatures their winners
were sampled at; intervals are over prompts, of this one run's models. RM scores, and
the reward where the data have no programmed one, are by the first of several reward
models. --resume goes on where a run was stopped, in any round, and with more --rounds
goes farther.
"""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal

import jax

from experiments import sft as sft_stage
from experiments import winners as winners_stage
from jaxalign.evaluation import plots
from jaxalign.pipeline import (
    datasets,
    held_out,
    held_out_tables,
    reward_functions,
    round_schedule,
)
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import distributed, hub, jsonl, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import EvalConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.stages import begin_pipeline, stage_runner

# Flags that a resumed run may change: more rounds, of whose temperatures each stage is
# told its own, and what is evaluated anew each time.
RESUMABLE_FLAGS = ("rounds", "temperatures", "eval_prompts", "eval_temperature")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rounds(EvalConfig):
    """Flags of experiments in rounds, each of which samples, chooses and finetunes."""

    EXPERIMENT: ClassVar[str] = "rejection_sampling"
    rounds: int = 3
    temperatures: tuple[float, ...] = (1.0,)
    """Of the sampling of winners: one, or one for each round."""
    sft_data: jsonl.RoundSelection = "all"
    """What is imitated: the winners of all rounds so far, or of the newest."""
    start: Literal["latest", "first"] = "latest"
    """What winners finetune: the latest policy, or the first one anew."""
    winners: winners_stage.Config = winners_stage.Config()
    finetune: sft_stage.Config = sft_stage.Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Rounds):
    """Rounds of rejection sampling; the stages' own flags are --winners.samples, ..."""

    reward: str = "programmed"
    """What chooses: a reward model's folder, programmed, or another of
    `jaxalign.pipeline.reward_functions`, such as length:40."""


def main(config: Config) -> list[held_out_tables.Row]:
    """Runs all rounds; returns the rows of the table, one a policy."""
    out = folder_of(config, "rejection_sampling")
    check(config, out)
    source = datasets.load(config)
    learned = reward_functions.reward_model_folders(config.reward)
    chooses = None if learned else reward_functions.text_reward(config.reward, source)
    policies = run_rounds(config, out)
    held_out_eval = held_out.make_held_out_eval(
        config,
        dataclasses.replace(source, reward=source.reward or chooses),
        hub.model_folder(config.model),
        config.eval_prompts,
        max_new_tokens=config.winners.max_new_tokens,
        reward=learned[0] if learned else None,
    )
    at = config.temperature_for()
    with jax.set_mesh(mesh_of(config)):
        found = {
            name: held_out_eval.evaluate(
                held_out.load(config, source, folder), temperature=at
            )
            for name, folder in policies.items()
        }
    rows = held_out_tables.table([found])
    title = held_out_tables.title(f"{config.data}, chosen by {config.reward}", [found])
    tables.publish(out, {title: rows})
    draw(out, {"rejection sampling": list(found)}, [found])
    texts = {name: each.texts for name, each in found.items()}
    tables.write_answers(out, [p.messages for p in held_out_eval.prompts], texts)
    distributed.print_line(f"table, plot and answers are in {out}")
    return rows


def check(config: Config, out: Path) -> None:
    """Refuses what cannot be, before anything is computed.

    Raises:
      ValueError: no policy to begin from, temperatures that do not suit the rounds, or
        a folder with another run.
    """
    round_schedule.round_temperatures(config.temperatures, config.rounds)
    config.temperature_for()
    if not (hub.model_folder(config.model) / "config.json").exists():
        raise ValueError(
            f"--model {config.model} should be the folder of a policy that answers; "
            "python -m experiments.sft makes one"
        )
    if not config.resume and jsonl.round_folder(out, 0).exists():
        raise ValueError(
            f"{out} already holds a run: add --resume to go on with it, or choose "
            "another --out"
        )


def run_rounds(config: Config, out: Path) -> dict[str, Path]:
    """All rounds; the folders of the policies on the way, by name."""
    begin_pipeline(config, out, extendable=RESUMABLE_FLAGS)
    policies = {"start": hub.model_folder(config.model)}
    for i in range(config.rounds):
        latest = list(policies.values())[-1]
        policies[f"round {i + 1}"] = finetune_on_winners(
            config, out, i, hub.model_folder(config.model), latest, config.reward
        )
    return policies


def finetune_on_winners(
    config: Any, out: Path, i: int, first: Path, latest: Path, reward: str
) -> Path:
    """One round: samples from the latest policy and finetunes on the winners.

    Args:
      config: a `Rounds`.
      first: the policy of before all rounds.

    Returns the finetuned policy's folder.
    """
    here = jsonl.round_folder(out, i)
    stage = stage_runner(config, here)
    stage(
        "winners",
        winners_stage.main,
        model=str(latest),
        data=config.data,
        reward=reward,
        temperature=round_schedule.round_temperatures(
            config.temperatures, config.rounds
        )[i],
        first_prompt=i * config.winners.prompts,
    )
    kept = jsonl.round_folders(out, i, "winners/best", config.sft_data)
    imitated = jsonl.gather(kept, here / "demonstrations", once="messages")
    start = first if config.start == "first" else latest
    stage("finetune", sft_stage.main, model=str(start), data=str(imitated))
    return here / "finetune" / "policy"


def draw(
    out: Path, lines: dict[str, list[str]], found: list[dict[str, Evaluation]]
) -> None:
    """Reward against KL over the rounds, a line through the policies of each name."""
    plots.plot_reward_kl(
        out / "reward_kl.png",
        {
            name: [held_out_tables.reward_kl_point(found, method) for method in methods]
            for name, methods in lines.items()
        },
        reward=held_out_tables.reward_name(found),
        joined_by="later round",
    )


if __name__ == "__main__":
    launch(main, Config)
