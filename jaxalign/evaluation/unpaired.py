"""Held-out metrics of unpaired answers: KTO's reference point and its accuracy."""

import numpy as np

from jaxalign.evaluation import intervals, preference


def reference_point(ratios: np.ndarray) -> float:
    """z0: the mean log-ratio of mismatched answers, at least 0.

    Args:
      ratios: log-ratios of answers and of mismatched answers, nats [R 2].
    """
    return max(float(ratios[:, 1].mean()), 0.0)


def correctness(ratios: np.ndarray, desirable: np.ndarray) -> np.ndarray:
    """1 for answers above z0 if desirable, below if not, else 0; 0.5 for a tie [R]."""
    z0 = np.full(len(desirable), reference_point(ratios))
    higher = np.where(desirable, ratios[:, 0], z0)
    lower = np.where(desirable, z0, ratios[:, 0])
    return preference.agreement(higher, lower)


def held_out_metrics(
    ratios: np.ndarray,
    desirable: np.ndarray,
    prompts: np.ndarray,
    *,
    beta: float,
    seed: int,
) -> dict[str, float]:
    """Held-out metrics of unpaired answers.

    `kl` is z0; `accuracy` the share of answers on the right side of it, with its 95 %
    interval over prompts, and of each kind; `logratio/...` the mean log-ratio of each
    kind to the reference (nats), `margin` their difference, and `rewards/...` beta
    times these; `desirable` and `undesirable` count the answers.

    Args:
      ratios: log-ratios of answers and of mismatched answers, nats [R 2].
      desirable: whether each answer is desirable [R].
      prompts: prompt of each answer, the unit of intervals [R].
      seed: of the bootstrap.
    """
    ratio, correct = ratios[:, 0], correctness(ratios, desirable)
    accuracy = intervals.bootstrap(correct, units=prompts, seed=seed, share=True)
    numbers = {"kl": reference_point(ratios)}
    numbers |= accuracy.to_dict("accuracy")
    for kind, of_kind in {"desirable": desirable, "undesirable": ~desirable}.items():
        numbers[f"{kind}"] = int(of_kind.sum())
        if of_kind.any():
            numbers[f"accuracy/{kind}"] = float(correct[of_kind].mean())
            numbers[f"logratio/{kind}"] = float(ratio[of_kind].mean())
            numbers[f"rewards/{kind}"] = beta * float(ratio[of_kind].mean())
    if desirable.any() and not desirable.all():
        margin = ratio[desirable].mean() - ratio[~desirable].mean()
        numbers["margin"] = float(margin)
        numbers["rewards/margin"] = beta * float(margin)
    return numbers
