"""The main job: the whole road, from text to an aligned model, with one command.

    SFT -> preferences -> reward model -> {best-of-n, DPO, PPO} -> one table

On the embedded default (the toy world, a small transformer trained from nothing) this
took 6.3 and 6.5 minutes of CPU time (two seeds), and each of best-of-n, DPO and PPO
beats SFT in the world's true reward, outside its 95 % interval. Of several seeds
intervals are Student's t, over seeds and prompts; of one they are over prompts, of its
models alone. Each policy is measured at the temperature that it was trained at, or all
at --eval-temperature; the table says which.

    python -m experiments.rlhf
    python -m experiments.rlhf --seeds 3
    python -m experiments.rlhf --data hh-rlhf --data-path FOLDER
    python -m experiments.rlhf --data stories --data-path FILE --model FOLDER

Where preferences come with the data (hh-rlhf, files) they are used; where the data has
a programmed reward instead, the SFT model's own answers are sampled and labelled by it.
Writes OUT/table.md, reward_kl.png and samples.md beside a folder for each stage; each
stage can be run by itself, too. `--resume` goes on where a run was stopped, with the
flags that it had: those of a stage that has begun are compared with its folder's.
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
from jaxalign.runtime.stages import begin_pipeline, configs_by_seed, stage_runner

# Flags that a resumed run may change: more seeds, and what is evaluated anew each time.
RESUMABLE_FLAGS = ("seeds", "eval_prompts", "eval_temperature", "best_of")


@dataclasses.dataclass(frozen=True, kw_only=True)
class PipelineConfig(EvalConfig):
    """Flags of what methods start from, of two of them, and of their evaluation."""

    EXPERIMENT: ClassVar[str] = "rlhf"
    seeds: int = 1
    """How many runs, of seeds --seed, --seed + 1, ...; the table is over them all."""
    smoke: bool = False
    """A few steps of everything, to see that it runs."""
    best_of: int = 16
    """Answers a prompt for best-of-n."""
    sft: sft_stage.Config = sft_stage.Config()
    collect: collect_stage.Config = collect_stage.Config(
        annotators=25, label_temperature=1.5
    )
    reward_model: reward_stage.Config = reward_stage.Config(batch=16)
    dpo: dpo_stage.Config = dpo_stage.Config()
    ppo: ppo_stage.Config = ppo_stage.Config()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PipelineConfig):
    """The whole road; each stage's own flags are --sft.steps, --ppo.beta, ..."""

    ppo_reward: Literal["learned", "programmed"] = "learned"
    """What PPO maximises: the reward model, or what the annotator goes by."""


PipelineConfigType = TypeVar("PipelineConfigType", bound=PipelineConfig)


class StartingPoint(NamedTuple):
    """What methods start from.

    Attributes:
      policy: the folder of the SFT model.
      pairs: what DPO learns from, as `--data` reads it.
      reward: the folder of the reward model.
    """

    policy: Path
    pairs: str
    reward: Path


def main(config: Config) -> list[held_out_tables.Row]:
    """Runs every seed, and returns the rows of the table over all of them."""
    config = smoke_config(config) if config.smoke else config
    config.temperature_for(config.ppo.temperature)  # or an error at once
    out = folder_of(config, "rlhf")
    found: list[dict[str, Evaluation]] = []
    programmed: list[held_out_tables.Row] = []
    for one in configs_by_seed(config, out):
        found.append(run_pipeline(one, one.out))
        held = one.out / "collect" / "preferences" / "test.jsonl"
        if held.exists():
            reward = one.out / "reward_model" / "reward"
            row = reward_models.held_out_agreement(
                one, held, reward, one.reward_model.batch
            )
            programmed.append({"seed": one.seed} | row)
    rows = held_out_tables.table(found)
    shown = {held_out_tables.title(config.data, found): rows}
    if programmed:
        shown["each reward model on held-out preferences; over prompts"] = programmed
    tables.publish(out, shown)
    points = {
        method: [held_out_tables.reward_kl_point([each], method) for each in found]
        for method in found[0]
    }
    name = held_out_tables.reward_name(found)
    plots.plot_reward_kl(out / "reward_kl.png", points, reward=name)
    distributed.print_line(f"table, plot and answers are in {out}")
    return rows


def smoke_config(config: PipelineConfigType) -> PipelineConfigType:
    """The same road with next to no steps."""
    few = dataclasses.replace
    return few(
        config,
        eval_prompts=16,
        best_of=2,
        sft=few(config.sft, steps=4, epochs=None, batch=8),
        collect=few(config.collect, prompts=16, held_out_prompts=8, samples=2),
        reward_model=few(config.reward_model, steps=2, epochs=None, batch=4),
        dpo=few(config.dpo, steps=2, epochs=None, batch=4),
        ppo=few(config.ppo, steps=2, batch=8, minibatches=2),
    )


def run_first_stages(
    config: PipelineConfig, source: datasets.Dataset, out: Path
) -> StartingPoint:
    """The SFT model, preferences, and the reward model, each stage in its folder.

    Raises:
      ValueError: nothing is held out, which is said before anything is trained.
    """
    datasets.check_held_out(source.prompts()[1], "the evaluation")
    stage = stage_runner(config, out)
    stage("sft", sft_stage.main, model=config.model, data=config.data)
    base = out / "sft" / "policy"
    pairs = rankings = config.data
    if source.reward is not None:
        stage("collect", collect_stage.main, model=str(base), data=config.data)
        pairs = str(out / "collect" / "preferences")
        rankings = str(out / "collect" / "rankings")
    stage("reward_model", reward_stage.main, model=str(base), data=rankings)
    return StartingPoint(base, pairs, out / "reward_model" / "reward")


def run_pipeline(config: Config, out: Path) -> dict[str, Evaluation]:
    """One seed: every stage in a folder of its own, then the evaluation."""
    begin_pipeline(config, out, extendable=RESUMABLE_FLAGS)
    source = datasets.load(config)
    base, pairs, learned = run_first_stages(config, source, out)
    stage = stage_runner(config, out)
    stage("dpo", dpo_stage.main, model=str(base), data=pairs)
    scorer = str(learned) if config.ppo_reward == "learned" else "programmed"
    stage("ppo", ppo_stage.main, model=str(base), data=config.data, reward=scorer)
    with jax.set_mesh(mesh_of(config)):
        return evaluate(config, source, out)


def evaluate(
    config: Config, source: datasets.Dataset, out: Path
) -> dict[str, Evaluation]:
    """Every method's answers to the same held-out prompts, with the same noise."""
    held_out_eval = held_out.make_held_out_eval(
        config,
        source,
        out / "sft" / "policy",
        config.eval_prompts,
        max_new_tokens=config.ppo.max_new_tokens,
        reward=out / "reward_model" / "reward",
    )
    start = config.temperature_for()
    many = held_out_eval.evaluate(held_out_eval.base, config.best_of, temperature=start)
    found = {
        "SFT": held_out_eval.evaluate(held_out_eval.base, temperature=start),
        f"best-of-{config.best_of}": held_out.best_of(many, config.best_of),
    }
    for name, trained_at in (("dpo", 1.0), ("ppo", config.ppo.temperature)):
        policy = held_out.load(config, source, out / name / "policy")
        temperature = config.temperature_for(trained_at)
        found[name.upper()] = held_out_eval.evaluate(policy, temperature=temperature)
    texts = {name: each.texts for name, each in found.items()}
    tables.write_answers(out, [p.messages for p in held_out_eval.prompts], texts)
    return found


if __name__ == "__main__":
    launch(main, Config)
