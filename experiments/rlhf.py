"""The main job: the whole road, from text to an aligned model, with one command.

    SFT -> preferences -> reward model -> {best-of-n, DPO, PPO} -> one table

On the embedded default (the toy world, a small transformer trained from nothing) this
takes four to six minutes on a CPU with two cores, and shows: each of best-of-n, DPO and
PPO beats SFT in the world's true reward, outside its 95 % interval.

    python -m experiments.rlhf
    python -m experiments.rlhf --seeds 3
    python -m experiments.rlhf --data hh-rlhf --data-path FOLDER
    python -m experiments.rlhf --data stories --data-path FILE --model FOLDER

Where preferences come with the data (hh-rlhf, files) they are used; where the data has
a programmed reward instead, the SFT model's own answers are sampled and labelled by it.
Writes OUT/table.md, reward_kl.png and samples.md beside a folder for each stage; each
stage can be run by itself, too. `--resume` goes on where a run was stopped.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import rich

from experiments import collect as collect_stage
from experiments import dpo as dpo_stage
from experiments import evaluating, policies, rollouts, sources
from experiments import ppo as ppo_stage
from experiments import reward_model as reward_stage
from experiments import sft as sft_stage
from experiments.config import Shared, folder_of, launch, mesh_of
from experiments.evaluating import Evaluated
from experiments.stages import stages
from jaxalign.data import formats, loader
from jaxalign.data.records import Preference, Prompt
from jaxalign.evaluation import plots, preference, report
from jaxalign.evaluation.intervals import Interval, bootstrap


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Shared):
    """The whole road; each stage's own flags are --sft.steps, --ppo.beta, ..."""

    seeds: int = 1
    """How many runs, of seeds --seed, --seed + 1, ...; the table is over them all."""
    smoke: bool = False
    """A few steps of everything, to see that it runs."""
    eval_prompts: int = 256
    """Held-out prompts that every model answers."""
    best_of: int = 16
    """Answers a prompt for best-of-n."""
    ppo_reward: Literal["learned", "programmed"] = "learned"
    """What PPO maximises: the reward model, or what the annotator goes by."""
    sft: sft_stage.Config = sft_stage.Config()
    collect: collect_stage.Config = collect_stage.Config(
        annotators=25, label_temperature=1.5
    )
    reward_model: reward_stage.Config = reward_stage.Config(
        batch=16, epochs=5, learning_rate=1e-3
    )
    dpo: dpo_stage.Config = dpo_stage.Config()
    ppo: ppo_stage.Config = ppo_stage.Config()


def main(config: Config) -> list[dict[str, Any]]:
    """Runs every seed, and returns the rows of the table over all of them."""
    config = smoked(config) if config.smoke else config
    out = folder_of(config, "rlhf")
    found: list[dict[str, Evaluated]] = []
    programmed: list[dict[str, Any]] = []
    for seed in range(config.seed, config.seed + config.seeds):
        folder = out if config.seeds == 1 else out / f"seed-{seed}"
        one = dataclasses.replace(config, seed=seed, out=folder)
        found.append(road(one, folder))
        if (folder / "collect").exists():
            programmed.append(agreement(one, folder))
    name = "true reward" if "due" in found[0]["SFT"].judged else "reward"
    rows = evaluating.table(found, name)
    report.show(rows, f"{config.data}, {config.seeds} seed(s)")
    if programmed:
        report.show(programmed, "the reward model on held-out preferences")
    out.mkdir(parents=True, exist_ok=True)
    text = report.markdown(rows)
    text += f"\n{report.markdown(programmed)}" if programmed else ""
    (out / "table.md").write_text(text)
    numbers(rows, out / "table.json")
    points = {
        method: [
            (float(each[method].kl.mean()), bootstrap(each[method].reward))
            for each in found
        ]
        for method in found[0]
    }
    plots.plot_reward_kl(out / "reward_kl.png", points, reward=name)
    rich.print(f"table, plot and answers are in [bold]{out}[/bold]")
    return rows


def smoked(config: Config) -> Config:
    """The same road with next to no steps."""
    few = dataclasses.replace
    return few(
        config,
        eval_prompts=16,
        best_of=2,
        sft=few(config.sft, steps=4, batch=8),
        collect=few(config.collect, prompts=16, held_out=8, samples=2),
        reward_model=few(config.reward_model, steps=2, batch=4),
        dpo=few(config.dpo, steps=2, batch=4),
        ppo=few(config.ppo, steps=2, batch=8, minibatches=2),
    )


def road(config: Config, out: Path) -> dict[str, Evaluated]:
    """One seed: every stage in a folder of its own, then the evaluation."""
    source = sources.load(config)
    stage = stages(config, out)
    stage("sft", sft_stage.main, model=config.model, data=config.data)
    base = str(out / "sft" / "policy")
    pairs = rankings = config.data
    if source.judge is not None:
        stage("collect", collect_stage.main, model=base, data=config.data)
        pairs = str(out / "collect" / "preferences")
        rankings = str(out / "collect" / "rankings")
    stage("reward_model", reward_stage.main, model=base, data=rankings)
    stage("dpo", dpo_stage.main, model=base, data=pairs)
    learned = config.ppo_reward == "learned"
    scorer = str(out / "reward_model" / "reward") if learned else "programmed"
    stage("ppo", ppo_stage.main, model=base, data=config.data, reward=scorer)
    with jax.set_mesh(mesh_of(config)):
        return evaluate(config, source, out)


def evaluate(config: Config, source: sources.Source, out: Path) -> dict[str, Evaluated]:
    """Every method's answers to the same held-out prompts, with the same noise."""
    base = evaluating.load(config, source, out / "sft" / "policy")
    scalar = policies.load_scalar(out / "reward_model" / "reward", config.dtype)
    prompts = evaluating.short(base, source, config.eval_prompts)
    room = config.ppo.max_new_tokens or source.max_new_tokens
    key = jax.random.fold_in(jax.random.key(config.seed), 1)

    def answered(policy: policies.Policy, samples: int = 1) -> Evaluated:
        answers = rollouts.answer(
            policy, prompts, key, max_new_tokens=room, samples=samples
        )
        return evaluating.measured(policy, base, answers, source.judge, scalar)

    many = answered(base, config.best_of)
    found = {
        "SFT": answered(base),
        f"best-of-{config.best_of}": evaluating.best_of(many, config.best_of),
    }
    for name in ("dpo", "ppo"):
        found[name.upper()] = answered(
            evaluating.load(config, source, out / name / "policy")
        )
    shown = range(min(12, len(prompts)))
    report.write_samples(
        out / "samples.md",
        [said(prompts[i]) for i in shown],
        {name: [e.texts[i] for i in shown] for name, e in found.items()},
    )
    return found


def agreement(config: Config, out: Path) -> dict[str, Any]:
    """How well the reward model agrees with held-out preferences, and could at best.

    `expected` is its accuracy over all labels that the annotator could have given,
    where `accuracy` is over those that were sampled; `Bayes` is the best there is.
    """
    held = out / "collect" / "preferences" / "test.jsonl"
    rows = [json.loads(line) for line in held.read_text().splitlines()]
    base = policies.tokenizers.load(out / "sft" / "policy")
    model, params = policies.load_scalar(out / "reward_model" / "reward", config.dtype)
    pairs, _ = formats.read(held, Preference)
    examples, _ = loader.tokenise(pairs, base, context=model.config.context)
    with jax.set_mesh(mesh_of(config)):
        chosen, rejected = reward_stage.scores(
            model, params, examples, config.reward_model.batch
        )
    p = np.array([rows[example.row]["p_chosen"] for example in examples])
    right = preference.agreement(chosen, rejected)
    return {
        "seed": config.seed,
        "accuracy": bootstrap(right),
        "expected": float(np.mean(right * p + (1 - right) * (1 - p))),
        "Bayes": preference.bayes_accuracy(p),
        "pairs": len(p),
    }


def said(prompt: Prompt) -> str:
    """A prompt as one text."""
    return "\n".join(f"{m['role']}: {m['content']}" for m in prompt.messages)


def numbers(rows: list[dict[str, Any]], path: Path) -> None:
    """Writes the rows as JSON."""
    path.write_text(json.dumps([plain_row(row) for row in rows], indent=2))


def plain_row(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its intervals as lists."""
    return {k: list(v) if isinstance(v, Interval) else v for k, v in row.items()}


if __name__ == "__main__":
    launch(main, Config)
