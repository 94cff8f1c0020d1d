"""Group methods: how each makes advantages of rewards, and a loss of advantages.

A method of your own is a `Method`:

    grpo.main(grpo.Config(...), method=dataclasses.replace(groups.GRPO, mean=...))
"""

import dataclasses
import difflib
import functools
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.training.group_objectives import Mean, TokenLoss
from jaxalign.types import Array


@dataclasses.dataclass(frozen=True)
class Method:
    """What group methods differ by.

    Attributes:
      advantage: rewards [P N] -> advantages [P N].
      loss: terms per token.
      mean: how terms become one number; called with the longest answer, in tokens.
      kl_in_reward: the KL penalty is taken from rewards (k1), rather than a loss.
      informative: leave out, and draw anew, prompts whose answers all have one reward.
      overlong: the last share of the longest answer's tokens, over which length comes
        to cost 1; DAPO has 4,096 of 20,480.
    """

    advantage: Callable[[Array], Array]
    loss: TokenLoss
    mean: Callable[[int], Mean]
    kl_in_reward: bool = False
    informative: bool = False
    overlong: float = 0.0


def clipped(low: float, high: float) -> TokenLoss:
    """PPO's clipped objective."""
    return lambda logp, old, advantage, mask: losses.clipped_surrogate(
        logp, old, advantage, clip_low=low, clip_high=high
    )


def importance_clipped(low: float, high: float) -> TokenLoss:
    """CISPO's."""
    return lambda logp, old, advantage, mask: losses.cispo(
        logp, old, advantage, clip_low=low, clip_high=high
    )


def by_sequence(low: float, high: float) -> TokenLoss:
    """GSPO's, the answer's term at each of its tokens."""

    def loss(logp: Array, old: Array, advantage: Array, mask: Array) -> Array:
        terms = losses.sequence_ratio_surrogate(
            logp, old, advantage[:, 0], mask, clip_low=low, clip_high=high
        )
        return jnp.broadcast_to(terms[:, None], logp.shape)

    return loss


def whole(logp: Array, old: Array, advantage: Array, mask: Array) -> Array:
    """REINFORCE on whole answers."""
    return losses.reinforce(logp, advantage)


def constant(length: int) -> Mean:
    """A mean over answers of their sums, over a constant length."""
    return functools.partial(losses.constant_length, length=length)


def always(mean: Any) -> Callable[[int], Mean]:
    """A mean that does not ask for the longest answer."""
    return lambda longest: mean


GRPO = Method(estimators.group_scaled, clipped(0.2, 0.2), always(losses.sequence_mean))
METHODS = {
    "grpo": GRPO,
    "dr_grpo": Method(estimators.group_centred, clipped(0.2, 0.2), constant),
    "rloo": Method(
        estimators.leave_one_out, whole, always(constant(1)), kl_in_reward=True
    ),
    "reinforce_plus_plus": Method(
        estimators.reinforce_plus_plus,
        clipped(0.2, 0.2),
        always(losses.token_mean),
        kl_in_reward=True,
    ),
    "dapo": Method(
        estimators.group_scaled,
        clipped(0.2, 0.28),
        always(losses.token_mean),
        informative=True,
        overlong=0.2,
    ),
    "gspo": Method(
        estimators.group_scaled, by_sequence(3e-4, 4e-4), always(losses.sequence_mean)
    ),
    "cispo": Method(
        estimators.group_scaled, importance_clipped(1.0, 4.0), always(losses.token_mean)
    ),
}


def named(name: str) -> Method:
    """The method of that name.

    Raises:
      ValueError: there is none; the near ones are suggested.
    """
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=2) or list(METHODS)
        raise ValueError(f"unknown method {name!r}; did you mean {' or '.join(near)}?")
    return METHODS[name]
