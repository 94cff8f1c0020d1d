"""Preference losses on language models: each a run of experiments.dpo, then judged.

For `experiments.benchmark --world toy`. All variants begin from one SFT policy, are
trained on the same preferences, and answer the same held-out prompts.
"""

import dataclasses
import functools
import itertools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import dpo
from experiments.benchmark import exact
from experiments.benchmark.plots import Row, mean_of
from jaxalign.pipeline import datasets, held_out
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import hub
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.stages import stage_runner
from jaxalign.training import metrics, objectives
from jaxalign.training.loss_registry import SUMS
from jaxalign.training.preference_loss import PairwiseLoss

POINTS = 20  # of a course
Benchmark = Any  # the Config of experiments.benchmark, which imports this module


def train(
    config: Benchmark, names: Sequence[str], own: Mapping[str, exact.Loss], out: Path
) -> tuple[list[Row], Evaluation]:
    """The course of every variant, and what they all began from.

    Only the last row of a run knows reward and KL; `each` has them prompt by prompt,
    and `prompt` the unit of each.

    Raises:
      ValueError: no model to begin from, an unknown loss, data without a judge.
    """
    if config.model == "toy":
        raise ValueError(
            "--world toy needs --model, the folder of an SFT policy, and --data, "
            "preferences on its answers: experiments.sft and experiments.collect "
            "make them"
        )
    for name in set(names) - set(own):
        objectives.get_loss(name)  # or it is refused
    judged = make_evaluator(config)
    seeds = range(config.seed, config.seed + config.seeds)
    rows = []
    for name, beta, seed in itertools.product(names, config.betas, seeds):
        folder = out / f"{name}-{beta:g}-{seed}"
        flags, loss = loss_arguments(name, beta, own)
        stage = stage_runner(dataclasses.replace(config, seed=seed), folder)
        run = functools.partial(dpo.main, loss=loss)
        stage("dpo", run, model=config.model, data=config.data, **flags)
        course = training_curve(folder / "dpo")
        found = judged(folder / "dpo" / "policy")
        each = {"reward": found.reward, "kl": found.kl}
        course[-1] |= {"temperature": found.temperature, "prompt": found.prompt}
        course[-1] |= {name: float(x.mean()) for name, x in each.items()}
        course[-1]["each"] = each
        rows += [{"loss": name, "beta": beta, "seed": seed} | row for row in course]
    return rows, judged(hub.model_folder(config.model))


def make_evaluator(config: Benchmark) -> Callable[[Path], Evaluation]:
    """The function that measures a policy in a folder, on the same prompts and noise.

    Raises:
      ValueError: the data set that judges has no programmed reward.
    """
    config = dataclasses.replace(config, data=config.judge)
    source = datasets.load(config)
    source.require_reward()
    held_out_eval = held_out.make_held_out_eval(
        config, source, hub.model_folder(config.model), config.eval_prompts
    )
    temperature = config.temperature_for()

    def judged(folder: Path) -> Evaluation:
        with jax.set_mesh(mesh_of(config)):
            policy = held_out.load(config, source, folder)
            return held_out_eval.evaluate(policy, temperature=temperature)

    return judged


def loss_arguments(
    name: str, beta: float, own: Mapping[str, exact.Loss]
) -> tuple[dict[str, Any], objectives.PairLoss | None]:
    """The flags of experiments.dpo for a variant, and the loss where it has no name."""
    if name in own:
        hyperparameters = {"beta": beta}
        return {}, PairwiseLoss(own[name], SUMS, hyperparameters, name=name)
    flags = {"loss": name, "reference_metrics": True}  # the plots show log-ratios
    return flags | exact.hyperparameters_at(name, beta), None


def training_curve(folder: Path) -> list[Row]:
    """At most `POINTS` rows of a run of experiments.dpo, each a mean over its steps.

    Damaged lines of its log are left out, as a resumed run leaves them out.

    Raises:
      ValueError: no line is left.
    """
    whole = metrics.lines_until(folder / "metrics.jsonl", sys.maxsize)
    lines = [json.loads(line) for line in whole]
    if not lines:
        raise ValueError(
            f"{folder}/metrics.jsonl holds no step: delete {folder} to make it anew"
        )
    rows = []
    for part in np.array_split(np.arange(len(lines)), min(POINTS, len(lines))):
        few = [lines[i] for i in part]
        row: Row = {"step": few[-1]["step"] + 1, "reward": None, "kl": None}
        for role in ("chosen", "rejected"):
            for field, name in ((role, "logp"), (f"{role}_ratio", "logratio")):
                known = f"{name}/{role}" in few[0]
                row[field] = mean_of(few, f"{name}/{role}") if known else None
        rows.append(row)
    return rows
