"""Rewards that a model learned: the score at the answer's last token."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxalign.batches import BatchLayout, TokenBatch
from jaxalign.types import Array, Float, Params, ScalarModel


def score(model: ScalarModel, params: Params, batch: TokenBatch) -> Float[Array, "B"]:
    """The score at each row's last token that is not padding.

    Found by the row's length: appending padding does not change it.

    Reference: Stiennon et al. 2020, arXiv:2009.01325, section 3.4.
    """
    told = (batch.tokens, batch.positions, batch.segments)
    last = jnp.maximum(batch.lengths - 1, 0)
    return model.scores(params, *told, at=last[:, None])[:, 0]


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
    """normalised score = gain * raw score + bias."""

    gain: float
    bias: float


def fit_scale(scores: Float[Array, "R"]) -> Scale:
    """What gives these scores mean 0 and standard deviation 1.

    gain = 1 / std(scores),   bias = -gain * mean(scores)

    Raises:
      ValueError: all scores are the same, or one is not finite.

    >>> fit_scale(jnp.array([1.0, 3.0]))
    Scale(gain=1.0, bias=-2.0)
    """
    scores = jnp.asarray(scores, jnp.float32)
    wrong = jnp.flatnonzero(~jnp.isfinite(scores))
    if len(wrong):
        raise ValueError(
            f"the reward model's score of answer {wrong[0]} is {scores[wrong[0]]}: "
            "there is nothing to normalise by"
        )
    spread = float(jnp.std(scores))
    if not spread > 0:
        raise ValueError("all scores are the same: there is nothing to normalise")
    return Scale(1.0 / spread, -float(jnp.mean(scores)) / spread)


def normalize(params: Params, scores: Float[Array, "R"]) -> Params:
    """The reward model whose scores of these answers have mean 0 and deviation 1.

    `fit_scale`, folded into the head. Preferences fix scores up to a constant only. What
    probability a raw score stood for is lost, unless the scale is kept.

    Args:
      scores: of answers of the initial policy, under `params`.

    Raises:
      ValueError: all scores are the same.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.1.
    """
    gain, bias = fit_scale(scores)
    head = jax.tree.map(lambda x: x * gain, params["head"])
    return {**params, "head": {**head, "bias": head["bias"] + bias}}
