"""Advantages of whole answers from groups of samples of one prompt.

advantage                     paper                        baseline, scale
----------------------------  ---------------------------  -----------------------------
group_centered                Liu et al. 2025 (Dr. GRPO)   group mean, none
group_normalized              Shao et al. 2024 (GRPO)      group mean, group deviation
leave_one_out                 Ahmadian et al. 2024 (RLOO)  mean of the others, none
reinforce_plus_plus_baseline  Hu 2025                      group mean, batch deviation

Rewards are [*P N], N samples of each prompt. An advantage weighs the log-prob of its
whole answer, so it is broadcast over that answer's tokens.
"""

import jax.numpy as jnp

from jaxalign.masks import whiten
from jaxalign.types import Array, Float, Scalar, typed


@typed
def group_centered(rewards: Float[Array, "*P N"]) -> Float[Array, "*P N"]:
    """Dr. GRPO advantages: rewards less the mean of their group.

    A = r - mean of the group

    In expectation (N - 1) / N of the policy gradient, since the mean contains the
    reward itself; `leave_one_out` has no such factor.

    Args:
      rewards: rewards of N samples per prompt, N at least 2.

    Returns:
      One advantage per sample.

    Raises:
      ValueError: groups of one sample, whose advantages would all be 0.

    Reference: Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).

    >>> group_centered([1.0, 3.0]).tolist()
    [-1.0, 1.0]
    """
    if rewards.shape[-1] < 2:
        raise ValueError("a group baseline needs at least 2 samples per prompt, not 1")
    return rewards - jnp.mean(rewards, axis=-1, keepdims=True)


@typed
def group_normalized(
    rewards: Float[Array, "*P N"], *, eps: Scalar = 1e-4
) -> Float[Array, "*P N"]:
    """GRPO advantages: rewards less their group's mean, over its standard deviation.

    A = (r - mean of the group) / (std of the group + eps)

    The deviation is the sample's, sum of squares over N - 1, as in TRL and verl (the
    paper does not say).

    Args:
      rewards: rewards of N samples per prompt, N at least 2.
      eps: added to the deviation, at least 0.

    Returns:
      One advantage per sample; 0 where all rewards of a group are equal, without a
      gradient through the deviation.

    Raises:
      ValueError: groups of one sample.

    Reference: Shao et al. 2024, arXiv:2402.03300, section 4.1 (GRPO); eps as in TRL.

    >>> group_normalized([1.0, 3.0, 5.0], eps=0.0).tolist()
    [-1.0, 0.0, 1.0]
    """
    centered = group_centered(rewards)
    squares = jnp.sum(jnp.square(centered), axis=-1, keepdims=True)
    differ = squares > 0.0
    variance = jnp.where(differ, squares, 1.0) / (rewards.shape[-1] - 1)
    std = jnp.where(differ, jnp.sqrt(variance), 1.0)
    return centered / (std + eps)


@typed
def leave_one_out(rewards: Float[Array, "*P N"]) -> Float[Array, "*P N"]:
    """RLOO advantages: each reward less the mean of the others of its group.

    A_i = r_i - (sum over j != i of r_j) / (N - 1) = N / (N - 1) * (r_i - mean)

    The baseline does not depend on the sample, so the policy gradient is unbiased.

    Args:
      rewards: rewards of N samples per prompt, N at least 2.

    Returns:
      One advantage per sample.

    Raises:
      ValueError: groups of one sample.

    Reference: Ahmadian et al. 2024, arXiv:2402.14740 (RLOO); Kool et al. 2019.

    >>> leave_one_out([1.0, 3.0, 8.0]).tolist()
    [-4.5, -1.5, 6.0]
    """
    samples = rewards.shape[-1]
    return group_centered(rewards) * (samples / (samples - 1))


@typed
def reinforce_plus_plus_baseline(
    rewards: Float[Array, "*P N"],
) -> Float[Array, "*P N"]:
    """REINFORCE++-baseline advantages: centered per group, whitened over the batch.

    A = (r - mean of the group) / std over the batch of (r - mean of the group)

    One scale for all, so that the advantages of different prompts stay comparable. The
    KL is a loss here, not a reward; without groups, `reinforce_plus_plus`.

    Args:
      rewards: rewards of N samples per prompt, N at least 2.

    Returns:
      One advantage per sample.

    Raises:
      ValueError: groups of one sample.

    Reference: Hu 2025, arXiv:2501.03262 (REINFORCE++-baseline).

    >>> reinforce_plus_plus_baseline([[1.0, 3.0], [8.0, 6.0]]).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    return whiten(group_centered(rewards), jnp.ones(rewards.shape, bool))
