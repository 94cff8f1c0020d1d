"""Iterated rounds, as Llama 2 and Llama 3 were aligned: each begins where one ended.

    SFT -> {sample -> label -> reward model -> rejection sampling -> SFT -> DPO} x k

In every round the latest policy answers new prompts, which the programmed annotators
label; a reward model, begun from that policy, learns from the preferences of all rounds
so far (Llama 2: Touvron et al. 2023, arXiv:2307.09288, section 3.2); the best by it of
the policy's answers are imitated, beside the winners of all rounds before (section
3.2.3); and DPO learns from the newest preferences alone (Llama 3: Grattafiori et al.
2024, arXiv:2407.21783, section 4.1, which has six such rounds). DPO's reference is the
policy that it starts from: the round's own, after imitation. With --method ppo, PPO
against the round's reward model takes DPO's place, as in Llama 2's last rounds, held
near the same policy.

    python -m experiments.rounds
    python -m experiments.rounds --rounds 3 --method ppo --temperatures 1.0 1.1 1.2
    python -m experiments.rounds --data stories --data-path FILE --model FOLDER

Each stage has a folder, OUT/sft and OUT/round-1/collect, reward_model, winners, ...,
and is run by its own module; --resume leaves what is finished alone, and with more
--rounds goes farther. Writes table.md, reward_kl.png and samples.md over the rounds:
gains and KL are against the SFT policy of before all rounds, RM scores are by the last
round's reward model; PPO's policies are measured at its temperature, the others at 1,
or all at --eval-temperature.

The default's six rounds take some thirteen minutes after SFT on two CPU cores. Labels
grow harder to foresee as answers improve: the table of the reward models has the best
accuracy there is (Bayes) beside each one's.
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
    reward_models,
    round_schedule,
)
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import distributed, jsonl, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.jsonl import round_folder
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.stages import begin_pipeline, configs_by_seed, stage_runner


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(rejection_sampling.RoundsConfig):
    """All rounds; each stage's own flags are --collect.prompts, --dpo.beta, ..."""

    EXPERIMENT: ClassVar[str] = "rounds"
    rounds: int = 6
    seeds: int = 1
    """How many runs, of seeds --seed, --seed + 1, ...; the table is over them all."""
    smoke: bool = False
    """Two rounds with a few steps of everything, to see that it runs."""
    method: Literal["dpo", "ppo"] = "dpo"
    """What ends a round."""
    reward_data: jsonl.RoundSelection = "all"
    """What the reward model learns from: preferences of all rounds, or the newest."""
    dpo_data: jsonl.RoundSelection = "newest"
    """The same for DPO."""
    sft: sft_stage.Config = sft_stage.Config()
    collect: collect_stage.Config = collect_stage.Config(
        prompts=512, held_out_prompts=256, annotators=25, label_temperature=1.5
    )
    reward_model: reward_stage.Config = reward_stage.Config(batch=16)
    winners: winners_stage.Config = winners_stage.Config(prompts=256)
    dpo: dpo_stage.Config = dpo_stage.Config()
    ppo: ppo_stage.Config = ppo_stage.Config(steps=10)


def main(config: Config) -> list[held_out_tables.Row]:
    """Runs every seed, and returns the rows of the table: SFT, and two a round."""
    config = smoke_config(config) if config.smoke else config
    round_schedule.round_temperatures(config.temperatures, config.rounds)
    config.temperature_for()
    datasets.load(config).require_reward()
    out = folder_of(config, "rounds")
    found: list[dict[str, Evaluation]] = []
    labelled: list[held_out_tables.Row] = []
    for one in configs_by_seed(config, out):
        found.append(evaluate(one, run_rounds(one, one.out), one.out))
        labelled += [{"seed": one.seed} | row for row in agreements(one, one.out)]
    rows = held_out_tables.table(found)
    shown = {
        held_out_tables.title(config.data, found): rows,
        "each round's reward model on its held-out preferences; over prompts": labelled,
    }
    tables.publish(out, shown)
    first, *rest = found[0]
    lines = {"rejection sampling": rest[::2], config.method.upper(): rest[1::2]}
    with_start = {first: [first]} | lines
    rejection_sampling.plot(out, with_start, found)
    distributed.print_line(f"table, plot and answers are in {out}")
    return rows


def smoke_config(config: Config) -> Config:
    """The same road with next to no steps."""
    few = dataclasses.replace
    return few(
        config,
        rounds=2,
        temperatures=config.temperatures[:1],
        eval_prompts=16,
        sft=few(config.sft, steps=4, epochs=None, batch=8),
        collect=few(config.collect, prompts=16, held_out_prompts=8, samples=2),
        reward_model=few(config.reward_model, steps=2, epochs=None, batch=4),
        winners=few(config.winners, prompts=32, held_out_prompts=16, samples=16),
        finetune=few(config.finetune, steps=2, epochs=None, batch=8),
        dpo=few(config.dpo, steps=2, epochs=None, batch=4),
        ppo=few(config.ppo, steps=2, batch=8, minibatches=2),
    )


def run_rounds(config: Config, out: Path) -> dict[str, Path]:
    """One seed: all rounds; the folders of the policies on the way, by name."""
    begin_pipeline(
        config, out, extendable=("seeds", *rejection_sampling.RESUMABLE_FLAGS)
    )
    stage = stage_runner(config, out)
    stage("sft", sft_stage.main, model=config.model, data=config.data)
    found = {"SFT": out / "sft" / "policy"}
    for i in range(config.rounds):
        imitated, aligned = run_round(config, out, i, list(found.values())[-1])
        found[f"round {i + 1}, winners"] = imitated
        found[f"round {i + 1}, {config.method.upper()}"] = aligned
    return found


def run_round(config: Config, out: Path, i: int, latest: Path) -> tuple[Path, Path]:
    """A round: its policy after imitation, and after DPO or PPO."""
    here = round_folder(out, i)
    stage = stage_runner(config, here)
    stage(
        "collect",
        collect_stage.main,
        model=str(latest),
        data=config.data,
        first_prompt=i * config.collect.prompts,
    )
    kept = jsonl.round_folders(out, i, "collect/rankings", config.reward_data)
    rankings = jsonl.gather(kept, here / "rankings")
    stage("reward_model", reward_stage.main, model=str(latest), data=str(rankings))
    reward = str(here / "reward_model" / "reward")
    first = out / "sft" / "policy"
    imitated = rejection_sampling.finetune_on_winners(
        config, out, i, first, latest, reward
    )
    if config.method == "dpo":
        newest = jsonl.round_folders(out, i, "collect/preferences", config.dpo_data)
        pairs = jsonl.gather(newest, here / "preferences")
        stage("dpo", dpo_stage.main, model=str(imitated), data=str(pairs))
    else:
        stage(
            "ppo", ppo_stage.main, model=str(imitated), data=config.data, reward=reward
        )
    return imitated, here / config.method / "policy"


def evaluate(
    config: Config, folders: dict[str, Path], out: Path
) -> dict[str, Evaluation]:
    """Every policy's answers to the same held-out prompts, with the same noise."""
    source = datasets.load(config)
    held_out_eval = held_out.make_held_out_eval(
        config,
        source,
        out / "sft" / "policy",
        config.eval_prompts,
        max_new_tokens=config.winners.max_new_tokens,
        reward=round_folder(out, config.rounds - 1) / "reward_model" / "reward",
    )
    found = {}
    with jax.set_mesh(mesh_of(config)):
        for name, folder in folders.items():
            policy = held_out.load(config, source, folder)
            temperature = config.temperature_for(sampling_temperature(config, name))
            found[name] = held_out_eval.evaluate(policy, temperature=temperature)
    texts = {name: found[name].texts for name in list(found)[::2]}
    tables.write_answers(out, [p.messages for p in held_out_eval.prompts], texts)
    return found


def sampling_temperature(config: Config, name: str) -> float:
    """The temperature of PPO's rollouts; 1 for what imitates, or learns from pairs."""
    return config.ppo.temperature if name.endswith(", PPO") else 1.0


def agreements(config: Config, out: Path) -> list[held_out_tables.Row]:
    """How well each round's reward model foresees labels of its policy's answers."""
    rows = []
    for i in range(config.rounds):
        here = round_folder(out, i)
        row = reward_models.held_out_agreement(
            config,
            here / "collect" / "preferences" / "test.jsonl",
            here / "reward_model" / "reward",
            config.reward_model.batch,
        )
        rows.append({"round": i + 1} | row)
    return rows


if __name__ == "__main__":
    launch(main, Config)
