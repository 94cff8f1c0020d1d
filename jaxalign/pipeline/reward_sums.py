"""Weighted sums of rewards, each of which may be normalized.

reward = sum over k of weight_k * r_k

With --reward-normalization the sum that advantages are computed from is of

    (r_k - mean(r_k)) / (std(r_k) + 1e-4)

over the answers to each prompt (`group`), or over all answers of the iteration
(`batch`), so that no reward outweighs the others by its spread. It is
`estimators.group_normalized`: std is the sample's, and equal rewards become 0.

Reference: Liu et al. 2026, arXiv:2601.05242 (GDPO: over groups, then over the batch).
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp

from jaxalign import estimators
from jaxalign.batches import TokenBatch
from jaxalign.data.records import Prompt
from jaxalign.types import Array

Normalization = Literal["none", "group", "batch"]

# (prompts of this process, sequences [A T], ended [A]) -> rewards [A] by name
RewardFunctions = Callable[[list[Prompt], TokenBatch, Array], dict[str, Array]]
LearnedReward = Callable[[list[Prompt], TokenBatch, Array], Array]


class RewardSum:
    """A reward function that is a weighted sum of rewards.

    Attributes:
      weights: of the rewards by name.
    """

    def __init__(
        self,
        weights: Mapping[str, float],
        learned: Mapping[str, LearnedReward],
        of_texts: RewardFunctions,
    ) -> None:
        """Args:

        weights: of all rewards by name.
        learned: those of them that score tokens.
        of_texts: the others.
        """
        self.weights = dict(weights)
        self.learned, self.of_texts = dict(learned), of_texts

    def values(
        self, prompts: list[Prompt], sequences: TokenBatch, ended: Array
    ) -> dict[str, Array]:
        """Each reward of the answers, before its weight [A]."""
        found = self.of_texts(prompts, sequences, ended)
        for name, reward in self.learned.items():
            found[name] = reward(prompts, sequences, ended)
        return {name: found[name] for name in self.weights}

    def __call__(
        self, prompts: list[Prompt], sequences: TokenBatch, ended: Array
    ) -> Array:
        """The weighted sum [A]."""
        return weighted_sum(self.values(prompts, sequences, ended), self.weights)


def weighted_sum(values: Mapping[str, Array], weights: Mapping[str, float]) -> Array:
    """The sum of rewards [A] by name, each times its weight [A]."""
    terms = [jnp.float32(weights[name]) * value for name, value in values.items()]
    return sum(terms[1:], start=terms[0])


@partial(jax.jit, static_argnames="size")
def normalize(rewards: Array, *, size: int) -> Array:
    """Rewards [A] less their mean, over their spread, by groups of `size` in a row.

    >>> rewards = jnp.array([1.0, 3.0, 5.0, 5.0, 5.0, 5.0])
    >>> normalize(rewards, size=3).round().astype(int).tolist()
    [-1, 0, 1, 0, 0, 0]
    """
    return estimators.group_normalized(rewards.reshape(-1, size)).reshape(-1)


def check_normalization(normalization: Normalization, samples: int) -> None:
    """Refuses to normalize groups of one answer, of which nothing would be left.

    Raises:
      ValueError: names the flag.
    """
    if normalization == "group" and samples < 2:
        raise ValueError(
            "--reward-normalization group needs several answers to a prompt, and here "
            "each prompt has one: choose batch"
        )
