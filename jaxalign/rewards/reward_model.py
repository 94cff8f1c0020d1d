"""Rewards of a reward model: its score at the last token of each answer."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.batches import BatchLayout, TokenBatch
from jaxalign.types import Array, Float, Params, ScalarModel


def score(model: ScalarModel, params: Params, batch: TokenBatch) -> Float[Array, "B"]:
    """Score of each row, at its last token before padding.

    The position comes from the row's length: more padding does not change the score.

    Args:
      model, params: the reward model.
      batch: right-padded rows.

    Returns:
      One score per row [B].

    Reference: Stiennon et al. 2020, arXiv:2009.01325, section 3.4.
    """
    inputs = (batch.tokens, batch.positions, batch.segments)
    last = jnp.maximum(batch.lengths - 1, 0)
    return model.scores(params, *inputs, at=last[:, None])[:, 0]


def answer_scores(
    model: ScalarModel, params: Params, batch: BatchLayout
) -> Float[Array, "A"]:
    """The score at the last token of each answer, whatever the layout of the batch.

    An answer that is missing from a packed batch has a score of no meaning.
    """
    rows = batch.rows()
    inputs = (rows.tokens, rows.positions, rows.segments)
    return model.scores(params, *inputs, at=batch.answer_ends()).reshape(-1)


class Scale(NamedTuple):
    """Affine normalization: normalized score = gain * raw score + bias."""

    gain: float
    bias: float


def fit_scale(scores: Float[Array, "R"]) -> Scale:
    """Fit the normalization of scores to mean 0 and standard deviation 1.

    gain = 1 / std(scores),   bias = -gain * mean(scores)

    Raises:
      ValueError: all scores are the same, or one is not finite.

    >>> fit_scale(jnp.array([1.0, 3.0]))
    Scale(gain=1.0, bias=-2.0)
    """
    scores = jnp.asarray(scores, jnp.float32)
    invalid = jnp.flatnonzero(~jnp.isfinite(scores))
    if len(invalid):
        raise ValueError(
            f"the reward model's score of answer {invalid[0]} is {scores[invalid[0]]}; "
            "normalization needs finite scores"
        )
    spread = float(jnp.std(scores))
    if not spread > 0:
        raise ValueError("all scores are the same; normalization needs different ones")
    return Scale(1.0 / spread, -float(jnp.mean(scores)) / spread)


def normalize(params: Params, scores: Float[Array, "R"]) -> Params:
    """Normalize a reward model's scores to mean 0 and standard deviation 1.

    `fit_scale`, folded into the head. Preferences fix scores up to a constant only. The
    Bradley-Terry probabilities of raw scores are lost unless the scale is stored.

    Args:
      params: parameters of the reward model.
      scores: its scores of answers of the initial policy.

    Returns:
      Parameters with a rescaled head.

    Raises:
      ValueError: all scores are the same.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.1.
    """
    gain, bias = fit_scale(scores)
    head = jax.tree.map(lambda x: x * gain, params["head"])
    return {**params, "head": {**head, "bias": head["bias"] + bias}}
