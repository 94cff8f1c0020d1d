"""The KL coefficient of the next iteration: fixed, or adapted towards a target KL."""

from jaxalign import estimators
from jaxalign.types import Array


def next_kl_coefficient(
    beta: float,
    kl: Array,
    *,
    target: float | None,
    horizon: float,
    gain: float | None,
    samples: int,
) -> float:
    """Adapts the KL coefficient to the KL of an iteration, and waits for that KL.

    Args:
      beta: the coefficient of the iteration.
      kl: mean over its answers of the summed log-ratios to the reference, in nats.
      target: the KL to adapt towards, in nats per answer; None leaves beta as it is.
      horizon: answers over which beta adapts (`adaptive_kl_coefficient`).
      gain: unless None, adapt in log space by this gain instead
        (`proportional_kl_coefficient`).
      samples: answers in the iteration.

    Reference: Ziegler et al. 2019, arXiv:1909.08593, section 2.2.

    >>> fixed = dict(horizon=10_000, samples=512)
    >>> next_kl_coefficient(1.0, 12.0, target=None, gain=None, **fixed)
    1.0
    >>> round(next_kl_coefficient(1.0, 12.0, target=6.0, gain=0.1, **fixed), 4)
    1.0202
    """
    if target is None:
        return beta
    if gain is not None:
        return float(
            estimators.proportional_kl_coefficient(beta, kl, target=target, gain=gain)
        )
    return float(
        estimators.adaptive_kl_coefficient(
            beta, kl, target=target, horizon=horizon, samples=samples
        )
    )
