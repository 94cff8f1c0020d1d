"""Every method of alignment from one start: a table, and reward against KL, over all.

    SFT -> preferences -> reward model -> each of --methods, by itself

For each seed every method starts from the same SFT policy and maximises, or learns
from, the same: best-of-n, rejection sampling (RAFT), online DPO, PPO and the group
methods the same reward model, DPO the same preferences. All answer the same held-out
prompts with the same noise.

    python -m experiments.methods
    python -m experiments.methods --seeds 1 --methods ppo grpo rloo
    python -m experiments.methods --ppo.steps 60 --grpo.learning-rate 1e-4

Each group method has its paper's KL and clip range (`training.group_methods`), unless
--grpo.beta gives all of them one beta; a second table says which they were.

Writes OUT/table.md, table.json and table.csv, with 95 % intervals over seeds (Student's
t) and prompts, of one seed over prompts alone; gains are paired by prompt (▲ or ▼: the
interval lies above or below 0). Each method is measured at the temperature that it was
trained at, or all at --eval-temperature, as a column says. And reward_kl.png, with a
mark a method and a line through best-of-n for n = 1, 2, 4, .... In OUT/seed-0/,
..., are a folder for each stage and samples.md. The answers of a method, and what they
are worth, stay in its folder: `--resume` runs nothing twice that has ended, and more of
--methods or --seeds add to the table. What ended with other flags is refused, what was
evaluated in another way is evaluated anew.
"""

import dataclasses
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from experiments import dpo as dpo_stage
from experiments import grpo as grpo_stage
from experiments import online_dpo as online_dpo_stage
from experiments import ppo as ppo_stage
from experiments import rejection_sampling as rejection_stage
from experiments import rlhf
from jaxalign import messages
from jaxalign.evaluation import plots
from jaxalign.pipeline import (
    datasets,
    evaluation_cache,
    held_out,
    held_out_tables,
    loss_flags,
    round_schedule,
)
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.pipeline.held_out_tables import best_of_line
from jaxalign.runtime import distributed, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.stages import (
    begin_pipeline,
    configs_by_seed,
    digest,
    stage_config,
    stage_runner,
)
from jaxalign.training import group_methods

# What tables call each method.
NAMES = {
    "best_of_n": "best-of-n",
    "rejection_sampling": "rejection sampling",
    "dpo": "DPO",
    "online_dpo": "online DPO",
    "ppo": "PPO",
    "grpo": "GRPO",
    "dr_grpo": "Dr. GRPO",
    "rloo": "RLOO",
    "reinforce_plus_plus": "REINFORCE++",
    "dapo": "DAPO",
    "gspo": "GSPO",
    "cispo": "CISPO",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(rlhf.PipelineConfig):
    """All methods; each one's own flags are --ppo.beta, --grpo.steps (of all group
    methods), ..."""

    seeds: int = 5
    methods: tuple[str, ...] = tuple(NAMES)
    """Which, by name."""
    rejection_sampling: rejection_stage.Config = rejection_stage.Config()
    online_dpo: online_dpo_stage.Config = online_dpo_stage.Config(
        minibatches=2, epochs=2
    )
    grpo: grpo_stage.Config = grpo_stage.Config(minibatches=2, epochs=2)


def main(config: Config) -> list[held_out_tables.Row]:
    """Runs every method of every seed; returns the rows of the table over all seeds."""
    config = smoke_config(config) if config.smoke else config
    check(config)
    out = folder_of(config, "methods")
    sampled, found = [], []
    for one in configs_by_seed(config, out):
        many, each = run_methods(one, one.out)
        sampled.append(many)
        found.append(each)
    rows = held_out_tables.table(found)
    shown = {held_out_tables.title(config.data, found): rows}
    if used := hyperparameters(config):
        shown["what each group method was run with, by default its paper's"] = used
    tables.publish(out, shown)
    draw(out, found, [many for many in sampled if many], config.best_of)
    distributed.print_line(f"table and plot are in {out}")
    return rows


def hyperparameters(config: Config) -> list[held_out_tables.Row]:
    """KL, beta and clip range of each group method, and where they come from."""
    rows = []
    for name in dict.fromkeys(config.methods):
        if name in group_methods.METHODS:
            method = group_methods.get_method(name)
            used = method.hyperparameters(config.grpo.beta)
            plain = {k: f"{v:g}" for k, v in used.items() if k != "kl_term"}
            row = {"method": NAMES[name], "KL": used["kl_term"], **plain}
            rows.append(row | {"source of the defaults": method.source})
    return rows


def smoke_config(config: Config) -> Config:
    """The same with next to no steps."""
    few, rejection = dataclasses.replace, config.rejection_sampling
    return few(
        rlhf.smoke_config(config),
        seeds=min(config.seeds, 2),
        rejection_sampling=few(
            rejection,
            rounds=1,
            winners=few(rejection.winners, prompts=32, held_out_prompts=16, samples=16),
            finetune=few(rejection.finetune, steps=2, epochs=None, batch=8),
        ),
        online_dpo=few(config.online_dpo, steps=2, prompts=4),
        grpo=few(config.grpo, steps=2, prompts=4, samples=2),
    )


def check(config: Config) -> None:
    """Refuses what cannot be, before anything is computed.

    Raises:
      ValueError: an unknown method, with the near ones, or a method's own reasons.
    """
    for name in config.methods:
        if name not in NAMES:
            raise messages.unknown_name("method", name, NAMES)
    for name in config.methods:
        config.temperature_for(sampling_temperature(config, name))
    if not config.methods:
        raise ValueError("--methods should be one at least")
    rejection = config.rejection_sampling
    round_schedule.round_temperatures(rejection.temperatures, rejection.rounds)
    loss = loss_flags.configured_loss(config.online_dpo)
    online_dpo_stage.check(config.online_dpo, loss)
    ppo_stage.check(config.ppo)
    for name in set(config.methods) & set(group_methods.METHODS):
        grpo_stage.check(config.grpo, group_methods.get_method(name))


def run_methods(
    config: Config, out: Path
) -> tuple[Evaluation | None, dict[str, Evaluation]]:
    """One seed: the start, then every method.

    Returns all answers of best-of-n, `--best-of` a prompt, and each method's.
    """
    begin_pipeline(config, out, extendable=("methods", *rlhf.RESUMABLE_FLAGS))
    source = datasets.load(config)
    start = rlhf.run_first_stages(config, source, out)
    held_out_eval = held_out.make_held_out_eval(
        config,
        source,
        start.policy,
        config.eval_prompts,
        max_new_tokens=config.ppo.max_new_tokens,
        reward=start.reward,
    )
    many = None
    found = {"SFT": evaluate_method(config, held_out_eval, start.policy, out / "sft")}
    for name in dict.fromkeys(config.methods):
        folder = out / name
        if name == "best_of_n":
            many = evaluate_method(
                config, held_out_eval, start.policy, folder, samples=config.best_of
            )
            best = held_out.best_of(many, config.best_of)
            found[f"best-of-{config.best_of}"] = best
        else:
            policy, at = (
                train_method(config, name, start, out),
                sampling_temperature(config, name),
            )
            found[NAMES[name]] = evaluate_method(
                config, held_out_eval, policy, folder, at
            )
    texts = {name: each.texts for name, each in found.items()}
    tables.write_answers(out, [p.messages for p in held_out_eval.prompts], texts)
    return many, found


def train_method(
    config: Config, name: str, start: rlhf.StartingPoint, out: Path
) -> Path:
    """Trains by a method, unless that has ended; the folder of its policy."""
    stage = stage_runner(config, out)
    online = {
        "model": str(start.policy),
        "data": config.data,
        "reward": str(start.reward),
    }
    if name == "rejection_sampling":
        rounds = stage_config(config, name, out / name, resume=config.resume, **online)
        return list(rejection_stage.run_rounds(rounds, out / name).values())[-1]
    if name == "dpo":
        stage(name, dpo_stage.main, model=str(start.policy), data=start.pairs)
    elif name in group_methods.METHODS:
        stage(name, grpo_stage.main, flags="grpo", method=name, **online)
    else:
        main = {"online_dpo": online_dpo_stage.main, "ppo": ppo_stage.main}[name]
        stage(name, main, **online)
    return out / name / "policy"


def sampling_temperature(config: Config, name: str) -> float:
    """The temperature of a method's rollouts; 1 for those that learn from given data.

    Rejection sampling finetunes on its winners: like SFT, at temperature 1.
    """
    if name in group_methods.METHODS:
        return config.grpo.temperature
    if name == "ppo":
        return config.ppo.temperature
    return config.online_dpo.temperature if name == "online_dpo" else 1.0


def evaluate_method(
    config: Config,
    held_out_eval: held_out.HeldOutEval,
    policy: Path,
    folder: Path,
    trained_at: float = 1.0,
    samples: int = 1,
) -> Evaluation:
    """A policy's evaluation, kept in FOLDER/evaluated.json.

    An evaluation of another policy, at another temperature or with other settings is
    made anew.

    Args:
      trained_at: the sampling temperature that the policy was trained at.
      samples: answers to a prompt.
    """
    temperature = config.temperature_for(trained_at)

    def evaluate() -> Evaluation:
        source = datasets.load(config)
        with jax.set_mesh(mesh_of(config)):
            loaded = held_out.load(config, source, policy)
            return held_out_eval.evaluate(loaded, samples, temperature=temperature)

    settings = settings_of(config, held_out_eval, policy, folder.parent, samples)
    return evaluation_cache.cached_evaluation(
        folder / "evaluated.json",
        settings | {"temperature": temperature},
        evaluate,
        resume=config.resume,
    )


def settings_of(
    config: Config,
    held_out_eval: held_out.HeldOutEval,
    policy: Path,
    out: Path,
    samples: int,
) -> dict[str, Any]:
    """What an evaluation depends on: the policy, the prompts, and the reward model."""
    asked = json.dumps([prompt.messages for prompt in held_out_eval.prompts])
    plain = {
        k: v for k, v in vars(held_out_eval).items() if isinstance(v, int | float | str)
    }
    return plain | {
        "seed": config.seed,
        "samples": samples,
        "prompts": zlib.crc32(asked.encode()),
        "policy": digest(policy),
        "base": digest(out / "sft" / "policy"),
        "reward": digest(out / "reward_model" / "reward"),
    }


def draw(
    out: Path,
    found: list[dict[str, Evaluation]],
    sampled: Sequence[Evaluation],
    samples: int,
) -> None:
    """Draws reward_kl.png: a mark a method, and a line through best-of-n."""
    points = {
        method: [held_out_tables.reward_kl_point(found, method)] for method in found[0]
    }
    if sampled:
        del points[f"best-of-{samples}"]
        points["best-of-n"] = best_of_line(sampled, samples)
    plots.plot_reward_kl(
        out / "reward_kl.png",
        points,
        reward=held_out_tables.reward_name(found),
        joined_by=f"larger n, to {samples}" if sampled else "",
    )


if __name__ == "__main__":
    launch(main, Config)
