"""Summaries of rewards: spread, groups, length bins, correlation, models by prompt."""

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxalign import lazy
from jaxalign.evaluation.by_field import Groups, group_key
from jaxalign.evaluation.intervals import Gain, Interval, Units, bootstrap
from jaxalign.evaluation.preference import agreement
from jaxalign.evaluation.resampling import bootstrap_rows

if TYPE_CHECKING:
    from scipy import stats
else:
    stats = lazy.module("scipy.stats")

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def summarize(
    scores: np.ndarray, units: np.ndarray, *, seed: int = 0
) -> dict[str, Any]:
    """Mean, standard deviation and quantiles of scores, with 95 % intervals.

    Args:
      scores: one for each answer [R].
      units: the prompt of each answer [R].

    Returns:
      `answers` and `prompts` (counts); `mean`, `std` (ddof 0) and `q05` ... `q95`, an
      `Interval` over prompts each.
    """
    over_prompts = partial(bootstrap_rows, units=units, seed=seed)
    quantiles = {
        f"q{round(100 * q):02d}": over_prompts(partial(np.quantile, q=q), scores)
        for q in QUANTILES
    }
    return {
        "answers": len(scores),
        "prompts": len(np.unique(units)),
        "mean": bootstrap(scores, units=units, seed=seed),
        "std": over_prompts(np.std, scores),
        **quantiles,
    }


def group_means(
    scores: np.ndarray, groups: np.ndarray, units: np.ndarray, *, seed: int = 0
) -> list[dict[str, Any]]:
    """The mean score of each group with its 95 % interval over prompts.

    Args:
      scores: one for each answer [R].
      groups: the group of each answer [R].
      units: the prompt of each answer [R].

    Returns:
      Rows of `group`, `answers`, `prompts`, `mean`, `std`, in the order of the groups'
      first answers.
    """
    rows = []
    for group in dict.fromkeys(groups.tolist()):
        chosen_rows = groups == group
        part, prompts = scores[chosen_rows], units[chosen_rows]
        rows.append(
            {
                "group": str(group),
                "answers": len(part),
                "prompts": len(np.unique(prompts)),
                "mean": bootstrap(part, units=prompts, seed=seed),
                "std": float(part.std()),
            }
        )
    return rows


def field_tables(
    scores: np.ndarray, groups: Groups, units: np.ndarray, *, seed: int = 0
) -> dict[str, list[dict[str, Any]]]:
    """`group_means` by each of some fields, in the order of their groups.

    Args:
      groups: by the name of a field, the group of each answer [R].
    """
    return {
        field: sorted(
            group_means(scores, of_answers, units, seed=seed),
            key=lambda row: group_key(row["group"]),
        )
        for field, of_answers in groups.items()
    }


def length_bins(lengths: np.ndarray, bins: int) -> np.ndarray:
    """The length bin of each answer, as text such as `12-80`, str [R].

    Bins hold about as many answers each; those with equal edges are merged.

    Args:
      lengths: of the answers, such as characters, int [R].
      bins: at most so many.

    >>> length_bins(np.array([1, 2, 3, 50, 60, 70]), 2).tolist()
    ['1-3', '1-3', '1-3', '50-70', '50-70', '50-70']
    """
    lengths = np.asarray(lengths)
    inner = np.quantile(lengths, np.linspace(0, 1, bins + 1)[1:-1], method="lower")
    place = np.searchsorted(np.unique(inner), lengths)
    labels = np.empty(len(lengths), object)
    for number in np.unique(place):
        part = lengths[place == number]
        labels[place == number] = f"{part.min()}-{part.max()}"
    return labels.astype(str)


def length_correlation(
    scores: np.ndarray, lengths: np.ndarray, units: Units, *, seed: int = 0
) -> dict[str, Interval]:
    """Pearson's and Spearman's correlation of scores with lengths; NaN if constant.

    Args:
      scores: one for each answer [R].
      lengths: of the answers [R].
      units: the prompt of each answer [R].
    """
    pearson = bootstrap_rows(correlation, scores, lengths, units=units, seed=seed)
    spearman = bootstrap_rows(rank_correlation, scores, lengths, units=units, seed=seed)
    return {"pearson": pearson, "spearman": spearman}


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's correlation; NaN where one does not vary."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's correlation, ties with their mean rank; NaN where one is constant."""
    return correlation(stats.rankdata(x), stats.rankdata(y))


def model_differences(
    scores: np.ndarray, models: np.ndarray, units: np.ndarray, *, seed: int = 0
) -> list[dict[str, Any]]:
    """Each two models on the prompts that both answered, paired by prompt.

    The difference is of the means of each prompt's scores; the win rate is the share of
    a prompt's pairs of answers, one of each model, in which the first scores higher, a
    tie being half.

    Args:
      scores: one for each answer [R].
      models: the model of each answer [R].
      units: the prompt of each answer [R].

    Returns:
      Rows of `model`, `other`, `prompts`, `difference` (a `Gain`), `win_rate`; pairs of
      models without a common prompt are left out.
    """
    names = list(dict.fromkeys(models.tolist()))
    by_prompt = {
        name: scores_by_prompt(scores[models == name], units[models == name])
        for name in names
    }
    rows = []
    for model, other in itertools.combinations(names, 2):
        common = [prompt for prompt in by_prompt[model] if prompt in by_prompt[other]]
        if not common:
            continue
        pairs = [(by_prompt[model][p], by_prompt[other][p]) for p in common]
        differences = np.array([ours.mean() - theirs.mean() for ours, theirs in pairs])
        wins = np.array([pair_win_rate(*pair) for pair in pairs])
        interval = partial(bootstrap, units="each", seed=seed)
        rows.append(
            {
                "model": str(model),
                "other": str(other),
                "prompts": len(common),
                "difference": Gain(*interval(differences)),
                "win_rate": interval(wins, share=True),
            }
        )
    return rows


def scores_by_prompt(scores: np.ndarray, units: np.ndarray) -> dict[Any, np.ndarray]:
    """The scores of each prompt, by prompt."""
    lists: dict[Any, list[float]] = {}
    for prompt, score in zip(units.tolist(), scores.tolist(), strict=True):
        lists.setdefault(prompt, []).append(score)
    return {prompt: np.array(values) for prompt, values in lists.items()}


def pair_win_rate(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of pairs, one of each, in which ours is higher; a tie is half.

    >>> pair_win_rate(np.array([1.0, 2.0]), np.array([1.0]))
    0.75
    """
    return float(agreement(ours[:, None], theirs[None, :]).mean())
