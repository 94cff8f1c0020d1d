"""The whole RLHF pipeline with one command, from text to an aligned model.

    SFT -> preferences -> reward model -> {best-of-n, DPO, PPO} -> one table

On the embedded default (the toy world, a small transformer trained from nothing) it
took 6.3 and 6.5 minutes of CPU time (two seeds), and each of best-of-n, DPO and PPO has
a higher true reward than SFT, outside its 95 % interval. With several seeds intervals
are Student's t, over seeds and prompts; with one they are over prompts, of its models
alone. Each policy is measured at the temperature that it was trained at, or all at
--eval-temperature; a column of the table states it.

    python -m experiments.rlhf
    python -m experiments.rlhf --seeds 3
    python -m experiments.rlhf --data hh-rlhf --data-path FOLDER
    python -m experiments.rlhf --data stories --data-path FILE --model FOLDER

Data sets of preferences (hh-rlhf, files) train DPO and the reward model directly; for a
data set with a rule-based reward, answers of the SFT model are sampled and labeled by
it. Writes OUT/table.md, reward_kl.png and samples.md beside a folder for each stage;
each stage can also be run by itself. `--resume` continues a stopped run with the same
flags: those of a stage that has begun are compared with its folder's.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, TypeVar

import jax

from experiments import collect as collect_stage
from experiments import dpo as dpo_stage
from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from jaxalign.evaluation import plots
from jaxalign.pipeline import datasets, held_out, held_out_tables, reward_models
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import distributed, tables
from jaxalign.runtime.cli import launch
from jaxalign.runtime.config import EvalConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.run_folder import folder_of
from jaxalign.runtime.split_flags import SplitFlags
from jaxalign.runtime.stages import begin_pipeline, configs_by_seed, stage_runner

# Flags that a resumed run may change: more seeds, and flags of the evaluation, which is
# computed again.
RESUMABLE_FLAGS = ("seeds", "eval_prompts", "eval_temperature", "best_of", "split_by")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig(SplitFlags, EvalConfig):
    """Flags of the first stages, of DPO, PPO and best-of-n, and of the evaluation."""

    EXPERIMENT: ClassVar[str] = "rlhf"
    seeds: int = 1
    """Number of runs, of seeds --seed, --seed + 1, ...; the table is over all."""
    smoke: bool = False
    """A few steps of every stage, to see that it runs."""
    best_of: int = 16
    """Answers to each prompt for best-of-n."""
    sft: sft_stage.Config = sft_stage.Config()
    collect: collect_stage.Config = collect_stage.Config(
        annotators=25, label_temperature=1.5
    )
    reward_model: reward_stage.Config = reward_stage.Config(batch=16)
    dpo: dpo_stage.Config = dpo_stage.Config()
    ppo: ppo_stage.Config = ppo_stage.Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PipelineConfig):
    """The whole pipeline; flags of stages are --sft.steps, --ppo.beta, ..."""

    ppo_reward: Literal["learned", "programmed"] = "learned"
    """PPO's reward: the reward model, or the data set's rule-based reward."""


PipelineConfigType = TypeVar("PipelineConfigType", bound=PipelineConfig)


class StartingPoint(NamedTuple):
    """Outputs of the first stages, from which every method starts.

    Attributes:
      policy: the folder of the SFT policy.
      pairs: preferences for DPO, as a value of `--data`.
      reward: the folder of the reward model.
    """

    policy: Path
    pairs: str
    reward: Path


def main(config: Config) -> list[held_out_tables.Row]:
    """Runs the pipeline for every seed; returns the rows of the table over all."""
    config = smoke_config(config) if config.smoke else config
    config.temperature_for(config.ppo.temperature)  # refused before anything is trained
    out = folder_of(config, "rlhf")
    seeds: list[dict[str, Evaluation]] = []
    agreements: list[held_out_tables.Row] = []
    for seed_config in configs_by_seed(config, out):
        seeds.append(run_pipeline(seed_config, seed_config.out))
        agreements += reward_model_agreement(seed_config, seed_config.out)
    named_tables = held_out_tables.titled_tables(config.data, seeds)
    rows = next(iter(named_tables.values()))
    if agreements:
        title = "each reward model on held-out preferences; over prompts"
        named_tables[title] = agreements
    tables.publish(out, named_tables)
    points = {
        method: [held_out_tables.reward_kl_point([seed], method) for seed in seeds]
        for method in seeds[0]
    }
    reward_name = held_out_tables.reward_name(seeds)
    plots.plot_reward_kl(out / "reward_kl.png", points, reward=reward_name)
    distributed.print_line(f"table, plot and answers are in {out}")
    return rows


def smoke_config(config: PipelineConfigType) -> PipelineConfigType:
    """The same pipeline with a few steps in every stage."""
    replace = dataclasses.replace
    return replace(
        config,
        eval_prompts=16,
        best_of=2,
        sft=replace(config.sft, steps=4, epochs=None, batch=8),
        collect=replace(config.collect, prompts=16, held_out_prompts=8, samples=2),
        reward_model=replace(config.reward_model, steps=2, epochs=None, batch=4),
        dpo=replace(config.dpo, steps=2, epochs=None, batch=4),
        ppo=replace(config.ppo, steps=2, batch=8, minibatches=2),
    )


def run_pipeline(config: Config, out: Path) -> dict[str, Evaluation]:
    """Run every stage of one seed in a folder of its own, and evaluate all policies.

    Returns:
      Evaluations by method, SFT first.
    """
    begin_pipeline(config, out, extendable=RESUMABLE_FLAGS)
    source = datasets.load(config)
    start = run_first_stages(config, source, out)
    stage = stage_runner(config, out)
    policy = str(start.policy)
    stage("dpo", dpo_stage.main, model=policy, data=start.pairs)
    reward = str(start.reward) if config.ppo_reward == "learned" else "programmed"
    stage("ppo", ppo_stage.main, model=policy, data=config.data, reward=reward)
    with jax.set_mesh(mesh_of(config)):
        return evaluate(config, source, out)


def run_first_stages(
    config: PipelineConfig, source: datasets.Dataset, out: Path
) -> StartingPoint:
    """Run SFT, collect preferences and train the reward model, in folders of OUT.

    Raises:
      ValueError: nothing is held out, before anything is trained.
    """
    datasets.check_held_out(source.prompts()[1], "the evaluation")
    held_out.check_split(config.split_by, source)
    stage = stage_runner(config, out)
    stage("sft", sft_stage.main, model=config.model, data=config.data)
    policy = out / "sft" / "policy"
    pairs = rankings = config.data
    if source.reward is not None:
        stage("collect", collect_stage.main, model=str(policy), data=config.data)
        pairs = str(out / "collect" / "preferences")
        rankings = str(out / "collect" / "rankings")
    stage("reward_model", reward_stage.main, model=str(policy), data=rankings)
    return StartingPoint(policy, pairs, out / "reward_model" / "reward")


def evaluate(
    config: Config, source: datasets.Dataset, out: Path
) -> dict[str, Evaluation]:
    """Evaluate all methods on the same held-out prompts; writes samples.md.

    Returns:
      Evaluations by method, SFT first.
    """
    held_out_eval = held_out.make_held_out_eval(
        config,
        source,
        out / "sft" / "policy",
        config.eval_prompts,
        max_new_tokens=config.ppo.max_new_tokens,
        reward=out / "reward_model" / "reward",
    )
    base, n = held_out_eval.base, config.best_of
    temperature = config.temperature_for()
    samples = held_out_eval.evaluate(base, n, temperature=temperature)
    evaluations = {
        "SFT": held_out_eval.evaluate(base, temperature=temperature),
        f"best-of-{n}": held_out.best_of(samples, n),
    }
    for name, trained_at in (("dpo", 1.0), ("ppo", config.ppo.temperature)):
        policy = held_out.load(config, source, out / name / "policy")
        evaluations[name.upper()] = held_out_eval.evaluate(
            policy, temperature=config.temperature_for(trained_at)
        )
    held_out_tables.write_answers(out, held_out_eval.prompts, evaluations)
    return evaluations


def reward_model_agreement(config: Config, out: Path) -> list[held_out_tables.Row]:
    """The reward model's accuracy on collected held-out preferences: a row, or none."""
    held_out_pairs = out / "collect" / "preferences" / "test.jsonl"
    if not held_out_pairs.exists():
        return []
    row = reward_models.held_out_agreement(
        config,
        held_out_pairs,
        out / "reward_model" / "reward",
        config.reward_model.batch,
    )
    return [{"seed": config.seed} | row]


if __name__ == "__main__":
    launch(main, Config)
