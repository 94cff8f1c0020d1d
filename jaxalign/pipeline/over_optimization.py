"""Data, samples and curves of the study of over-optimization, in the toy world."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from jaxalign import streams
from jaxalign.data import toy_world
from jaxalign.data.records import Preference
from jaxalign.evaluation.best_of_n import best_of_n_rewards, powers_of_two
from jaxalign.evaluation.rank_correlations import rank_correlation, selected_correlation
from jaxalign.evaluation.sample_metrics import kl_best_of_n
from jaxalign.pipeline import answer_scores, datasets, held_out, model_folders, rollouts
from jaxalign.pipeline.prompts import tokenize_prompts
from jaxalign.pipeline.safety_study import toy_files
from jaxalign.runtime.config import Dtype, RunConfig

TEST_PAIRS = 512


class Samples(NamedTuple):
    """The SFT policy's answers to held-out prompts, P times N, and their gold reward.

    Attributes:
      answers: those to a prompt together.
      gold: the true reward [P N].
    """

    answers: rollouts.Answers
    gold: np.ndarray


def sample_policy(
    run: RunConfig, folder: Path, *, prompts: int, samples: int, max_new_tokens: int
) -> Samples:
    """Samples a policy's answers to held-out prompts, with their true reward.

    Args:
      run: flags of the data set, which has a rule-based reward, and of the sampling.
      folder: of the policy.
      prompts: their number P, at most.
      samples: answers to each.
    """
    source = datasets.load(run)
    policy = held_out.load(run, source, folder)
    records = held_out.fitting_prompts(policy, source, prompts, max_new_tokens)
    answers = rollouts.sample_answers(
        policy,
        tokenize_prompts(policy, records),
        streams.key(jax.random.key(run.seed), "best of n"),
        max_new_tokens=max_new_tokens,
        samples=samples,
    )
    assert source.reward is not None
    gold = source.reward(answers.prompts, answers.texts, answers.finished)["reward"]
    return Samples(answers, np.asarray(gold, float).reshape(-1, samples))


def score_samples(
    samples: Samples, folder: Path, dtype: Dtype, mesh: Mesh | None
) -> np.ndarray:
    """A reward model's scores of samples [P N]."""
    model = model_folders.load_scalar(folder, dtype, mesh=mesh)
    scores = answer_scores.learned_scores(*model, samples.answers.sequences)
    return np.asarray(scores, float).reshape(samples.gold.shape)


def write_pairs(folder: Path, seed: int, count: int, *, flip_rate: float) -> Path:
    """Writes labeled pairs as a data set; more pairs hold the fewer ones.

    Args:
      flip_rate: the share of training labels that are flipped; held-out ones are not.
    """
    if toy_files.is_written(folder):
        return folder

    def pair(index: int) -> Preference:
        made = toy_world.preference(seed, index).preference
        if np.random.default_rng([seed, index, 9]).random() >= flip_rate:
            return made
        return dataclasses.replace(made, chosen=made.rejected, rejected=made.chosen)

    test = [
        toy_world.preference(seed, i, test=True).preference for i in range(TEST_PAIRS)
    ]
    return toy_files.write(folder, map(pair, range(count)), test)


def held_out_numbers(folder: Path) -> dict[str, float]:
    """The accuracy and loss of a reward model on held-out pairs, after training."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    last = [row for row in rows if "eval/accuracy" in row][-1]
    return {name: last[f"eval/{name}"] for name in ("accuracy", "loss")}


def best_of_n_values(gold: np.ndarray, proxy: np.ndarray) -> dict[str, Any]:
    """Gains of the best of n by the proxy, n up to a quarter of the samples [P N]."""
    ns = powers_of_two(gold.shape[1] // 4)
    values: dict[str, Any] = {f"kl@{n}": kl_best_of_n(n) for n in ns}
    for name, reward in (("gold", gold), ("proxy", proxy)):
        curve = best_of_n_rewards(reward, proxy, ns).astype(float)
        gains = (curve - curve[0]) / reward_deviation(reward)
        values |= {f"{name}@{n}": gain for n, gain in zip(ns, gains, strict=True)}
    ranks = selected_correlation(gold, proxy, ns)
    return values | {f"correlation@{n}": x for n, x in zip(ns, ranks, strict=True)}


def policy_point(
    found: held_out.Evaluation, start: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Gains of a trained policy over where it started, KL and length, by prompt.

    Args:
      found: one answer to each prompt, with scores.
      start: gold and proxy reward of the initial policy's answers [P N] each.
    """
    rewards = {"gold": found.reward, "proxy": np.asarray(found.score)}
    gains = {
        name: (reward - start[name].mean(axis=1)) / reward_deviation(start[name])
        for name, reward in rewards.items()
    }
    correlation = float(rank_correlation(rewards["gold"], rewards["proxy"]))
    rest = {"kl": found.kl, "length": found.length, "correlation": correlation}
    return gains | rest


def start_point(start: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The same of the initial policy: no gain at no KL."""
    correlation = float(rank_correlation(*(x.reshape(-1) for x in start.values())))
    gains = {name: np.zeros(len(x)) for name, x in start.items()}
    return gains | {"kl": 0.0, "correlation": correlation}


def reward_deviation(reward: np.ndarray) -> float:
    """The standard deviation of a reward; 1 where all are equal."""
    return float(reward.std()) or 1.0


def standardize(scores: np.ndarray) -> np.ndarray:
    """Scores of M models [M P N] on one scale: mean 0 and deviation 1 of each."""
    return np.stack([(x - x.mean()) / reward_deviation(x) for x in scores])
