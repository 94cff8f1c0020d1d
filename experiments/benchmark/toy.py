"""Preference losses on language models: each a run of experiments.dpo, then evaluated.

For `experiments.benchmark --world toy`. All variants begin from one SFT policy, are
trained on the same preferences, and answer the same held-out prompts.
"""

import dataclasses
import functools
import itertools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np

from experiments import dpo as dpo_stage
from experiments.benchmark.plots import Row, mean_of
from jaxalign.pipeline import datasets, held_out
from jaxalign.pipeline.held_out import Evaluation
from jaxalign.runtime import hub
from jaxalign.runtime.config import EvalConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.stages import stage_runner
from jaxalign.training import metrics
from jaxalign.training.loss_names import KNOWN
from jaxalign.training.preference_loss import PairwiseLoss, UnpairedLoss

POINTS = 20  # of a training curve


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariantConfig(EvalConfig):
    """Flags of the variants that are compared, and of the toy world."""

    betas: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0)
    """Strengths: of each loss its first hyperparameter (IPO's tau, ORPO's lam, SLiC's
    delta)."""
    seeds: int = 10
    """How many runs of each, of seeds --seed, --seed + 1, ..."""
    eval_data: str = "toy"
    """The data set whose rule-based reward and held-out prompts evaluate (toy)."""
    dpo: dpo_stage.Config = dpo_stage.Config()


def train(
    config: VariantConfig,
    variants: Mapping[str, PairwiseLoss | UnpairedLoss],
    out: Path,
) -> tuple[list[Row], Evaluation]:
    """Trains every variant, and evaluates it and the initial policy.

    Args:
      variants: the losses by name.

    Returns:
      (rows, evaluation of the initial policy). The rows are training curves; only the
      last one of a run has reward and KL, `each` has them prompt by prompt, and
      `prompt` the unit of each.

    Raises:
      ValueError: no initial policy, or data without a rule-based reward.
    """
    if config.model == "toy":
        raise ValueError(
            "--world toy needs --model, the folder of an SFT policy, and --data, "
            "preferences on its answers: experiments.sft and experiments.collect "
            "make them"
        )
    evaluate = make_evaluator(config)
    seeds = range(config.seed, config.seed + config.seeds)
    rows = []
    for (name, loss), beta, seed in itertools.product(
        variants.items(), config.betas, seeds
    ):
        folder = out / f"{name}-{beta:g}-{seed}"
        stage = stage_runner(dataclasses.replace(config, seed=seed), folder)
        train_dpo(stage, config, loss.at_strength(beta))
        curve = training_curve(folder / "dpo")
        evaluation = evaluate(folder / "dpo" / "policy")
        each = {"reward": evaluation.reward, "kl": evaluation.kl}
        curve[-1] |= {"temperature": evaluation.temperature}
        curve[-1] |= {"prompt": evaluation.prompt}
        curve[-1] |= {name: float(x.mean()) for name, x in each.items()}
        curve[-1]["each"] = each
        rows += [{"loss": name, "beta": beta, "seed": seed} | row for row in curve]
    return rows, evaluate(hub.model_folder(config.model))


def train_dpo(
    stage: Callable[..., object],
    config: VariantConfig,
    loss: PairwiseLoss | UnpairedLoss,
) -> None:
    """Runs experiments.dpo with a loss of the library by name, or with a custom one."""
    files = {"model": config.model, "data": config.data}
    known = KNOWN.get(loss.name)
    if known is not None and known.fn is loss.fn:
        flags = {"loss": loss.name, **loss.hyperparameters}
        # the plots show log-ratios
        stage("dpo", dpo_stage.main, **files, reference_metrics=True, **flags)
    else:
        stage("dpo", functools.partial(dpo_stage.main, loss=loss), **files)


def make_evaluator(config: VariantConfig) -> Callable[[Path], Evaluation]:
    """The function that evaluates a policy's folder, on the same prompts and noise.

    Raises:
      ValueError: the data set has no rule-based reward.
    """
    config = dataclasses.replace(config, data=config.eval_data)
    source = datasets.load(config)
    source.require_reward()
    held_out_eval = held_out.make_held_out_eval(
        config, source, hub.model_folder(config.model), config.eval_prompts
    )
    temperature = config.temperature_for()

    def evaluate(folder: Path) -> Evaluation:
        with jax.set_mesh(mesh_of(config)):
            policy = held_out.load(config, source, folder)
            return held_out_eval.evaluate(policy, temperature=temperature)

    return evaluate


def training_curve(folder: Path) -> list[Row]:
    """At most `POINTS` rows of a run of experiments.dpo, each a mean over some steps.

    Damaged lines of its log are skipped, as a resumed run skips them.

    Raises:
      ValueError: the log has no undamaged line.
    """
    undamaged = metrics.lines_until(folder / "metrics.jsonl", sys.maxsize)
    parsed = map(json.loads, undamaged)
    lines = [line for line in parsed if metrics.is_training(line)]
    if not lines:
        raise ValueError(
            f"{folder}/metrics.jsonl has no step: delete {folder} to make it again"
        )
    rows = []
    for part in np.array_split(np.arange(len(lines)), min(POINTS, len(lines))):
        steps = [lines[i] for i in part]
        row: Row = {"step": steps[-1]["step"] + 1, "reward": None, "kl": None}
        for role in ("chosen", "rejected"):
            for field, name in ((role, "logp"), (f"{role}_ratio", "logratio")):
                has_metric = f"{name}/{role}" in steps[0]
                row[field] = mean_of(steps, f"{name}/{role}") if has_metric else None
        rows.append(row)
    return rows
