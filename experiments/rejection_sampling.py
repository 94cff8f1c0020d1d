"""Rejection sampling: finetune on the best of a policy's own answers, in rounds.

    {sample K answers to each prompt -> keep the best by a reward -> SFT} x k

This is RAFT (Dong et al. 2023, arXiv:2304.06767), in which each round finetunes the
policy that it sampled from on its own winners: --sft-data newest. By default winners of
all earlier rounds are kept, as in Llama 2 (Touvron et al. 2023, arXiv:2307.09288,
section 3.2.3), whose models regressed in some capabilities without them; with --start
first each round finetunes the first policy anew, as there. Every round has its own
prompts and may have its own temperature. With --winners.samples 1 any answer wins: the
control.

    python -m experiments.rejection_sampling --model runs/sft/policy \\
        --reward runs/reward/reward --rounds 4 --temperatures 1.0 1.1 1.2 1.3

Writes OUT/round-1/winners, demonstrations, finetune, ... (the policy of a round is in
its finetune/policy), and table.md, reward_kl.png and samples.md over the rounds, with
gains and KL against the initial policy. Policies are measured at temperature 1 or
--eval-temperature, at whatever --temperatures their winners were sampled; intervals are
over prompts, of this one run's models. The RM score, and the reward where the data set
has no rule-based one, are those of the first of several reward models. --resume
continues a stopped run, in any round, and with more --rounds adds rounds.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import jax

from experiments import sft as sft_stage
from experiments import winners as winners_stage
from jaxalign.evaluation import plots
from jaxalign.pipeline import (
    datasets,
    held_out,
    held_out_tables,
    reward_functions,
    reward_terms,
    round_schedule,
    text_rewards,
)
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.runtime import distributed, hub, jsonl, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import EvalConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.split_flags import SplitFlags
from jaxalign.runtime.stages import begin_pipeline, stage_runner

# Flags that a resumed run may change: more rounds, each with a temperature of its own,
# and flags of the evaluation, which is computed again.
RESUMABLE_FLAGS = (
    *("rounds", "temperatures", "eval_prompts", "eval_temperature", "split_by"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RoundsConfig(SplitFlags, EvalConfig):
    """Flags of experiments in rounds, each with sampling, selection and finetuning."""

    EXPERIMENT: ClassVar[str] = "rejection_sampling"
    rounds: int = 3
    temperatures: tuple[float, ...] = (1.0,)
    """Sampling temperature of winners: one, or one for each round."""
    sft_data: jsonl.RoundSelection = "all"
    """SFT data: the winners of all rounds so far, or of the newest."""
    start: Literal["latest", "first"] = "latest"
    """The policy that is finetuned: the latest, or in each round the first one anew."""
    winners: winners_stage.Config = winners_stage.Config()
    finetune: sft_stage.Config = sft_stage.Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(RoundsConfig):
    """Rounds of rejection sampling; flags of stages are --winners.samples, ..."""

    reward: str = "programmed"
    """The reward that selects: a reward model's folder, programmed (the data set's
    rule-based reward), or another of docs/rewards.md, such as my.py:function."""


def main(config: Config, reward: Reward | None = None) -> list[held_out_tables.Row]:
    """Runs all rounds; returns the rows of the table, one for each policy.

    Args:
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.
    """
    out = folder_of(config, "rejection_sampling")
    check(config, out)
    source = datasets.load(config)
    held_out.check_split(config.split_by, source)
    selects = reward or config.reward
    reward_functions.check_reward(selects, source)
    reward_models = reward_functions.reward_model_folders(selects)
    if not reward_models:
        text_reward = text_rewards.text_reward(selects, source)
        source = dataclasses.replace(source, reward=source.reward or text_reward)
    policies = run_rounds(config, out, reward)
    evaluations = evaluate(config, source, policies, reward_models, out)
    selected = f"{config.data}, best by {reward_terms.describe_reward(selects)}"
    named_tables = held_out_tables.titled_tables(selected, [evaluations])
    tables.publish(out, named_tables)
    plot(out, {"rejection sampling": list(evaluations)}, [evaluations])
    distributed.print_line(f"table, plot and answers are in {out}")
    return next(iter(named_tables.values()))


def check(config: Config, out: Path) -> None:
    """Refuse bad flags before anything is computed.

    Raises:
      ValueError: no policy to start from, another number of temperatures than rounds,
        or a folder that holds another run.
    """
    round_schedule.round_temperatures(config.temperatures, config.rounds)
    config.temperature_for()
    if not (hub.model_folder(config.model) / "config.json").exists():
        raise ValueError(
            f"--model {config.model} should be the folder of a policy that answers; "
            "python -m experiments.sft trains one"
        )
    if not config.resume and jsonl.round_folder(out, 0).exists():
        raise ValueError(
            f"{out} already holds a run: add --resume to continue it, or choose "
            "another --out"
        )


def run_rounds(
    config: Config, out: Path, reward: Reward | None = None
) -> dict[str, Path]:
    """Run all rounds.

    Args:
      reward: in place of --reward.

    Returns:
      Folders of policies by name: "start", the initial policy, and each round's.
    """
    begin_pipeline(config, out, extendable=RESUMABLE_FLAGS)
    first = hub.model_folder(config.model)
    policies = {"start": first}
    latest = first
    for i in range(config.rounds):
        selects = reward or config.reward
        latest = finetune_on_winners(config, out, i, first, latest, selects)
        policies[f"round {i + 1}"] = latest
    return policies


def finetune_on_winners(
    config: RoundsConfig, out: Path, i: int, first: Path, latest: Path, reward: Reward
) -> Path:
    """Run a round: sample from the latest policy, finetune on the winners.

    Args:
      i: of the round, from 0.
      first: the folder of the policy before all rounds.
      latest: the folder of the policy that answers.
      reward: the reward that selects.

    Returns:
      The folder of the finetuned policy.
    """
    folder = jsonl.round_folder(out, i)
    stage = stage_runner(config, folder)
    temperatures = round_schedule.round_temperatures(config.temperatures, config.rounds)
    winners_main, named = reward_terms.with_reward(winners_stage.main, reward)
    stage(
        "winners",
        winners_main,
        model=str(latest),
        data=config.data,
        **named,
        temperature=temperatures[i],
        first_prompt=i * config.winners.prompts,
    )
    winners = jsonl.round_folders(out, i, "winners/best", config.sft_data)
    sft_data = jsonl.gather(winners, folder / "demonstrations", once="messages")
    start = first if config.start == "first" else latest
    stage("finetune", sft_stage.main, model=str(start), data=str(sft_data))
    return folder / "finetune" / "policy"


def evaluate(
    config: Config,
    source: datasets.Dataset,
    policies: dict[str, Path],
    reward_models: Sequence[Path],
    out: Path,
) -> dict[str, Evaluation]:
    """Evaluate all policies on the same held-out prompts; writes samples.md.

    Args:
      policies: folders by name.
      reward_models: folders, of which the first is evaluated by; may be empty.
    """
    held_out_eval = held_out.make_held_out_eval(
        config,
        source,
        hub.model_folder(config.model),
        config.eval_prompts,
        max_new_tokens=config.winners.max_new_tokens,
        reward=reward_models[0] if reward_models else None,
    )
    temperature = config.temperature_for()
    with jax.set_mesh(mesh_of(config)):
        evaluations = {
            name: held_out_eval.evaluate(
                held_out.load(config, source, folder), temperature=temperature
            )
            for name, folder in policies.items()
        }
    held_out_tables.write_answers(out, held_out_eval.prompts, evaluations)
    return evaluations


def plot(
    out: Path, lines: dict[str, list[str]], seeds: list[dict[str, Evaluation]]
) -> None:
    """Plot reward against KL over the rounds to reward_kl.png.

    Args:
      lines: the methods that each line connects, by the line's name.
      seeds: evaluations by method, of each seed.
    """
    plots.plot_reward_kl(
        out / "reward_kl.png",
        {
            name: [held_out_tables.reward_kl_point(seeds, method) for method in methods]
            for name, methods in lines.items()
        },
        reward=held_out_tables.reward_name(seeds),
        joined_by="later round",
    )


if __name__ == "__main__":
    launch(main, Config)
