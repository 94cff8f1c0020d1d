"""Cases of the reward, policy, value, supervised and distillation losses."""

import numpy as np

from jaxalign import losses

RNG = np.random.default_rng(1)
FOUR = RNG.normal(-3.0, 1.0, (4, 6)).astype(np.float32)
LOGP, OLD, OTHER, ADVANTAGE = FOUR
ROWS = RNG.normal(-3.0, 1.0, (2, 2, 3)).astype(np.float32)
TWO = np.array([1.5, -0.5], np.float32)
MASK = np.array([[True, True, True], [True, True, False]])
OUTCOME = np.array([1, 0, -1, 1, 0, -1])
LABEL = np.array([0.1, 0.5, 0.9, 0.0, 1.0, 0.7], np.float32)
TEACHER, STUDENT = RNG.normal(0.0, 2.0, (2, 3, 5)).astype(np.float32)
KEPT = np.log(np.array([[0.5, 0.3], [0.6, 0.1], [0.9, 0.05]], np.float32))
IDS = np.array([[0, 3], [4, 1], [2, 0]])

# Each loss with fixed hyperparameters, as a function of its differentiated arrays,
# and a point: check_grads needs smooth ones.
CASES = {
    "soft_bradley_terry": (
        lambda c, r: losses.soft_bradley_terry(c, r, LABEL, margin=0.5),
        (LOGP, OTHER),
    ),
    "soft_bradley_terry+smoothing": (
        lambda c, r: losses.soft_bradley_terry(c, r, 0.9),
        (LOGP, OTHER),
    ),
    "confidence_bradley_terry": (
        lambda c, r: losses.confidence_bradley_terry(c, r, LABEL, confidence=0.4),
        (LOGP, OTHER),
    ),
    "all_pairs_bradley_terry": (
        lambda s: losses.all_pairs_bradley_terry(s, MASK),
        (ROWS[0],),
    ),
    "reward_centering": (losses.reward_centering, (LOGP, OTHER)),
    "reward_regression": (lambda s: losses.reward_regression(s, OTHER), (LOGP,)),
    "rao_kupper": (
        lambda a, b: losses.rao_kupper(a, b, OUTCOME, theta=1.5),
        (LOGP, OTHER),
    ),
    "rao_kupper+no_ties": (
        lambda a, b: losses.rao_kupper(a, b, OUTCOME, theta=1.0),
        (LOGP, OTHER),
    ),
    "davidson": (
        lambda a, b: losses.davidson(a, b, OUTCOME, nu=0.5),
        (LOGP, OTHER),
    ),
    "davidson+no_ties": (
        lambda a, b: losses.davidson(a, b, OUTCOME, nu=0.0),
        (LOGP, OTHER),
    ),
    "thurstone": (losses.thurstone, (LOGP, OLD, OTHER, ADVANTAGE)),
    "cumulative_logit": (
        lambda a, b: losses.cumulative_logit(
            a, b, np.arange(1, 7), levels=8, thresholds=(0.3, 1.0, 2.0)
        ),
        (LOGP, OTHER),
    ),
    "annotator_bradley_terry": (
        lambda a, b: losses.annotator_bradley_terry(
            a, b, OUTCOME > 0, sharpness=1.5, bias=0.3, lapse=0.1
        ),
        (LOGP, OTHER),
    ),
    "safety_classification": (
        lambda x: losses.safety_classification(x, OUTCOME > 0),
        (LOGP,),
    ),
    "dual_clip": (
        lambda x: losses.dual_clip(
            x, LOGP + 0.05, OTHER, clip_low=0.2, clip_high=0.2, max_ratio=3.0
        ),
        (LOGP,),
    ),
    # beyond the bound, where it is flat
    "dual_clip+bounded": (
        lambda x: losses.dual_clip(
            x, LOGP - 2.0, OTHER, clip_low=0.2, clip_high=0.2, max_ratio=3.0
        ),
        (LOGP,),
    ),
    "reinforce": (lambda x: losses.reinforce(x, ADVANTAGE), (LOGP,)),
    # The weight gets no gradient: finite differences agree where it is clipped.
    "cispo": (
        lambda x: losses.cispo(x, LOGP - 1.0, ADVANTAGE, clip_low=1.0, clip_high=0.5),
        (LOGP,),
    ),
    "gspo": (
        lambda x: losses.gspo(
            x, ROWS[0] + 0.05, TWO, MASK, clip_low=0.2, clip_high=0.2
        ),
        (ROWS[0],),
    ),
    "sequence_clipped_surrogate": (
        lambda x: losses.sequence_clipped_surrogate(
            x, ROWS[0] + 0.05, TWO, MASK, clip_low=0.3, clip_high=0.3
        ),
        (ROWS[0],),
    ),
    "entropy_bonus": (lambda x: losses.entropy_bonus(x, coefficient=0.1), (LOGP,)),
    # The ratio's share makes the gradient that of the value.
    "kl_loss": (lambda x: losses.kl_loss(x, OLD, OTHER), (LOGP,)),
    # No gradient at all: finite differences agree where the weight is capped.
    "truncated_importance_weight": (
        lambda x: losses.truncated_importance_weight(x, LOGP - 2.0, max_weight=3.0),
        (LOGP,),
    ),
    "token_mean": (lambda x: losses.token_mean(x, MASK)[0], (ROWS[0],)),
    "sequence_mean": (lambda x: losses.sequence_mean(x, MASK)[0], (ROWS[0],)),
    "constant_length_mean": (
        lambda x: losses.constant_length_mean(x, MASK, length=4)[0],
        (ROWS[0],),
    ),
    "squared_value": (lambda v: losses.squared_value(v, OTHER), (LOGP,)),
    "huber_value": (lambda v: losses.huber_value(v, OTHER, delta=0.5), (LOGP,)),
    "z_loss": (lambda z: losses.z_loss(z, coefficient=0.1), (LOGP,)),
    "forward_kl_distillation": (
        lambda s: losses.forward_kl_distillation(TEACHER, s),
        (STUDENT,),
    ),
    "reverse_kl_distillation": (
        lambda s: losses.reverse_kl_distillation(TEACHER, s),
        (STUDENT,),
    ),
    "generalized_jsd": (
        lambda s: losses.generalized_jsd(TEACHER, s, beta=0.3),
        (STUDENT,),
    ),
    "top_k_distillation": (
        lambda s: losses.top_k_distillation(KEPT, IDS, s),
        (STUDENT,),
    ),
}


def quotient(parts):
    total, weight = parts
    return total / weight


# Each loss as a function of one number, in place of its hyperparameters.
HYPERPARAMETERS = {
    "soft_bradley_terry": lambda k: losses.soft_bradley_terry(
        LOGP, OTHER, k, margin=2 * k
    ),
    "confidence_bradley_terry": lambda k: losses.confidence_bradley_terry(
        LOGP, OTHER, LABEL, confidence=k
    ),
    "rao_kupper": lambda k: losses.rao_kupper(LOGP, OTHER, OUTCOME, theta=1 + k),
    "cumulative_logit": lambda k: losses.cumulative_logit(
        LOGP, OTHER, np.arange(1, 7), levels=8, thresholds=(k, 2 * k, 3 * k)
    ),
    "annotator_bradley_terry": lambda k: losses.annotator_bradley_terry(
        LOGP, OTHER, OUTCOME > 0, sharpness=1 + k, bias=k, lapse=k
    ),
    "davidson": lambda k: losses.davidson(LOGP, OTHER, OUTCOME, nu=k),
    "dual_clip": lambda k: losses.dual_clip(
        LOGP, OLD, ADVANTAGE, clip_low=k, clip_high=2 * k, max_ratio=1 + 3 * k
    ),
    "cispo": lambda k: losses.cispo(LOGP, OLD, ADVANTAGE, clip_low=k, clip_high=2 * k),
    "gspo": lambda k: losses.gspo(*ROWS, TWO, MASK, clip_low=k / 5, clip_high=k / 4),
    "sequence_clipped_surrogate": lambda k: losses.sequence_clipped_surrogate(
        *ROWS, TWO, MASK, clip_low=k / 5, clip_high=k / 4
    ),
    "entropy_bonus": lambda k: losses.entropy_bonus(LOGP, coefficient=k),
    "truncated_importance_weight": lambda k: losses.truncated_importance_weight(
        LOGP, OLD, max_weight=k
    ),
    "constant_length_mean": lambda k: quotient(
        losses.constant_length_mean(ROWS[0], MASK, length=k)
    ),
    "huber_value": lambda k: losses.huber_value(LOGP, OTHER, delta=k),
    "z_loss": lambda k: losses.z_loss(LOGP, coefficient=k),
    "generalized_jsd": lambda k: losses.generalized_jsd(TEACHER, STUDENT, beta=k),
}
