"""Agreement of any number of annotators: Krippendorff's alpha, Fleiss, Gwet's AC1.

All are functions of the counts [U K]: how many annotators gave each of K labels to each
of U items; an annotator may miss items. `weights` [*S U] says how often each item
counts, so that all resamples of a bootstrap are computed at once:

    bootstrap_statistic(lambda w: fleiss_kappa(counts, weights=w), len(counts))

They are 1 where annotators always agree, about 0 where they agree as by chance, and NaN
where chance agreement is certain (all labels equal) or no item has two labels.
"""

from typing import Literal

import numpy as np

Level = Literal["nominal", "ordinal", "interval", "ratio"]


def label_counts(
    items: np.ndarray, labels: np.ndarray, *, shape: tuple[int, int]
) -> np.ndarray:
    """How many annotators gave each label to each item, float64 [U K].

    Args:
      items: index of the item of each annotation [R].
      labels: index of its label [R].
      shape: numbers of items and labels.

    >>> label_counts(np.array([0, 0, 1]), np.array([1, 1, 0]), shape=(2, 2)).tolist()
    [[0.0, 2.0], [1.0, 0.0]]
    """
    counts = np.zeros(shape)
    np.add.at(counts, (items, labels), 1.0)
    return counts


def item_agreement(counts: np.ndarray) -> np.ndarray:
    """The share of pairs of an item's labels that are equal [U]; NaN below two labels.

    agreement = sum over c of n_c (n_c - 1) / (m (m - 1)),  m = sum over c of n_c

    >>> item_agreement(np.array([[3, 0], [2, 1], [1, 0]])).round(3).tolist()
    [1.0, 0.333, nan]
    """
    m = counts.sum(axis=1)
    pairs = np.where(m > 1, m * (m - 1), np.nan)
    return np.sum(counts * (counts - 1), axis=1) / pairs


def observed_agreement(
    counts: np.ndarray, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """The mean over items of `item_agreement` [*S]; items below two labels count not.

    >>> float(observed_agreement(np.array([[2, 0], [1, 1], [1, 0]])))
    0.5
    """
    counts, weights = pairable_items(counts, weights)
    return weighted_mean(item_agreement(counts), weights)


def fleiss_kappa(
    counts: np.ndarray, *, weights: np.ndarray | None = None
) -> np.ndarray:
    """Fleiss' kappa of annotators who all labeled every item [*S].

    kappa = (P - Pe) / (1 - Pe)

    with P the mean of `item_agreement` and Pe = sum over c of (share of c)^2.

    Args:
      counts: labels of each item [U K]; the same number m of 2 or more for each.
      weights: how often each item counts [*S U]; once by default.

    Raises:
      ValueError: items have different numbers of labels, or fewer than two.

    Reference: Fleiss 1971, Psychological Bulletin 76.

    >>> float(fleiss_kappa(np.array([[2, 0], [0, 2], [1, 1]])))  # (2/3 - 1/2) / (1/2)
    0.33333333333333326
    """
    counts = np.asarray(counts, np.float64)
    m = counts.sum(axis=1)
    if not len(m) or m.min() != m.max() or m[0] < 2:
        span = f"{m.min():.0f} to {m.max():.0f}" if len(m) else "no"
        raise ValueError(
            f"items have {span} labels; Fleiss' kappa needs the same number, 2 or "
            "more, for each"
        )
    weights = np.ones(len(counts)) if weights is None else weights
    observed = weighted_mean(item_agreement(counts), weights)
    share = weighted_mean(counts / m[0], weights)
    return chance_corrected(observed, np.sum(share**2, axis=-1), share)


def gwet_ac1(counts: np.ndarray, *, weights: np.ndarray | None = None) -> np.ndarray:
    """Gwet's AC1 [*S]: its chance agreement does not rise where one label prevails.

    AC1 = (P - Pe) / (1 - Pe),  Pe = sum over c of pi_c (1 - pi_c) / (K - 1)

    with P as in `observed_agreement`, and pi_c the mean over items of the share of an
    item's labels that are c. Annotators may miss items.

    Args:
      counts: labels of each item [U K], K of 2 or more.
      weights: how often each item counts [*S U]; once by default.

    Reference: Gwet 2008, British Journal of Mathematical and Statistical Psychology 61,
    eqs. 15 and 16; Gwet 2014, Handbook of Inter-Rater Reliability (missing labels).

    >>> # 9 of 10 items agree, on the first label: P = .9, pi = .95 and .05
    >>> counts = np.array([[2, 0]] * 9 + [[1, 1]])
    >>> float(gwet_ac1(counts).round(4)), float(fleiss_kappa(counts).round(4))
    (0.8895, -0.0526)
    """
    counts = np.asarray(counts, np.float64)
    m = counts.sum(axis=1)
    weights = np.ones(len(counts)) if weights is None else weights
    some = m > 0
    share = weighted_mean(counts[some] / m[some, None], weights[..., some])
    expected = np.sum(share * (1 - share), axis=-1) / max(counts.shape[1] - 1, 1)
    observed = observed_agreement(counts, weights=weights)
    return chance_corrected(observed, expected, share)


def krippendorff_alpha(
    counts: np.ndarray,
    *,
    level: Level,
    values: np.ndarray | None = None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Krippendorff's alpha [*S]: any number of annotators, missing labels, any scale.

    alpha = 1 - (n - 1) sum o_ck d_ck / sum n_c n_k d_ck

    over labels c and k, with coincidences o_ck = sum over items of the pairs of labels
    (c, k) / (m - 1), n_c = sum over k of o_ck, n = sum of n_c, and distances d_ck

        nominal   1 where c and k differ
        ordinal   (r_c - r_k)^2, r the mean rank of a label among all n labels
        interval  (c - k)^2
        ratio     ((c - k) / (c + k))^2

    Items with fewer than two labels are left out. Scales (ratings) need the ordinal or
    interval distance: nominal alpha takes 3 against 4 for as wrong as 1 against 10.

    Args:
      counts: labels of each item [U K], labels from lowest to highest.
      level: the distance.
      values: numbers of the labels [K], rising, for interval and ratio (0 or more).
      weights: how often each item counts [*S U]; once by default.

    Raises:
      ValueError: no values for a distance that needs them, or negative ones for ratio.

    Reference: Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability".

    >>> counts = np.array([[2, 0, 0], [0, 1, 1], [0, 0, 2]])
    >>> # n = 2, 1, 3; nominal: o = 2 of 6, chance = 22 of 30
    >>> float(krippendorff_alpha(counts, level="nominal").round(6))  # 1 - 5 * 2 / 22
    0.545455
    """
    counts, weights = pairable_items(counts, weights)
    m = counts.sum(axis=1)
    labels = weights @ counts  # n_c [*S K]
    total = labels.sum(axis=-1)
    if level == "nominal":
        within = (m**2 - np.sum(counts**2, axis=1)) / (m - 1)
        observed = weights @ within
        expected = total**2 - np.sum(labels**2, axis=-1)
    elif level == "ratio":
        distance = ratio_distance(check_values(values, counts.shape[1], level))
        within = np.einsum("uc,ck,uk->u", counts, distance, counts) / (m - 1)
        observed = weights @ within
        expected = np.einsum("...c,ck,...k->...", labels, distance, labels)
    else:
        if level == "interval":
            position = check_values(values, counts.shape[1], level)
            position = np.broadcast_to(position, labels.shape)
        else:
            position = np.cumsum(labels, axis=-1) - labels / 2
        observed, expected = squared_distances(counts, weights, labels, position)
    defined = np.sum(labels > 0, axis=-1) > 1
    ratio = (total - 1) * observed / np.where(defined, expected, 1.0)
    return np.where(defined, 1.0 - ratio, np.nan)


def squared_distances(
    counts: np.ndarray, weights: np.ndarray, labels: np.ndarray, position: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of squared distances of positions, within items and by chance [*S] both.

    sum over c, k of n_c n_k (x_c - x_k)^2 = 2 (m sum n_c x_c^2 - (sum n_c x_c)^2)

    Args:
      labels: n_c of each resample [*S K].
      position: x of each label in each resample [*S K].
    """
    total = labels.sum(axis=-1, keepdims=True)
    center = np.sum(labels * position, axis=-1, keepdims=True) / np.maximum(total, 1)
    x = position - center  # small numbers lose no digits
    m = counts.sum(axis=1)
    within = 2 * (m * (x**2 @ counts.T) - (x @ counts.T) ** 2) / (m - 1)  # [*S U]
    observed = np.sum(weights * within, axis=-1)
    spread = np.sum(labels * x**2, axis=-1) * total[..., 0]
    expected = 2 * (spread - np.sum(labels * x, axis=-1) ** 2)
    return observed, expected


def ratio_distance(values: np.ndarray) -> np.ndarray:
    """((c - k) / (c + k))^2 of labels' values [K K]; 0 of two zeros."""
    difference = values[:, None] - values
    both = values[:, None] + values
    return (difference / np.where(both == 0, 1.0, both)) ** 2


def check_values(values: np.ndarray | None, labels: int, level: Level) -> np.ndarray:
    """The values of labels as float64 [K].

    Raises:
      ValueError: there are none, of another number, or negative ones for ratio.
    """
    if values is None or np.shape(values) != (labels,):
        raise ValueError(f"{level} distances need a number for each of {labels} labels")
    values = np.asarray(values, np.float64)
    if level == "ratio" and values.min() < 0:
        raise ValueError(
            f"ratio distances need labels of 0 or more, not {values.min()}"
        )
    return values


def pairable_items(
    counts: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Counts and weights of the items with two labels or more."""
    counts = np.asarray(counts, np.float64)
    pairable = counts.sum(axis=1) > 1
    weights = np.ones(len(counts)) if weights is None else weights
    return counts[pairable], weights[..., pairable]


def weighted_mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """The mean over items of values [U *V] by weights [*S U], [*S *V]; NaN of none."""
    total = weights.sum(axis=-1)
    total = np.where(total > 0, total, np.nan)
    return (weights @ values) / (total[..., None] if values.ndim > 1 else total)


def chance_corrected(
    observed: np.ndarray, expected: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """(observed - expected) / (1 - expected), NaN where one label has all [*S].

    Args:
      share: of each label [*S K].
    """
    defined = np.sum(share > 0, axis=-1) > 1
    room = np.where(defined, 1.0 - expected, 1.0)
    return np.where(defined, (observed - expected) / room, np.nan)
