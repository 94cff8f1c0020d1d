"""Soft labels of graded pairs, from the scale that a study's judgements fit.

label_prob = E[sigmoid(Delta) | position],  Delta ~ N(0, spread^2)

with Delta the difference in favor of the preferred answer: the probability that another
person would prefer it, too, given how strongly it was preferred. A weak preference is
worth less than a strong one, by as much as the people of this study disagree about it.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from jaxalign.evaluation.agreement import latent_differences
from jaxalign.evaluation.agreement.graded_scale import ScaleFit, fit_scale
from jaxalign.feedback.export import SoftLabel, reason_left_out
from jaxalign.feedback.judgements import Item, Judgement, signed_strength
from jaxalign.losses import cumulative_logit


def fit_soft_labels(
    items: Mapping[str, Item], judgements: Sequence[Judgement]
) -> SoftLabel:
    """The soft label of each judged pair, by a scale that is fitted to all of them.

    Raises:
      ValueError: pairs of two scales, or none that two people judged.
    """
    graded = [
        (judgement, int((judgement.levels + 1) / 2 - strength))
        for judgement in judgements
        if judgement.kind == "pair"
        and isinstance(judgement.value, int)
        and not reason_left_out(judgement, items)
        and (strength := signed_strength(judgement)) is not None
    ]
    scales = {judgement.levels for judgement, _ in graded}
    place = {name: i for i, name in enumerate(items)}
    index = np.array([place[judgement.item] for judgement, _ in graded], int)
    if len(scales) != 1 or np.bincount(index).max() < 2:
        raise ValueError(
            "soft labels need pairs of one scale, some of which two people or more "
            f"judged; there are {len(graded)} judgements on scales of "
            f"{', '.join(map(str, sorted(scales))) or 'no'} levels"
        )
    (levels,) = scales
    _, item = np.unique(index, return_inverse=True)
    position = np.array([p for _, p in graded])
    by_position = label_probs(fit_scale(item, position, levels=levels), levels)

    def soft_label(judgement: Judgement) -> float:
        strength = signed_strength(judgement) or 0.0
        first_better = by_position[int((levels + 1) / 2 - strength) - 1]
        return float(first_better if strength >= 0 else 1 - first_better)

    return soft_label


def label_probs(fit: ScaleFit, levels: int) -> np.ndarray:
    """P(the first answer is better | position) of each position [levels].

    >>> from jaxalign.evaluation.intervals import Interval
    >>> one = Interval(1.0, 1.0, 1.0)
    >>> fit = ScaleFit([one], one, np.zeros(1), np.zeros(1))
    >>> label_probs(fit, 4).round(2).tolist()
    [0.62, 0.53, 0.47, 0.38]
    """
    grid = latent_differences.GRID
    delta = jnp.asarray(fit.spread.mean * grid)
    thresholds = [interval.mean for interval in fit.thresholds]
    probs = []
    for position in range(1, levels + 1):
        loss = cumulative_logit(
            delta,
            jnp.zeros_like(delta),
            jnp.full(delta.shape, position),
            levels=levels,
            thresholds=thresholds,
        )
        weight = np.exp(-np.asarray(loss, np.float64) - grid**2 / 2)
        better = 1 / (1 + np.exp(-np.asarray(delta, np.float64)))
        probs.append(float(np.sum(weight * better) / np.sum(weight)))
    return np.array(probs)
