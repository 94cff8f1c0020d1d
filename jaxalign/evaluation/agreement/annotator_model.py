"""Annotators' sharpness, side bias and lapses, from pairs that several judged.

P(left) = (1 - lapse_a) sigmoid(sharpness_a Delta + bias_a) + lapse_a / 2

where Delta is how much better the left answer of the pair is. Where Delta is not known
(a reward model's or a true reward), it is integrated out, and its unit is the standard
deviation of pairs: a sharpness of 2 is log-odds of 2 where answers differ by it. That
is the four-parameter logistic of test theory, with equal upper and lower asymptotes.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.evaluation.agreement import latent_differences
from jaxalign.evaluation.intervals import Interval
from jaxalign.losses.annotations import annotator_bradley_terry

# Weak normal priors of log sharpness, bias, and the log-odds of a lapse: they decide
# for annotators of a dozen judgements, such as one who always chose the left side.
PRIOR_MEAN = np.array([0.0, 0.0, -2.0])
PRIOR_SD = np.array([1.5, 1.5, 1.25])


class AnnotatorFit(NamedTuple):
    """Parameters of A annotators and differences of U pairs.

    Attributes:
      sharpness: log-odds per unit of Delta, of each annotator.
      bias: to the left side, in log-odds.
      lapse: share of choices at random.
      judgements: number of each annotator [A].
      difference, difference_sd: mean and standard deviation of Delta of each pair given
        its judgements [U], in the order of its answers.
    """

    sharpness: list[Interval]
    bias: list[Interval]
    lapse: list[Interval]
    judgements: np.ndarray
    difference: np.ndarray
    difference_sd: np.ndarray


def fit_annotators(
    item: np.ndarray,
    annotator: np.ndarray,
    chose_left: np.ndarray,
    swapped: np.ndarray,
    *,
    difference: np.ndarray | None = None,
) -> AnnotatorFit:
    """Fits annotators by maximum likelihood with weak priors; Laplace's 95 % intervals.

    Args:
      item: index from 0 of the pair of each judgement [R].
      annotator: index from 0 of who judged it [R].
      chose_left: whether the left one of the shown answers was chosen [R].
      swapped: whether the pair's second answer was shown on the left [R].
      difference: known Delta of each pair, its first answer's reward less its second's
        [U]; by default it is integrated out.

    Raises:
      ValueError: no judgements, or columns of different lengths.

    Reference: Barton and Lord 1981 (four-parameter logistic); Bock and Aitkin 1981,
    Psychometrika 46 (marginal likelihood); Dawid and Skene 1979 for labels by name.

    >>> left = np.array([True, True, False, True] * 25)
    >>> pairs, ones = np.zeros(100, int), np.zeros(100, int)
    >>> fit = fit_annotators(pairs, ones, left, ones > 0, difference=np.zeros(1))
    >>> bool(fit.bias[0].low < np.log(3) < fit.bias[0].high)  # 3 of 4 at the left
    True
    """
    columns = item, annotator, chose_left, swapped
    if len({len(column) for column in columns}) > 1:
        raise ValueError(f"columns of lengths {[len(c) for c in columns]} differ")
    judged = latent_differences.judged_rows(
        np.asarray(item),
        np.asarray(annotator),
        np.asarray(chose_left, bool),
        np.where(swapped, -1.0, 1.0),
        known=difference,
    )
    annotators = int(np.max(annotator)) + 1
    padded = latent_differences.padded_size(annotators)
    prior = np.repeat(PRIOR_MEAN, padded), np.repeat(PRIOR_SD, padded)
    start = np.repeat(PRIOR_MEAN, padded)
    fitted = latent_differences.fit(judged, row_log_likelihood, start, prior=prior)
    mean = fitted.parameters.reshape(3, padded)[:, :annotators]
    sd = np.sqrt(np.diag(fitted.covariance)).reshape(3, padded)[:, :annotators]
    return AnnotatorFit(
        sharpness=intervals(mean[0], sd[0], np.exp),
        bias=intervals(mean[1], sd[1], np.asarray),
        lapse=intervals(mean[2], sd[2], sigmoid),
        judgements=np.bincount(annotator, minlength=annotators),
        difference=fitted.difference,
        difference_sd=fitted.difference_sd,
    )


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x))."""
    return np.asarray(0.5 * (1 + np.tanh(x / 2)))


def intervals(
    mean: np.ndarray, sd: np.ndarray, link: Callable[[np.ndarray], np.ndarray]
) -> list[Interval]:
    """Laplace's intervals of each annotator's parameter through its link function."""
    half = latent_differences.Z * sd
    bounds = np.stack([link(mean), link(mean - half), link(mean + half)], axis=1)
    return [Interval(*row) for row in bounds.tolist()]


def row_log_likelihood(
    parameters: jax.Array, nodes: jax.Array, columns: tuple[jax.Array, ...]
) -> jax.Array:
    """log P(choice) of each row at each node of Delta [R Q]."""
    annotator, chose_left, side = columns
    log_sharpness, bias, lapse_logit = parameters.reshape(3, -1)[:, annotator]
    shown = nodes * side[:, None]
    wide = lambda x: jnp.broadcast_to(x[:, None], shown.shape)
    return -annotator_bradley_terry(
        shown,
        jnp.zeros_like(shown),
        wide(chose_left),
        sharpness=wide(jnp.exp(log_sharpness)),
        bias=wide(bias),
        lapse=wide(jax.nn.sigmoid(lapse_logit)),
    )
