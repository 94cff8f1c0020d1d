"""Arrays -> the arrays that losses need: log-probs, KL divergences, advantages."""

from jaxalign.estimators import running_moments
from jaxalign.estimators.advantages import (
    at_last,
    gae,
    gae_associative,
    kl_penalised_rewards,
    length_adaptive_lambda,
    monte_carlo_returns,
    n_step_returns,
    reinforce_plus_plus,
)
from jaxalign.estimators.baselines import (
    group_centred,
    group_scaled,
    leave_one_out,
    reinforce_plus_plus_baseline,
)
from jaxalign.estimators.kl import (
    adaptive_kl,
    exact_kl,
    kl_k1,
    kl_k2,
    kl_k3,
    proportional_kl,
)
from jaxalign.estimators.logprobs import (
    TokenStatistics,
    log1mexp,
    next_token_logprobs,
    token_logprobs,
    token_statistics,
)
from jaxalign.estimators.token_distribution import (
    next_token_kl,
    next_token_log_sum_square,
)

__all__ = [
    "TokenStatistics",
    "adaptive_kl",
    "at_last",
    "exact_kl",
    "gae",
    "gae_associative",
    "group_centred",
    "group_scaled",
    "kl_k1",
    "kl_k2",
    "kl_k3",
    "kl_penalised_rewards",
    "leave_one_out",
    "log1mexp",
    "length_adaptive_lambda",
    "monte_carlo_returns",
    "n_step_returns",
    "next_token_kl",
    "next_token_log_sum_square",
    "next_token_logprobs",
    "proportional_kl",
    "reinforce_plus_plus",
    "reinforce_plus_plus_baseline",
    "running_moments",
    "token_logprobs",
    "token_statistics",
]
