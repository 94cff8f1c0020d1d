"""Group methods: the advantages and the loss of each, with its paper's defaults.

`METHODS` is the only table of them; `--method` selects a row by name. A row's clip
range, beta and placement of the KL are its paper's, as its `source` says; what a paper
leaves open is marked. "From memory" marks values that could not be checked against the
paper or its code; TRL means the code of its version 1.16. `--beta` overrides a row's.

A custom method is a `GroupMethod`:

    grpo.main(grpo.Config(...), method=dataclasses.replace(GRPO, beta=0.0))
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import jax.numpy as jnp

from jaxalign import estimators, losses, messages
from jaxalign.training.objectives.grpo import Reduction, TokenLoss
from jaxalign.types import Array

KLPlacement = Literal["loss", "reward", "reward_to_go"]
# Placements of the KL, as tables name them.
KL_PLACEMENT_TEXTS = {
    "loss": "in the loss",
    "reward": "in the reward, whole answer",
    "reward_to_go": "in the reward, to go",
}


@dataclasses.dataclass(frozen=True)
class GroupMethod:
    """The parts and hyperparameters by which group methods differ.

    Attributes:
      advantage: rewards [P N] of N answers to each of P prompts -> advantages [P N].
      surrogate: (logp, old_logp, advantage, mask) [A T] each, clip_low and clip_high ->
        terms [A T]. Where there are several updates on the same answers, it must weight
        by the importance ratio.
      mean: tokens of the longest answer -> the reduction of the terms.
      clip_low, clip_high: how far the importance ratio may fall below and rise above 1.
      kl: placement of the KL to the reference. loss: `losses.kl_loss`, per token;
        reward: k1 of the sampled answer, subtracted from its reward; reward_to_go: k1
        of a token and of those after it, subtracted from the reward, token by token;
        the result is whitened over all tokens (`estimators.reinforce_plus_plus`).
      beta: coefficient of the KL; 0 for none.
      dynamic_sampling: replace prompts whose answers all have the same reward, before
        any shaping, by freshly sampled ones (DAPO).
      overlong: share of the longest answer's tokens, at its end, over which the penalty
        of length grows to 1, in place of the penalty of a missing end token; 0 for
        none. DAPO has 4,096 of 20,480.
      source: of the defaults, and which of them could not be checked.
    """

    advantage: Callable[[Array], Array]
    surrogate: Callable[..., Array]
    mean: Callable[[int], Reduction]
    clip_low: float = 0.2
    clip_high: float = 0.2
    kl: KLPlacement = "loss"
    beta: float = 0.0
    dynamic_sampling: bool = False
    overlong: float = 0.0
    source: str = ""

    @property
    def loss(self) -> TokenLoss:
        """The surrogate with its clip range."""
        clip = {"clip_low": self.clip_low, "clip_high": self.clip_high}
        return functools.partial(self.surrogate, **clip)

    def hyperparameters(self, beta: float | None = None) -> dict[str, Any]:
        """The hyperparameters of a run, for its numbers and tables.

        Args:
          beta: in place of the method's own.
        """
        beta = self.beta if beta is None else beta
        return {
            "kl_term": KL_PLACEMENT_TEXTS[self.kl] if beta else "none",
            "beta": beta,
            "clip_low": self.clip_low,
            "clip_high": self.clip_high,
        }


def token_ratio_terms(
    logp: Array, old_logp: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """PPO's clipped surrogate, with an importance ratio per token."""
    return losses.clipped_surrogate(logp, old_logp, advantage, **clip)


def clipped_weight_terms(
    logp: Array, old_logp: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """CISPO's surrogate: a clipped importance weight, without a gradient."""
    return losses.cispo(logp, old_logp, advantage, **clip)


def sequence_ratio_terms(
    logp: Array, old_logp: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """GSPO's surrogate, of the answer's mean log-ratio, repeated for its tokens."""
    terms = losses.gspo(logp, old_logp, advantage[:, 0], mask, **clip)
    return jnp.broadcast_to(terms[:, None], logp.shape)


def answer_ratio_terms(
    logp: Array, old_logp: Array, advantage: Array, mask: Array, **clip: float
) -> Array:
    """RLOO's surrogate, of the whole answer's ratio, repeated for its tokens."""
    terms = losses.sequence_clipped_surrogate(
        logp, old_logp, advantage[:, 0], mask, **clip
    )
    return jnp.broadcast_to(terms[:, None], logp.shape)


def raw_rewards(rewards: Array) -> Array:
    """The rewards themselves as advantages: no baseline of the group."""
    return rewards


def divide_by_longest(length: int) -> Reduction:
    """The reduction of Dr. GRPO: sums over answers, divided by a constant length."""
    return functools.partial(losses.constant_length_mean, length=length)


def ignore_longest(mean: Reduction) -> Callable[[int], Reduction]:
    """A reduction that does not depend on the longest answer."""
    return lambda longest: mean


GRPO = GroupMethod(
    estimators.group_normalized,
    token_ratio_terms,
    ignore_longest(losses.sequence_mean),
    beta=0.04,
    source="Shao et al. 2024, arXiv:2402.03300; beta and clip from memory; the KL's "
    "gradient is that of KL(policy || reference), where the paper differentiates k3",
)
METHODS = {
    "grpo": GRPO,
    "dr_grpo": GroupMethod(
        estimators.group_centered,
        token_ratio_terms,
        divide_by_longest,
        source="Liu et al. 2025, arXiv:2503.20783; no KL and clip from memory",
    ),
    "rloo": GroupMethod(
        estimators.leave_one_out,
        answer_ratio_terms,
        ignore_longest(losses.sequence_mean),
        kl="reward",
        beta=0.05,
        source="Ahmadian et al. 2024, arXiv:2402.14740, for one update; ratio and beta "
        "of TRL's code, clip from memory of it",
    ),
    "reinforce_plus_plus": GroupMethod(
        raw_rewards,
        token_ratio_terms,
        ignore_longest(losses.token_mean),
        kl="reward_to_go",
        beta=0.01,
        source="Hu 2025, arXiv:2501.03262; beta (.01 or so) and clip from memory",
    ),
    "dapo": GroupMethod(
        estimators.group_normalized,
        token_ratio_terms,
        ignore_longest(losses.token_mean),
        clip_high=0.28,
        dynamic_sampling=True,
        overlong=0.2,
        source="Yu et al. 2025, arXiv:2503.14476, eq. 13 (length); clip from memory",
    ),
    "gspo": GroupMethod(
        estimators.group_normalized,
        sequence_ratio_terms,
        ignore_longest(losses.sequence_mean),
        clip_low=3e-4,
        clip_high=4e-4,
        source="Zheng et al. 2025, arXiv:2507.18071; clip from memory; its objective "
        "states no KL, so that there is none here",
    ),
    "cispo": GroupMethod(
        estimators.group_normalized,
        clipped_weight_terms,
        ignore_longest(losses.token_mean),
        clip_low=1.0,
        clip_high=4.0,
        dynamic_sampling=True,
        overlong=0.2,
        source="MiniMax 2025, arXiv:2506.13585; it prints no clip range: TRL's upper "
        "bound of 5 and no lower one; no KL, dynamic sampling and length as DAPO, from "
        "memory",
    ),
}


def get_method(name: str) -> GroupMethod:
    """The method of that name.

    Raises:
      ValueError: there is none; similar names are suggested.
    """
    if name not in METHODS:
        raise messages.unknown_name("method", name, METHODS)
    return METHODS[name]
