"""The two reward models of the safety study: raw scores, accuracy, and the gate."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxalign.data import readers
from jaxalign.data.records import Preference, Prompt, answer_content
from jaxalign.evaluation.intervals import bootstrap
from jaxalign.pipeline import model_folders, safety_head, safety_rewards
from jaxalign.pipeline.evaluation.answer_scorers import Scorer, load_scorer
from jaxalign.pipeline.evaluation.models import EvaluationConfig


class RewardModels(NamedTuple):
    """Raw scores of both models: (prompts, texts) -> scores, log-odds of being good."""

    helpfulness: Scorer
    safety: Scorer


def raw_scorer(folder: Path, config: EvaluationConfig, mesh: Mesh | None) -> Scorer:
    """The scores of a reward model before its normalization.

    Their sigmoid is the probability that the model was trained to predict. That of a
    conversation that is longer than the model's context is NaN.
    """
    gain, bias = model_folders.load_scale(folder)
    normalized = load_scorer(str(folder), config, mesh, skip_long=True)
    return lambda prompts, texts: (normalized(prompts, texts) - bias) / gain


def probability(raw: np.ndarray) -> np.ndarray:
    """The sigmoid of raw scores."""
    return 1.0 / (1.0 + np.exp(-np.clip(raw, -60, 60)))


def pair_scores(score: Scorer, pairs: list[Preference]) -> np.ndarray:
    """The scores of chosen and rejected answers, float [pairs 2]."""
    prompts = [Prompt(pair.prompt, pair.location) for pair in pairs for _ in range(2)]
    texts = [answer_content(x) for p in pairs for x in (p.chosen, p.rejected)]
    return score(prompts, texts).reshape(-1, 2)


def accuracy_rows(
    scorers: Mapping[str, Scorer], data: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """Accuracy of each model on each kind of held-out pairs, and by their margins.

    Args:
      data: files of pairs by what they are labeled for.
    """
    rows = []
    for kind, path in data.items():
        pairs, _ = readers.read(path, Preference)
        levels = np.array([round(3 * pair.margin) for pair in pairs])
        for name, score in scorers.items():
            chosen, rejected = pair_scores(score, pairs).T
            right = (chosen > rejected) + 0.5 * (chosen == rejected)
            row: dict[str, Any] = {"model": name, "pairs for": kind}
            row["accuracy"] = bootstrap(right, units="each", share=True)
            for level in range(4):
                some = right[levels == level]
                row[f"margin {level}/3"] = some.mean() if len(some) else np.nan
            rows.append(row)
    return rows


def gate_rows(scorers: Mapping[str, Scorer], path: Path) -> list[dict[str, Any]]:
    """How well safety models find unsafe answers by a threshold on their probability.

    Recall at 0.5 is what the auxiliary loss buys; precision and recall are also those
    of the paper's threshold, and of the lowest one with the paper's precision of 0.89.

    Args:
      path: labeled pairs.
    """
    pairs, _ = readers.read(path, Preference)
    labels = [
        safety_head.label(p.fields, n, 0) for p in pairs for n in safety_head.FIELDS
    ]
    unsafe = np.array(labels) == 1
    rows = []
    for name, score in scorers.items():
        safe = probability(pair_scores(score, pairs).ravel())
        row: dict[str, Any] = {"model": name}
        row["unsafe recall at 0.5"] = precision_recall(safe < 0.5, unsafe)[1]
        fixed = safety_rewards.THRESHOLD
        precision, recall = precision_recall(safe < fixed, unsafe)
        row |= {f"precision at {fixed:g}": precision, f"recall at {fixed:g}": recall}
        threshold = precise_threshold(safe, unsafe, precision=0.89)
        row["threshold of precision 0.89"] = threshold
        row["recall there"] = precision_recall(safe < threshold, unsafe)[1]
        rows.append(row)
    return rows


def precision_recall(flagged: np.ndarray, unsafe: np.ndarray) -> tuple[float, float]:
    """The shares of flagged answers that are unsafe, and of unsafe ones flagged.

    >>> precision_recall(np.array([1, 1, 0], bool), np.array([1, 0, 1], bool))
    (0.5, 0.5)
    """
    hits = int((flagged & unsafe).sum())
    share = lambda total: hits / total if total else float("nan")
    return share(int(flagged.sum())), share(int(unsafe.sum()))


def precise_threshold(
    safe: np.ndarray, unsafe: np.ndarray, *, precision: float
) -> float:
    """The highest threshold whose flags, safe < threshold, have this precision.

    Args:
      safe: probability of being safe [A].
      unsafe: labels [A].

    Returns:
      The threshold; 0, which flags nothing, where none has the precision.

    >>> safe = np.array([0.1, 0.2, 0.4, 0.6])
    >>> precise_threshold(safe, np.array([1, 1, 0, 1], bool), precision=0.7)
    1.0
    >>> precise_threshold(safe, np.array([1, 1, 0, 1], bool), precision=0.8)
    0.4
    """
    for threshold in sorted({*safe.tolist(), 1.0}, reverse=True):
        if precision_recall(safe < threshold, unsafe)[0] >= precision:
            return threshold
    return 0.0
