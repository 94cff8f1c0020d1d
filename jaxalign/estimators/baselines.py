"""Advantages of whole answers: rewards compared with those of other samples.

Rewards are [P N], N samples of each of P prompts. An advantage weighs the log-prob of
its whole answer, so it is broadcast over that answer's tokens.
"""

import jax.numpy as jnp

from jaxalign.masks import whiten
from jaxalign.types import Array, Float, Scalar, typed


@typed
def group_centered(rewards: Float[Array, "P N"]) -> Float[Array, "P N"]:
    """Rewards less the mean of their prompt's.

    A = r - mean of the group

    In expectation (N - 1) / N of the policy gradient, since the mean holds the reward
    itself; `leave_one_out` is without this factor.

    Raises:
      ValueError: a group is one sample, so that every advantage would be 0.

    Reference: Liu et al. 2025, arXiv:2503.20783 (Dr. GRPO).

    >>> group_centered(jnp.array([[1.0, 3.0]])).tolist()
    [[-1.0, 1.0]]
    """
    if rewards.shape[1] < 2:
        raise ValueError("a baseline of the group needs 2 samples a prompt, not 1")
    return rewards - jnp.mean(rewards, axis=1, keepdims=True)


@typed
def group_normalized(
    rewards: Float[Array, "P N"], *, eps: Scalar = 1e-4
) -> Float[Array, "P N"]:
    """Rewards less the mean of their prompt's, over their standard deviation.

    A = (r - mean of the group) / (std of the group + eps)

    The deviation is the sample's, sum of squares over N - 1, as in TRL and verl (the
    paper does not say). Equal rewards get 0, and no gradient through the deviation.

    Raises:
      ValueError: a group is one sample.

    Reference: Shao et al. 2024, arXiv:2402.03300, section 4.1 (GRPO); eps as in TRL.

    >>> group_normalized(jnp.array([[1.0, 3.0, 5.0]]), eps=0.0).tolist()
    [[-1.0, 0.0, 1.0]]
    """
    centred = group_centered(rewards)
    squares = jnp.sum(jnp.square(centred), axis=1, keepdims=True)
    differ = squares > 0.0
    variance = jnp.where(differ, squares, 1.0) / (rewards.shape[1] - 1)
    std = jnp.where(differ, jnp.sqrt(variance), 1.0)
    return centred / (std + eps)


@typed
def leave_one_out(rewards: Float[Array, "P N"]) -> Float[Array, "P N"]:
    """Each reward less the mean of the others of its prompt.

    A_i = r_i - (sum over j != i of r_j) / (N - 1) = N / (N - 1) * (r_i - mean)

    The baseline does not depend on the sample, so the policy gradient is unbiased.

    Raises:
      ValueError: a group is one sample, and there are no others.

    Reference: Ahmadian et al. 2024, arXiv:2402.14740 (RLOO); Kool et al. 2019.

    >>> leave_one_out(jnp.array([[1.0, 3.0, 8.0]])).tolist()
    [[-4.5, -1.5, 6.0]]
    """
    samples = rewards.shape[1]
    return group_centered(rewards) * (samples / (samples - 1))


@typed
def reinforce_plus_plus_baseline(rewards: Float[Array, "P N"]) -> Float[Array, "P N"]:
    """Rewards less the mean of their prompt's, then whitened over the batch.

    A = (r - mean of the group) / std over the batch of (r - mean of the group)

    One scale for all, so that a prompt's advantages keep their size next to others'.
    The KL is a loss here, not a reward; without groups, `reinforce_plus_plus`.

    Raises:
      ValueError: a group is one sample.

    Reference: Hu 2025, arXiv:2501.03262 (REINFORCE++-baseline).

    >>> reinforce_plus_plus_baseline(jnp.array([[1.0, 3.0], [8.0, 6.0]])).tolist()
    [[-1.0, 1.0], [1.0, -1.0]]
    """
    return whiten(group_centered(rewards), jnp.ones(rewards.shape, bool))
