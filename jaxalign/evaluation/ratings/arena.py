"""An arena's ratings: Bradley-Terry with intervals and ranks, and Elo beside it."""

import dataclasses
import itertools
from typing import Any

import numpy as np

from jaxalign.evaluation.intervals import Gain, Interval
from jaxalign.evaluation.ratings import bradley_terry as ratings
from jaxalign.evaluation.ratings import elo, rating_intervals
from jaxalign.evaluation.ratings.battles import Battles, win_shares
from jaxalign.evaluation.ratings.bradley_terry import Ratings
from jaxalign.evaluation.ratings.elo import EloSummary
from jaxalign.evaluation.ratings.rating_intervals import RatingResamples
from jaxalign.evaluation.resampling import percentile_interval

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Arena:
    """Ratings of K models, with everything that a report says of them.

    Attributes:
      battles: the data.
      ratings: the fit, with sandwich standard errors over battles.
      resamples: refits of the bootstrap, over clusters if there are any.
      cluster_se: sandwich standard errors over clusters, in points [K].
      elo: online Elo over shuffles.
    """

    battles: Battles
    ratings: Ratings
    resamples: RatingResamples
    cluster_se: np.ndarray
    elo: EloSummary


def rate_arena(
    battles: Battles,
    style: np.ndarray | None = None,
    *,
    clusters: np.ndarray | None = None,
    anchor: tuple[str, float] | None = None,
    style_ridge: float = ratings.STYLE_RIDGE,
    resamples: int = rating_intervals.RESAMPLES,
    shuffles: int = elo.SHUFFLES,
    k_factor: float = elo.K_FACTOR,
    seed: int = 0,
) -> Arena:
    """Fits ratings, their bootstrap, and Elo.

    Args:
      battles, style, clusters, anchor, style_ridge: as in `ratings.rate`; sandwich
        standard errors are over battles and, beside these, over clusters.
      resamples: of the bootstrap, over clusters if there are any.
      shuffles, k_factor: of Elo, which has no anchor.

    Raises:
      ValueError: as `ratings.rate`.
    """
    fit = lambda index: ratings.rate(
        battles, style, anchor=anchor, clusters=index, style_ridge=style_ridge
    )
    fitted = fit(None)
    return Arena(
        battles,
        fitted,
        rating_intervals.bootstrap_ratings(
            battles,
            fitted,
            style,
            clusters=clusters,
            seed=seed,
            resamples=resamples,
            style_ridge=style_ridge,
        ),
        fitted.se if clusters is None else fit(clusters).se,
        elo.elo_over_shuffles(battles, shuffles=shuffles, k_factor=k_factor, seed=seed),
    )


def rating_entries(arena: Arena) -> dict[str, Row]:
    """The numbers of each model, by name, the best first.

    Returns:
      `rating`, `se` (sandwich, over battles), `cluster_se`, `low` and `high`
      (bootstrap, 95 %), `rank` (1 + the models whose interval is all above),
      `difference_rank` (1 + those that are significantly better), `elo_mean`,
      `elo_sd`, `battles`, `win_share` (ties half).
    """
    low, high = rating_intervals.bounds(arena.resamples.rating)
    columns = {
        "rating": arena.ratings.rating,
        "se": arena.ratings.se,
        "cluster_se": arena.cluster_se,
        "low": low,
        "high": high,
        "rank": rating_intervals.upper_bound_ranks(low, high),
        "difference_rank": rating_intervals.difference_ranks(arena.resamples.rating),
        "elo_mean": arena.elo.mean,
        "elo_sd": arena.elo.sd,
        "battles": arena.battles.counts,
        "win_share": win_shares(arena.battles),
    }
    return {
        arena.ratings.models[k]: {name: x[k].item() for name, x in columns.items()}
        for k in best_first(arena)
    }


def best_first(arena: Arena) -> np.ndarray:
    """The indices of the models by falling rating [K]."""
    return np.argsort(-arena.ratings.rating, kind="stable")


def rating_rows(arena: Arena) -> list[Row]:
    """The table of ratings: to four decimals, with their intervals."""
    return [
        {
            "rank": numbers["rank"],
            "model": name,
            "rating": f"{numbers['rating']:.4f}",
            "SE": f"{numbers['se']:.4f}",
            "low": f"{numbers['low']:.1f}",
            "high": f"{numbers['high']:.1f}",
        }
        for name, numbers in rating_entries(arena).items()
    ]


def detail_rows(arena: Arena) -> list[Row]:
    """The table of leads over the next model, numbers of battles, and Elo.

    A lead has the interval of the *difference* of the two ratings.
    """
    entries, order = rating_entries(arena), best_first(arena)
    rating, resamples = arena.ratings.rating, arena.resamples.rating
    leads: list[Gain | None] = [
        Gain(
            *percentile_interval(
                rating[ours] - rating[other], resamples[:, ours] - resamples[:, other]
            )
        )
        for ours, other in itertools.pairwise(order)
    ]
    return [
        {
            "model": name,
            "lead": lead,
            "battles": numbers["battles"],
            "Elo": f"{numbers['elo_mean']:.1f}",
            "Elo SD": f"{numbers['elo_sd']:.1f}",
        }
        for (name, numbers), lead in zip(entries.items(), [*leads, None], strict=True)
    ]


def style_rows(arena: Arena, names: tuple[str, ...]) -> list[Row]:
    """The table of the style's coefficients: log-odds for one standard deviation.

    Positive where answers with more of a feature win more often.
    """
    columns = arena.resamples.style.T
    return [
        {"feature": name, "coefficient": percentile_interval(value, column)}
        for name, value, column in zip(
            names, arena.ratings.style.tolist(), columns, strict=True
        )
    ]


def rating_lines(arena: Arena) -> dict[str, dict[str, Interval]]:
    """Each model's rating and interval, the best first, for a plot."""
    return {
        name: {"rating": Interval(*(numbers[k] for k in ("rating", "low", "high")))}
        for name, numbers in rating_entries(arena).items()
    }
