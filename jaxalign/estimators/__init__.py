"""Estimators: log-probs, KL divergences, returns and advantages, from arrays.

module              contents
------------------  ----------------------------------------------------------------
logprobs            log-probs and entropies of tokens, from hidden states
greedy              log-probs of given tokens, and whether they are the argmax
token_distribution  next-token KL and collision probability, from hidden states
kl                  KL estimators k1, k2, k3, exact; controllers of the coefficient
advantages          GAE, returns, KL-penalized rewards, REINFORCE++
baselines           GRPO, Dr. GRPO, RLOO: advantages from groups of samples
running_moments     mean and variance of a stream (`estimators.running_moments`)
"""

from jaxalign.estimators import running_moments
from jaxalign.estimators.advantages import (
    gae,
    gae_associative,
    kl_penalized_rewards,
    length_adaptive_lambda,
    monte_carlo_returns,
    n_step_returns,
    place_at_last_token,
    reinforce_plus_plus,
)
from jaxalign.estimators.baselines import (
    group_centered,
    group_normalized,
    leave_one_out,
    reinforce_plus_plus_baseline,
)
from jaxalign.estimators.greedy import TargetStatistics, target_statistics
from jaxalign.estimators.kl import (
    adaptive_kl_coefficient,
    exact_kl,
    kl_k1,
    kl_k2,
    kl_k3,
    proportional_kl_coefficient,
)
from jaxalign.estimators.logprobs import (
    TokenStatistics,
    log1mexp,
    next_token_logprobs,
    token_logprobs,
    token_statistics,
)
from jaxalign.estimators.token_distribution import (
    LogitInputs,
    map_logits,
    next_token_kl,
    next_token_log_sum_square,
)

__all__ = [
    "LogitInputs",
    "TargetStatistics",
    "TokenStatistics",
    "adaptive_kl_coefficient",
    "place_at_last_token",
    "exact_kl",
    "gae",
    "gae_associative",
    "group_centered",
    "group_normalized",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "kl_penalized_rewards",
    "leave_one_out",
    "log1mexp",
    "length_adaptive_lambda",
    "map_logits",
    "monte_carlo_returns",
    "n_step_returns",
    "next_token_kl",
    "next_token_log_sum_square",
    "next_token_logprobs",
    "proportional_kl_coefficient",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "running_moments",
    "target_statistics",
    "token_logprobs",
    "token_statistics",
]
