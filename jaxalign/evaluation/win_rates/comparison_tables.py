"""Tables of judged comparisons: win rates, by category, and the judge itself."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign.evaluation import by_field
from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.evaluation.win_rates import judgement_columns as columns
from jaxalign.evaluation.win_rates import pairwise_judgements as pairwise
from jaxalign.evaluation.win_rates.judgement_columns import Judgements
from jaxalign.evaluation.win_rates.length_control import length_control

Row = dict[str, Any]
CONSISTENCY = "same verdict in both orders"
FIRST_BIAS = "first shown wins both, less second"


class Tables(NamedTuple):
    """The tables of a comparison, rows each.

    Attributes:
      first: `win_rate_row` of each model over the first.
      pairs: `win_rate_row` of every two models that met.
      groups: by the name of a field, the rows of `win_rates_by_group`.
      judge: see `judge_rows`.
    """

    first: list[Row]
    pairs: list[Row]
    groups: dict[str, list[Row]]
    judge: list[Row]


def all_tables(
    judgements: Judgements,
    models: Sequence[str],
    groups: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
) -> Tables:
    """The tables of a comparison.

    Args:
      models: the first is the one that the others are measured against.
      groups: by the name of a field, the group of each judgement [R].
      seed: of the bootstrap.
    """
    return Tables(
        win_rates_against_first(judgements, models, seed=seed),
        win_rates_of_pairs(judgements, models, seed=seed),
        {
            field: win_rates_by_group(judgements, models, field, values, seed=seed)
            for field, values in groups.items()
        },
        judge_rows(judgements, seed=seed),
    )


def win_rate_row(judgements: Judgements, *, seed: int = 0) -> Row:
    """The win rates of model a over model b, in [0, 1], with 95 % intervals.

    Args:
      judgements: of one pair of models, as `columns.pair_judgements` returns them.
      seed: of the bootstrap.

    Returns:
      `model`, `against`, `prompts`; `win rate` (ties half), `mean probability` (of a
      judge; that of a reward is its win rate) and `length-controlled` as an `Interval`
      each; `wins`, `ties`, `losses`; and the mean characters of both models' answers.
    """
    rate = pairwise.win_rate(judgements, seed=seed)
    row: Row = {
        "model": str(judgements.model_a[0]),
        "against": str(judgements.model_b[0]),
        "prompts": rate.prompts,
        "win rate": rate.win_rate,
    }
    if pairwise.both_orders_mask(judgements).any():
        row["mean probability"] = rate.mean_probability
    return row | {
        "length-controlled": length_controlled(judgements, seed=seed),
        "wins": rate.wins,
        "ties": rate.ties,
        "losses": rate.losses,
        "characters": mean_length(judgements.length_a),
        "characters, against": mean_length(judgements.length_b),
    }


def mean_length(lengths: np.ndarray) -> int | None:
    """The mean length, rounded; None where one is unknown (NaN)."""
    mean = float(np.mean(lengths))
    return None if np.isnan(mean) else round(mean)


def length_controlled(judgements: Judgements, *, seed: int = 0) -> Interval | None:
    """The win rate of a over b at equal lengths, in [0, 1], by AlpacaEval's regression.

    Without the difficulty of the prompts (`minimal`). None for a single pair, and where
    a length is unknown. The bounds are NaN where the penalty that cross-validation
    chose sets all coefficients to 0, in every resample as well.

    Reference: Dubois et al. 2024, arXiv:2404.04475, section 3.
    """
    lengths = np.stack([judgements.length_a, judgements.length_b])
    if len(judgements) < 2 or not np.isfinite(lengths).all():
        return None
    control = length_control(
        judgements.probability, *lengths, units=judgements.prompts, seed=seed
    )
    mean, low, high = (bound / 100 for bound in control.interval)
    if low == high and np.ptp(judgements.probability) > 0:
        return Interval(mean, math.nan, math.nan)
    return Interval(mean, low, high)


def win_rates_against_first(
    judgements: Judgements, models: Sequence[str], *, seed: int = 0
) -> list[Row]:
    """`win_rate_row` of each model over the first, for those that were compared."""
    return pair_rows(judgements, [(model, models[0]) for model in models[1:]], seed)


def win_rates_of_pairs(
    judgements: Judgements, models: Sequence[str], *, seed: int = 0
) -> list[Row]:
    """`win_rate_row` of every two models that met, the later over the earlier."""
    pairs = [(b, a) for a, b in itertools.combinations(models, 2)]
    return pair_rows(judgements, pairs, seed)


def pair_rows(
    judgements: Judgements, pairs: Sequence[tuple[str, str]], seed: int
) -> list[Row]:
    """`win_rate_row` of these pairs of models, without those that never met."""
    met = set(map(frozenset, columns.compared_pairs(judgements)))
    return [
        win_rate_row(columns.pair_judgements(judgements, *pair), seed=seed)
        for pair in pairs
        if frozenset(pair) in met
    ]


def win_rates_by_group(
    judgements: Judgements,
    models: Sequence[str],
    field: str,
    groups: np.ndarray,
    *,
    seed: int = 0,
) -> list[Row]:
    """The win rate of each model over the first, in each group.

    Args:
      field: the name of the groups' column.
      groups: of each judgement [R].

    Returns:
      Rows of the group, `prompts` and a column for each model.
    """
    rows = []
    for name in by_field.group_order(groups):
        part = judgements.select(groups == name)
        row: Row = {field: name, "prompts": len(np.unique(part.prompts))}
        met = set(map(frozenset, columns.compared_pairs(part)))
        for model in models[1:]:
            if frozenset((model, models[0])) in met:
                pair = columns.pair_judgements(part, model, models[0])
                row[model] = pairwise.win_rate(pair, seed=seed).win_rate
        rows.append(row)
    return rows


def judge_rows(judgements: Judgements, *, seed: int = 0) -> list[Row]:
    """What the verdicts say about the judge: position and length.

    `longer wins` is the share of pairs of unequal lengths whose longer answer wins,
    ties half. Position is of judges that read both orders only.

    Returns:
      Rows of `measure`, `value` (an `Interval`) and `pairs`.
    """
    rows: list[Row] = []
    bias = pairwise.position_bias(judgements, seed=seed)
    if bias is not None:
        rows = [
            {"measure": name, "value": value, "pairs": bias.pairs}
            for name, value in (
                (CONSISTENCY, bias.consistency),
                (FIRST_BIAS, bias.first_bias),
                ("probability of the first shown", bias.first_probability),
            )
        ]
    longer = np.sign(judgements.length_a - judgements.length_b)
    unequal = np.isfinite(longer) & (longer != 0)
    if unequal.any():
        wins = (pairwise.verdicts(judgements) * longer + 1)[unequal] / 2
        units = judgements.prompts[unequal]
        share = bootstrap(wins, units=units, seed=seed, share=True)
        rows.append(
            {"measure": "longer wins", "value": share, "pairs": int(unequal.sum())}
        )
    return rows


def headline(tables: Tables) -> dict[str, Any]:
    """The main numbers of `all_tables`: win rates over the first model, judge's bias.

    Returns:
      `by_model`, by name each other model's `win_rate` and `length_controlled`; and of
      a judge `consistency` and `first_bias`.
    """
    columns = {"win rate": "win_rate", "length-controlled": "length_controlled"}
    rates = {
        row["model"]: {new: row[old] for old, new in columns.items() if old in row}
        for row in tables.first
    }
    names = {CONSISTENCY: "consistency", FIRST_BIAS: "first_bias"}
    return {"by_model": rates} | {
        names[row["measure"]]: row["value"]
        for row in tables.judge
        if row["measure"] in names
    }


def split_win_rates(
    judgements: Judgements,
    models: Sequence[str],
    groups: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
) -> dict[str, Row]:
    """Each model's win rate over the first in each group, by name.

    Args:
      groups: by the name of a field, the group of each judgement [R].
      seed: of the bootstrap.

    Returns:
      By model `win_rate/FIELD=VALUE`, and the number of judged pairs
      `pairs/FIELD=VALUE`.
    """
    found: dict[str, Row] = {model: {} for model in models[1:]}
    for field, of_rows in groups.items():
        for name in by_field.group_order(of_rows):
            part = judgements.select(of_rows == name)
            met = set(map(frozenset, columns.compared_pairs(part)))
            for model in models[1:]:
                if frozenset((model, models[0])) in met:
                    pair = columns.pair_judgements(part, model, models[0])
                    rate = pairwise.win_rate(pair, seed=seed)
                    found[model] |= {
                        f"win_rate/{field}={name}": rate.win_rate,
                        f"pairs/{field}={name}": rate.pairs,
                    }
    return found
