"""Group methods: how each makes advantages and a loss, with its paper's defaults.

`METHODS` is the one table of them; `--method` names its rows. Each row's clip range,
beta and place of the KL are its paper's, as its `source` says; what a paper leaves open
is said to be so. "From memory" marks values that could not be checked against the paper
or its code; TRL means the code of its version 1.16. `--beta` overrides a row's.

A method of your own is a `Method`:

    grpo.main(grpo.Config(...), method=dataclasses.replace(groups.GRPO, beta=0.0))
"""

import dataclasses
import difflib
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp

from jaxalign import estimators, losses
from jaxalign.training.group_objectives import Mean, TokenLoss
from jaxalign.types import Array

Place = Literal["loss", "reward", "reward_to_go"]
# What tables call the places of the KL.
PLACES = {
    "loss": "in the loss",
    "reward": "in the reward, whole answer",
    "reward_to_go": "in the reward, to go",
}


@dataclasses.dataclass(frozen=True)
class Method:
    """What group methods differ by.

    Attributes:
      advantage: rewards [P N] -> advantages [P N].
      surrogate: (logp, old_logp, advantage, mask) [B T] each, and clip_low and
        clip_high -> terms [B T]. Where there are several updates on the same answers,
        it must weigh by the importance ratio.
      mean: how terms become one number; called with the longest answer, in tokens.
      clip_low, clip_high: how far below and above 1 the ratio counts.
      kl: where the KL to the reference is. loss: `losses.kl_loss`, of each token;
        reward: k1 of the sampled answer, taken from its reward; reward_to_go: k1 of a
        token and of those after it, taken from the reward, token by token; the result
        is whitened over all tokens (`estimators.reinforce_plus_plus`).
      beta: its coefficient; 0 for none.
      informative: leave out, and draw anew, prompts whose answers all have one reward,
        before any shaping.
      overlong: the last share of the longest answer's tokens, over which length comes
        to cost 1, in place of the penalty of a missing end token; DAPO has 4,096 of
        20,480.
      source: of the defaults, and which of them could not be checked.
    """

    advantage: Callable[[Array], Array]
    surrogate: Callable[..., Array]
    mean: Callable[[int], Mean]
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: Place = "loss"
    beta: float = 0.0
    informative: bool = False
    overlong: float = 0.0
    source: str = ""

    @property
    def loss(self) -> TokenLoss:
        """The surrogate with its clip range."""
        clip = {"clip_low": self.clip_low, "clip_high": self.clip_high}
        return functools.partial(self.surrogate, **clip)

    def hyperparameters(self, beta: float | None = None) -> dict[str, Any]:
        """What a run of this method was made with, for its numbers and tables.

        Args:
          beta: in place of the method's own.
        """
        beta = self.beta if beta is None else beta
        return {
            "kl_term": PLACES[self.kl] if beta else "none",
            "beta": beta,
            "clip_low": self.clip_low,
            "clip_high": self.clip_high,
        }


def by_token(
    logp: Array, old: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """PPO's clipped objective, with a ratio for each token."""
    return losses.clipped_surrogate(logp, old, advantage, **clip)


def by_clipped_weight(
    logp: Array, old: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """CISPO's."""
    return losses.cispo(logp, old, advantage, **clip)


def by_sequence(
    logp: Array, old: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """GSPO's, of a mean log-ratio; the answer's term at each of its tokens."""
    terms = losses.sequence_ratio_surrogate(logp, old, advantage[:, 0], mask, **clip)
    return jnp.broadcast_to(terms[:, None], logp.shape)


def by_answer(
    logp: Array, old: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """RLOO's, of the whole answer's ratio; its term at each of its tokens."""
    terms = losses.answer_ratio_surrogate(logp, old, advantage[:, 0], mask, **clip)
    return jnp.broadcast_to(terms[:, None], logp.shape)


def as_given(rewards: Array) -> Array:
    """Rewards as advantages, without a baseline of the group."""
    return rewards


def constant(length: int) -> Mean:
    """A mean over answers of their sums, over a constant length."""
    return functools.partial(losses.constant_length, length=length)


def always(mean: Any) -> Callable[[int], Mean]:
    """A mean that does not ask for the longest answer."""
    return lambda longest: mean


GRPO = Method(
    estimators.group_scaled,
    by_token,
    always(losses.sequence_mean),
    beta=0.04,
    source="Shao et al. 2024, arXiv:2402.03300; beta and clip from memory; the KL's "
    "gradient is that of KL(policy || reference), where the paper differentiates k3",
)
METHODS = {
    "grpo": GRPO,
    "dr_grpo": Method(
        estimators.group_centred,
        by_token,
        constant,
        source="Liu et al. 2025, arXiv:2503.20783; no KL and clip from memory",
    ),
    "rloo": Method(
        estimators.leave_one_out,
        by_answer,
        always(losses.sequence_mean),
        kl="reward",
        beta=0.05,
        source="Ahmadian et al. 2024, arXiv:2402.14740, for one update; ratio and beta "
        "of TRL's code, clip from memory of it",
    ),
    "reinforce_plus_plus": Method(
        as_given,
        by_token,
        always(losses.token_mean),
        kl="reward_to_go",
        beta=0.01,
        source="Hu 2025, arXiv:2501.03262; beta (.01 or so) and clip from memory",
    ),
    "dapo": Method(
        estimators.group_scaled,
        by_token,
        always(losses.token_mean),
        clip_high=0.28,
        informative=True,
        overlong=0.2,
        source="Yu et al. 2025, arXiv:2503.14476, eq. 13 (length); clip from memory",
    ),
    "gspo": Method(
        estimators.group_scaled,
        by_sequence,
        always(losses.sequence_mean),
        clip_low=3e-4,
        clip_high=4e-4,
        source="Zheng et al. 2025, arXiv:2507.18071; clip from memory; its objective "
        "states no KL, so that there is none here",
    ),
    "cispo": Method(
        estimators.group_scaled,
        by_clipped_weight,
        always(losses.token_mean),
        clip_low=1.0,
        clip_high=4.0,
        informative=True,
        overlong=0.2,
        source="MiniMax 2025, arXiv:2506.13585; it prints no clip range: TRL's upper "
        "bound of 5 and no lower one; no KL, dynamic sampling and length as DAPO, from "
        "memory",
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
