"""Arrays -> the arrays that losses need: log-probs, KL divergences, advantages."""

from jaxalign.estimators.advantages import gae, kl_penalised_rewards
from jaxalign.estimators.kl import adaptive_kl, exact_kl, kl_k1, kl_k2, kl_k3
from jaxalign.estimators.logprobs import (
    TokenStatistics,
    next_token_logprobs,
    token_logprobs,
    token_statistics,
)

__all__ = [
    "TokenStatistics",
    "adaptive_kl",
    "exact_kl",
    "gae",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "kl_penalised_rewards",
    "next_token_logprobs",
    "token_logprobs",
    "token_statistics",
]
