"""Iterated rounds of alignment, as in Llama 2 and Llama 3.

    SFT -> {sample -> label -> reward model -> rejection sampling -> SFT -> DPO} x k

In every round the latest policy answers new prompts, and simulated annotators label the
answers by --reward: the data set's rule-based reward, or any other of docs/rewards.md;
a reward model, started from that policy, is trained on the preferences of all rounds so
far (Llama 2: Touvron et al. 2023, arXiv:2307.09288, section 3.2); the policy is
finetuned on its best answers by that model, together with the winners of all earlier
rounds (section 3.2.3); and DPO trains on the newest preferences alone (Llama 3:
Grattafiori et al. 2024, arXiv:2407.21783, section 4.1, with six such rounds). DPO's
reference is the policy that it starts from, that of the round's finetuning. With
--method ppo, PPO against the round's reward model replaces DPO, as in Llama 2's last
rounds, with its KL penalty to the same policy. With --select-by reward no reward model
is trained: --reward itself selects the winners, and is what PPO maximizes.

    python -m experiments.rounds
    python -m experiments.rounds --rounds 3 --method ppo --temperatures 1.0 1.1 1.2
    python -m experiments.rounds --data stories --data-path FILE --model FOLDER
    python -m experiments.rounds --data FILE --model FOLDER --reward my.py:function
    python -m experiments.rounds --label people --study study --collect.prompts 64

With --label people each round's answers go into a study, which `python -m
experiments.annotate --out study` shows on a page, and the rounds wait for labels. They
may be stopped and resumed at any point, the page too. Where the data set has no
rule-based reward, policies are then measured by the last reward model.

Each stage has a folder, OUT/sft and OUT/round-1/collect, reward_model, winners, ...,
and is run by its own module; --resume skips finished stages, and with more --rounds
adds rounds. Writes table.md, reward_kl.png and samples.md over the rounds: gains and KL
are against the SFT policy before all rounds, rewards are by --reward, RM scores by the
last round's reward model. Policies of PPO are measured at its temperature, the others
at 1, or all at --eval-temperature.

The default's six rounds take some thirteen minutes after SFT on two CPU cores. As
answers improve, labels become harder to predict: the table of the reward models has the
highest possible accuracy (Bayes) beside each one's.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal

import jax

from experiments import collect as collect_stage
from experiments import dpo as dpo_stage
from experiments import ppo as ppo_stage
from experiments import rejection_sampling
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from experiments import winners as winners_stage
from jaxalign.pipeline import (
    datasets,
    held_out,
    held_out_tables,
    people,
    reward_functions,
    reward_models,
    reward_terms,
    round_schedule,
)
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.pipeline.reward_terms import Reward
from jaxalign.runtime import distributed, jsonl, model_usage, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.jsonl import round_folder
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.stages import begin_pipeline, configs_by_seed, stage_runner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(rejection_sampling.RoundsConfig):
    """All rounds; flags of stages are --collect.prompts, --dpo.beta, ..."""

    EXPERIMENT: ClassVar[str] = "rounds"
    rounds: int = 6
    seeds: int = 1
    """Number of runs, of seeds --seed, --seed + 1, ...; the table is over all."""
    smoke: bool = False
    """Two rounds with a few steps of every stage, to see that it runs."""
    label: Literal["simulated", "people"] = "simulated"
    """Who labels the answers of each round: annotators that --reward simulates, or
    people, in --study; --collect.labels is their number for each pair."""
    study: Path | None = None
    """The study's folder, of --label people."""
    method: Literal["dpo", "ppo"] = "dpo"
    """The last stage of a round."""
    reward: str = "programmed"
    """The reward that labels answers, and measures policies: programmed (the data set's
    rule-based reward), a reward model's folder, or another of docs/rewards.md, such as
    my.py:function."""
    select_by: Literal["reward_model", "reward"] = "reward_model"
    """What selects winners, and what PPO maximizes: a reward model that each round
    trains on its labels, or --reward itself; then no reward model is trained."""
    reward_data: jsonl.RoundSelection = "all"
    """Data of the reward model: preferences of all rounds so far, or of the newest."""
    dpo_data: jsonl.RoundSelection = "newest"
    """Data of DPO: the same choice."""
    sft: sft_stage.Config = sft_stage.Config()
    collect: collect_stage.Config = collect_stage.Config(
        prompts=512, held_out_prompts=256, annotators=25, label_temperature=1.5
    )
    reward_model: reward_stage.Config = reward_stage.Config(batch=16)
    winners: winners_stage.Config = winners_stage.Config(prompts=256)
    dpo: dpo_stage.Config = dpo_stage.Config()
    ppo: ppo_stage.Config = ppo_stage.Config(steps=10)


def main(config: Config, reward: Reward | None = None) -> list[held_out_tables.Row]:
    """Runs all rounds for every seed.

    Args:
      reward: in place of --reward: a function, see `jaxalign.pipeline.own_rewards`, or
        weights by function or name.

    Returns:
      The rows of the table over all seeds: SFT, and two policies for each round.
    """
    config = smoke_config(config) if config.smoke else config
    round_schedule.round_temperatures(config.temperatures, config.rounds)
    config.temperature_for()
    config = people.configure_collect(config)
    source = datasets.load(config)
    labels_by = reward or config.reward
    if config.label == "simulated" or labels_by != "programmed":
        reward_functions.check_reward(labels_by, source)
    held_out.check_split(config.split_by, source)
    out = folder_of(config, "rounds")
    seeds: list[dict[str, Evaluation]] = []
    agreements: list[held_out_tables.Row] = []
    for seed_config in configs_by_seed(config, out):
        policies = run_rounds(seed_config, seed_config.out, labels_by)
        seeds.append(evaluate(seed_config, policies, seed_config.out, labels_by))
        if config.select_by == "reward_model":
            rows = reward_models.round_agreements(seed_config, seed_config.out)
            agreements += [{"seed": seed_config.seed} | row for row in rows]
    subject = table_subject(config, labels_by)
    named_tables = held_out_tables.titled_tables(subject, seeds)
    rows = next(iter(named_tables.values()))
    agreement_title = (
        "each round's reward model on its held-out preferences; over prompts"
    )
    if agreements:
        named_tables[agreement_title] = agreements
    tables.publish(out, named_tables)
    sft, *methods = seeds[0]
    lines = {
        sft: [sft],
        "rejection sampling": methods[::2],
        config.method.upper(): methods[1::2],
    }
    rejection_sampling.plot(out, lines, seeds)
    distributed.print_line(f"table, plot and answers are in {out}")
    last_round = round_folder(seed_config.out, config.rounds - 1)
    model_usage.show("rounds", last_round / config.method)
    return rows


def table_subject(config: Config, reward: Reward) -> str:
    """What the table is about: the data set and, but for its own, the reward."""
    if reward == "programmed":
        return config.data
    return f"{config.data}, reward {reward_terms.describe_reward(reward)}"


def smoke_config(config: Config) -> Config:
    """Two rounds with a few steps in every stage."""
    replace = dataclasses.replace
    return replace(
        config,
        rounds=2,
        temperatures=config.temperatures[:1],
        eval_prompts=16,
        sft=replace(config.sft, steps=4, epochs=None, batch=8),
        collect=replace(config.collect, prompts=16, held_out_prompts=8, samples=2),
        reward_model=replace(config.reward_model, steps=2, epochs=None, batch=4),
        winners=replace(config.winners, prompts=32, held_out_prompts=16, samples=16),
        finetune=replace(config.finetune, steps=2, epochs=None, batch=8),
        dpo=replace(config.dpo, steps=2, epochs=None, batch=4),
        ppo=replace(config.ppo, steps=2, batch=8, minibatches=2),
    )


def run_rounds(
    config: Config, out: Path, reward: Reward = "programmed"
) -> dict[str, Path]:
    """Run all rounds of one seed.

    Args:
      reward: the reward that labels answers.

    Returns:
      Folders of policies by name: SFT, and two for each round.
    """
    begin_pipeline(
        config, out, extendable=("seeds", *rejection_sampling.RESUMABLE_FLAGS)
    )
    stage = stage_runner(config, out)
    stage("sft", sft_stage.main, model=config.model, data=config.data)
    latest = out / "sft" / "policy"
    policies = {"SFT": latest}
    for i in range(config.rounds):
        finetuned, latest = run_round(config, out, i, latest, reward)
        policies[f"round {i + 1}, winners"] = finetuned
        policies[f"round {i + 1}, {config.method.upper()}"] = latest
    return policies


def run_round(
    config: Config, out: Path, i: int, latest: Path, reward: Reward
) -> tuple[Path, Path]:
    """Run a round: collect, train the reward model, finetune on winners, DPO or PPO.

    Args:
      i: of the round, from 0.
      latest: the folder of the policy that the round starts from.
      reward: the reward that labels answers.

    Returns:
      The folders of the policy after finetuning, and after DPO or PPO.
    """
    folder = round_folder(out, i)
    stage = stage_runner(config, folder)
    selects = reward
    if config.select_by == "reward_model" or config.method == "dpo":
        collect_main, named = reward_terms.with_reward(collect_stage.main, reward)
        stage(
            "collect",
            collect_main,
            model=str(latest),
            data=config.data,
            first_prompt=i * config.collect.prompts,
            study_round=i if config.label == "people" else 0,
            **named,
        )
    if config.select_by == "reward_model":
        of_people = config.label == "people"  # who judge pairs
        name = "collect/preferences" if of_people else "collect/rankings"
        collected = jsonl.round_folders(out, i, name, config.reward_data)
        rankings = jsonl.gather(collected, folder / "rankings")
        stage("reward_model", reward_stage.main, model=str(latest), data=str(rankings))
        selects = str(folder / "reward_model" / "reward")
    first = out / "sft" / "policy"
    finetuned = rejection_sampling.finetune_on_winners(
        config, out, i, first, latest, selects
    )
    model = str(finetuned)
    if config.method == "dpo":
        collected = jsonl.round_folders(out, i, "collect/preferences", config.dpo_data)
        pairs = jsonl.gather(collected, folder / "preferences")
        stage("dpo", dpo_stage.main, model=model, data=str(pairs))
    else:
        ppo_main, named = reward_terms.with_reward(ppo_stage.main, selects)
        stage("ppo", ppo_main, model=model, data=config.data, **named)
    return finetuned, folder / config.method / "policy"


def evaluate(
    config: Config,
    policies: dict[str, Path],
    out: Path,
    reward: Reward = "programmed",
) -> dict[str, Evaluation]:
    """Evaluate all policies on the same held-out prompts; writes samples.md.

    Args:
      policies: folders by name.
      reward: the reward that labels answers.
    """
    source = datasets.load(config)
    last_model = round_folder(out, config.rounds - 1) / "reward_model" / "reward"
    held_out_eval = held_out.make_held_out_eval(
        config,
        source,
        out / "sft" / "policy",
        config.eval_prompts,
        max_new_tokens=config.winners.max_new_tokens,
        reward=last_model if config.select_by == "reward_model" else None,
        true_reward=None if reward == "programmed" else reward,
    )
    evaluations = {}
    with jax.set_mesh(mesh_of(config)):
        for name, folder in policies.items():
            policy = held_out.load(config, source, folder)
            temperature = config.temperature_for(training_temperature(config, name))
            evaluations[name] = held_out_eval.evaluate(policy, temperature=temperature)
    last_of_rounds = {name: evaluations[name] for name in list(evaluations)[::2]}
    held_out_tables.write_answers(out, held_out_eval.prompts, last_of_rounds)
    return evaluations


def training_temperature(config: Config, name: str) -> float:
    """The temperature of PPO's rollouts; 1 for policies trained on given answers."""
    return config.ppo.temperature if name.endswith(", PPO") else 1.0


if __name__ == "__main__":
    launch(main, Config)
