"""PPO's flags, and the optimizers, loss and controller that they describe."""

import dataclasses
import functools
from typing import ClassVar, Literal

import optax

from jaxalign import estimators
from jaxalign.pipeline import online, ppo_batch
from jaxalign.runtime import flags
from jaxalign.training import objectives, optimizer
from jaxalign.training.step import Objective
from jaxalign.types import Array, LanguageModel, ScalarModel

ADAMS = {
    "standard": optax.scale_by_adam,
    "tensorflow": optimizer.scale_by_tensorflow_adam,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(online.OnlineConfig):
    """Proximal policy optimisation."""

    EXPERIMENT: ClassVar[str] = "ppo"
    RANGES: ClassVar = {
        "gamma": flags.SHARE,
        "lam": flags.SHARE,
        "value_clip": flags.LIMIT,
    }
    batch: int = 64
    """Answers sampled in an iteration, over all devices."""
    minibatches: int = 2
    epochs: int = 2
    kl_stop: float | None = None
    """Ends an iteration's epochs once approxkl is above (nats a token)."""
    value: str | None = None
    """What the value model starts from: a reward model's folder, or policy; by default
    --reward where that is a folder."""
    value_learning_rate: float | None = None
    """By default, the policy's."""
    value_warmup: int = 0
    """First iterations, in which the value model alone trains."""
    eps: float = 1e-5
    """Adam's epsilon."""
    adam: Literal["standard", "tensorflow"] = "standard"
    """Whether epsilon stands beside the corrected moment, or the one as it is."""
    clip: float = 0.2
    """How far from 1 the ratio counts."""
    value_clip: float = 0.2
    """How far a value may move from its rollout's; inf for any."""
    entropy_weight: float = 0.0
    """Weight of the entropy bonus."""
    ptx_weight: float = 0.0
    """Weight of the NLL of the data's demonstrations, per token."""
    ptx_batch: int = 4
    """Rows of packed demonstrations in a minibatch, over all devices."""
    gamma: float = 1.0
    lam: float = 0.95
    """GAE's lambda."""
    bootstrap: bool = False
    """Let a cut answer be worth what the value model expects of the rest."""
    beta: float = 0.05
    """Coefficient of the KL penalty."""
    kl_target: float | None = None
    """Adapts beta towards this KL (nats per answer); fixed unless told."""
    kl_horizon: float = 10_000
    """Answers over which beta adapts."""
    kl_gain: float | None = None
    """Adapts beta in log space, by this gain, rather than by the horizon."""
    normalise: ppo_batch.ScoreNormalization = "none"
    """Scores by the moments of the reference's answers, all so far, or the batch."""
    normalize_samples: int = 256
    """Answers of the reference to normalise by."""
    score_clip: float | None = None
    """Scores are cut to plus and minus this, once normalised."""
    whiten_rewards: bool = False
    """Scale the rewards of a batch to unit variance."""

    def both_adams(self, *, warming: bool = False) -> optax.GradientTransformation:
        """The optimizers of policy and value; while warming, the policy's waits."""
        adam = ADAMS[self.adam]
        one = functools.partial(self.adamw, eps=self.eps, adam=adam)
        policy = one(waits=self.value_warmup)
        value = one(learning_rate=self.value_learning_rate)
        moves = optimizer.freeze(policy) if warming else policy
        return optimizer.partition_by_role({"policy": moves, "value": value})

    def objective(self, policy: LanguageModel, value: ScalarModel) -> Objective:
        """The loss that these flags describe, text aside.

        The value loss weighs 1: its model and optimizer are its own.
        """
        return objectives.ppo(
            policy,
            value,
            clip_low=self.clip,
            clip_high=self.clip,
            value_clip=self.value_clip,
            vf_coef=1.0,
            entropy_coef=self.entropy_weight,
            temperature=self.temperature,
        )

    def next_beta(self, beta: float, kl: Array) -> float:
        """The KL coefficient after a batch of this KL."""
        if self.kl_target is None:
            return beta
        target = self.kl_target
        if self.kl_gain is not None:
            found = estimators.proportional_kl_coefficient(
                beta, kl, target=target, gain=self.kl_gain
            )
        else:
            found = estimators.adaptive_kl_coefficient(
                beta, kl, target=target, horizon=self.kl_horizon, samples=self.batch
            )
        return float(found)
