"""All alignment methods from the same start: a table, and reward against KL.

    SFT -> preferences -> reward model -> each of --methods, by itself

For each seed every method starts from the same SFT policy. Best-of-n, rejection
sampling (RAFT), online DPO, PPO and the group methods maximize the same reward model;
DPO trains on the preferences from which it was learned. All policies answer the same
held-out prompts with the same random key.

    python -m experiments.methods
    python -m experiments.methods --seeds 1 --methods ppo grpo rloo
    python -m experiments.methods --ppo.steps 60 --grpo.learning-rate 1e-4

Each group method has its paper's KL term and clip range (`training.group_methods`),
unless --grpo.beta gives all of them one beta; a second table lists them.

Writes OUT/table.md, table.json and table.csv, with 95 % intervals over seeds (Student's
t) and prompts, with one seed over prompts alone; gains are paired by prompt (▲ or ▼:
the interval lies above or below 0). Each method is measured at the temperature that it
was trained at, or all at --eval-temperature, as a column states. reward_kl.png has a
mark for each method and a line through best-of-n for n = 1, 2, 4, .... OUT/seed-0/, ...
have a folder for each stage, and samples.md. A method's evaluation stays in its folder:
`--resume` runs no finished stage again, and more of --methods or --seeds add to the
table. A stage that finished with other flags is refused, an evaluation with other
settings is computed again.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

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
from jaxalign.runtime import distributed, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.stages import (
    begin_pipeline,
    configs_by_seed,
    stage_config,
    stage_runner,
)
from jaxalign.training import group_methods

# Names of the methods in tables.
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
    """All methods; flags are --ppo.beta, --grpo.steps (of all group methods), ..."""

    seeds: int = 5
    methods: tuple[str, ...] = tuple(NAMES)
    """Names of the methods."""
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
    samples, seeds = [], []
    for seed_config in configs_by_seed(config, out):
        best_of_samples, evaluations = run_methods(seed_config, seed_config.out)
        samples.append(best_of_samples)
        seeds.append(evaluations)
    named_tables = held_out_tables.titled_tables(config.data, seeds)
    rows = next(iter(named_tables.values()))
    if settings := hyperparameters(config):
        title = "hyperparameters of the group methods, by default their papers'"
        named_tables[title] = settings
    tables.publish(out, named_tables)
    plot(out, seeds, [x for x in samples if x is not None], config.best_of)
    distributed.print_line(f"table and plot are in {out}")
    return rows


def hyperparameters(config: Config) -> list[held_out_tables.Row]:
    """Rows of KL term, beta and clip range of each group method, with their source."""
    rows = []
    for name in dict.fromkeys(config.methods):
        if name in group_methods.METHODS:
            method = group_methods.get_method(name)
            values = method.hyperparameters(config.grpo.beta)
            numbers = {k: f"{v:g}" for k, v in values.items() if k != "kl_term"}
            row = {"method": NAMES[name], "KL": values["kl_term"], **numbers}
            rows.append(row | {"source of the defaults": method.source})
    return rows


def smoke_config(config: Config) -> Config:
    """The same methods with a few steps each."""
    replace, raft = dataclasses.replace, config.rejection_sampling
    return replace(
        rlhf.smoke_config(config),
        seeds=min(config.seeds, 2),
        rejection_sampling=replace(
            raft,
            rounds=1,
            winners=replace(raft.winners, prompts=32, held_out_prompts=16, samples=16),
            finetune=replace(raft.finetune, steps=2, epochs=None, batch=8),
        ),
        online_dpo=replace(config.online_dpo, steps=2, prompts=4),
        grpo=replace(config.grpo, steps=2, prompts=4, samples=2),
    )


def check(config: Config) -> None:
    """Refuse bad flags before anything is computed.

    Raises:
      ValueError: an unknown method, with similar names, or bad flags of a method.
    """
    for name in config.methods:
        if name not in NAMES:
            raise messages.unknown_name("method", name, NAMES)
        config.temperature_for(training_temperature(config, name))
    if not config.methods:
        raise ValueError("--methods is empty: expected at least one method")
    raft = config.rejection_sampling
    round_schedule.round_temperatures(raft.temperatures, raft.rounds)
    loss = loss_flags.configured_loss(config.online_dpo)
    online_dpo_stage.check(config.online_dpo, loss)
    ppo_stage.check(config.ppo)
    for name in set(config.methods) & set(group_methods.METHODS):
        grpo_stage.check(config.grpo, group_methods.get_method(name))


def run_methods(
    config: Config, out: Path
) -> tuple[Evaluation | None, dict[str, Evaluation]]:
    """Run the first stages and every method of one seed; writes samples.md.

    Returns:
      The evaluation of all `--best-of` answers to each prompt, None without best-of-n;
      and evaluations by method, SFT first.
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
    samples = None
    sft = evaluate_method(config, held_out_eval, start.policy, out / "sft")
    evaluations = {"SFT": sft}
    for name in dict.fromkeys(config.methods):
        if name == "best_of_n":
            n = config.best_of
            samples = evaluate_method(
                config, held_out_eval, start.policy, out / name, samples=n
            )
            evaluations[f"best-of-{n}"] = held_out.best_of(samples, n)
        else:
            policy = train_method(config, name, start, out)
            temperature = training_temperature(config, name)
            evaluations[NAMES[name]] = evaluate_method(
                config, held_out_eval, policy, out / name, temperature
            )
    held_out_tables.write_answers(out, held_out_eval.prompts, evaluations)
    return samples, evaluations


def train_method(
    config: Config, name: str, start: rlhf.StartingPoint, out: Path
) -> Path:
    """Train by a method, unless it has finished; returns the folder of its policy."""
    stage = stage_runner(config, out)
    policy = str(start.policy)
    online = {"model": policy, "data": config.data, "reward": str(start.reward)}
    if name == "rejection_sampling":
        rounds = stage_config(config, name, out / name, resume=config.resume, **online)
        return list(rejection_stage.run_rounds(rounds, out / name).values())[-1]
    if name == "dpo":
        stage(name, dpo_stage.main, model=policy, data=start.pairs)
    elif name in group_methods.METHODS:
        stage(name, grpo_stage.main, flags="grpo", method=name, **online)
    else:
        main = {"online_dpo": online_dpo_stage.main, "ppo": ppo_stage.main}[name]
        stage(name, main, **online)
    return out / name / "policy"


def training_temperature(config: Config, name: str) -> float:
    """The temperature of a method's rollouts; 1 for methods without rollouts.

    Rejection sampling finetunes on its winners, like SFT, at temperature 1.
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
    """Evaluate a policy, or read its evaluation from FOLDER/evaluated.json.

    An evaluation of another policy, at another temperature or with other settings is
    computed again.

    Args:
      trained_at: the sampling temperature that the policy was trained at.
      samples: answers to each prompt.
    """
    temperature = config.temperature_for(trained_at)

    def evaluate() -> Evaluation:
        source = datasets.load(config)
        with jax.set_mesh(mesh_of(config)):
            loaded = held_out.load(config, source, policy)
            return held_out_eval.evaluate(loaded, samples, temperature=temperature)

    settings = evaluation_cache.evaluation_settings(
        held_out_eval,
        policy,
        start=folder.parent,
        seed=config.seed,
        samples=samples,
        temperature=temperature,
    )
    return evaluation_cache.cached_evaluation(
        folder / "evaluated.json", settings, evaluate, resume=config.resume
    )


def plot(
    out: Path, seeds: held_out_tables.Seeds, samples: Sequence[Evaluation], n: int
) -> None:
    """Plot reward against KL to reward_kl.png: methods, and a line through best-of-n.

    Args:
      seeds: evaluations by method, of each seed.
      samples: of each seed, n answers to each prompt; empty without best-of-n.
    """
    points = {
        method: [held_out_tables.reward_kl_point(seeds, method)] for method in seeds[0]
    }
    if samples:
        del points[f"best-of-{n}"]
        points["best-of-n"] = held_out_tables.best_of_line(samples, n)
    plots.plot_reward_kl(
        out / "reward_kl.png",
        points,
        reward=held_out_tables.reward_name(seeds),
        joined_by=f"larger n, to {n}" if samples else "",
    )


if __name__ == "__main__":
    launch(main, Config)
