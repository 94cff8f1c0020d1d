"""Cases of the reward, policy, value, supervised and distillation losses."""

import numpy as np

from jaxalign.losses import (
    distillation,
    policy,
    reduction,
    reward,
    supervised,
    ties,
    uncertain,
    value,
)

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

# Each loss with fixed knobs, as a function of the arrays that it is differentiated by,
# and where they are: check_grads wants smooth points.
CASES = {
    "soft_bradley_terry": (
        lambda c, r: reward.soft_bradley_terry(c, r, LABEL, margin=0.5),
        (LOGP, OTHER),
    ),
    "soft_bradley_terry+smoothing": (
        lambda c, r: reward.soft_bradley_terry(c, r, 0.9),
        (LOGP, OTHER),
    ),
    "all_pairs": (lambda s: reward.all_pairs(s, MASK), (ROWS[0],)),
    "center": (reward.reward_centering, (LOGP, OTHER)),
    "regression": (lambda s: reward.reward_regression(s, OTHER), (LOGP,)),
    "rao_kupper": (
        lambda a, b: ties.rao_kupper(a, b, OUTCOME, theta=1.5),
        (LOGP, OTHER),
    ),
    "rao_kupper+no_ties": (
        lambda a, b: ties.rao_kupper(a, b, OUTCOME, theta=1.0),
        (LOGP, OTHER),
    ),
    "davidson": (
        lambda a, b: ties.davidson(a, b, OUTCOME, nu=0.5),
        (LOGP, OTHER),
    ),
    "davidson+no_ties": (
        lambda a, b: ties.davidson(a, b, OUTCOME, nu=0.0),
        (LOGP, OTHER),
    ),
    "mean_and_variance": (uncertain.thurstone, (LOGP, OLD, OTHER, ADVANTAGE)),
    "safety_classification": (
        lambda x: uncertain.safety_classification(x, OUTCOME > 0),
        (LOGP,),
    ),
    "dual_clip": (
        lambda x: policy.dual_clip(
            x, LOGP + 0.05, OTHER, clip_low=0.2, clip_high=0.2, max_ratio=3.0
        ),
        (LOGP,),
    ),
    # beyond the bound, where it is flat
    "dual_clip+bounded": (
        lambda x: policy.dual_clip(
            x, LOGP - 2.0, OTHER, clip_low=0.2, clip_high=0.2, max_ratio=3.0
        ),
        (LOGP,),
    ),
    "reinforce": (lambda x: policy.reinforce(x, ADVANTAGE), (LOGP,)),
    # The weight gets no gradient: finite differences agree where it is clipped.
    "cispo": (
        lambda x: policy.cispo(x, LOGP - 1.0, ADVANTAGE, clip_low=1.0, clip_high=0.5),
        (LOGP,),
    ),
    "sequence_ratio_surrogate": (
        lambda x: policy.gspo(
            x, ROWS[0] + 0.05, TWO, MASK, clip_low=0.2, clip_high=0.2
        ),
        (ROWS[0],),
    ),
    "answer_ratio_surrogate": (
        lambda x: policy.sequence_clipped_surrogate(
            x, ROWS[0] + 0.05, TWO, MASK, clip_low=0.3, clip_high=0.3
        ),
        (ROWS[0],),
    ),
    "entropy_bonus": (lambda x: policy.entropy_bonus(x, coefficient=0.1), (LOGP,)),
    # The ratio's share makes the gradient that of the value.
    "kl_loss": (lambda x: policy.kl_loss(x, OLD, OTHER), (LOGP,)),
    # No gradient at all: finite differences agree where the weight is capped.
    "truncated_importance": (
        lambda x: policy.truncated_importance_weight(x, LOGP - 2.0, max_weight=3.0),
        (LOGP,),
    ),
    "token_mean": (lambda x: reduction.token_mean(x, MASK)[0], (ROWS[0],)),
    "sequence_mean": (lambda x: reduction.sequence_mean(x, MASK)[0], (ROWS[0],)),
    "constant_length": (
        lambda x: reduction.constant_length_mean(x, MASK, length=4)[0],
        (ROWS[0],),
    ),
    "squared_value": (lambda v: value.squared_value(v, OTHER), (LOGP,)),
    "huber_value": (lambda v: value.huber_value(v, OTHER, delta=0.5), (LOGP,)),
    "z_loss": (lambda z: supervised.z_loss(z, coefficient=0.1), (LOGP,)),
    "forward_kl": (
        lambda s: distillation.forward_kl_distillation(TEACHER, s),
        (STUDENT,),
    ),
    "reverse_kl": (
        lambda s: distillation.reverse_kl_distillation(TEACHER, s),
        (STUDENT,),
    ),
    "generalised_jsd": (
        lambda s: distillation.generalized_jsd(TEACHER, s, beta=0.3),
        (STUDENT,),
    ),
    "top_k_distillation": (
        lambda s: distillation.top_k_distillation(KEPT, IDS, s),
        (STUDENT,),
    ),
}


def quotient(parts):
    total, weight = parts
    return total / weight


# Each loss as a function of one number, put where its knobs are.
KNOBS = {
    "soft_bradley_terry": lambda k: reward.soft_bradley_terry(
        LOGP, OTHER, k, margin=2 * k
    ),
    "rao_kupper": lambda k: ties.rao_kupper(LOGP, OTHER, OUTCOME, theta=1 + k),
    "davidson": lambda k: ties.davidson(LOGP, OTHER, OUTCOME, nu=k),
    "dual_clip": lambda k: policy.dual_clip(
        LOGP, OLD, ADVANTAGE, clip_low=k, clip_high=2 * k, max_ratio=1 + 3 * k
    ),
    "cispo": lambda k: policy.cispo(LOGP, OLD, ADVANTAGE, clip_low=k, clip_high=2 * k),
    "sequence_ratio_surrogate": lambda k: policy.gspo(
        *ROWS, TWO, MASK, clip_low=k / 5, clip_high=k / 4
    ),
    "answer_ratio_surrogate": lambda k: policy.sequence_clipped_surrogate(
        *ROWS, TWO, MASK, clip_low=k / 5, clip_high=k / 4
    ),
    "entropy_bonus": lambda k: policy.entropy_bonus(LOGP, coefficient=k),
    "truncated_importance": lambda k: policy.truncated_importance_weight(
        LOGP, OLD, max_weight=k
    ),
    "constant_length": lambda k: quotient(
        reduction.constant_length_mean(ROWS[0], MASK, length=k)
    ),
    "huber_value": lambda k: value.huber_value(LOGP, OTHER, delta=k),
    "z_loss": lambda k: supervised.z_loss(LOGP, coefficient=k),
    "generalised_jsd": lambda k: distillation.generalized_jsd(TEACHER, STUDENT, beta=k),
}
