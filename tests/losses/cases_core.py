"""The core losses as the generic checks take them (test_contract.py)."""

import numpy as np

from jaxalign import losses

RNG = np.random.default_rng(0)
FOUR = RNG.normal(-3.0, 1.0, (4, 6)).astype(np.float32)
CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED = FOUR
UP = np.array([True, False, True, False, True, False])

# Each loss with fixed hyperparameters, as a function of its differentiated arrays,
# and a point: check_grads needs smooth ones.
CASES = {
    "nll": (losses.nll, (CHOSEN,)),
    "unlikelihood": (losses.unlikelihood, (-np.abs(CHOSEN),)),
    "dpo": (
        lambda c, r: losses.dpo(c, r, REF_CHOSEN, REF_REJECTED, beta=0.3),
        (CHOSEN, REJECTED),
    ),
    "dpo+smoothing": (
        lambda c, r: losses.dpo(
            c, r, REF_CHOSEN, REF_REJECTED, beta=0.3, label_smoothing=0.1
        ),
        (CHOSEN, REJECTED),
    ),
    "ipo": (
        lambda c, r: losses.ipo(c, r, REF_CHOSEN, REF_REJECTED, tau=0.5),
        (CHOSEN, REJECTED),
    ),
    "simpo": (
        lambda c, r: losses.simpo(c, r, beta=2.0, gamma=0.5),
        (CHOSEN, REJECTED),
    ),
    "kto": (
        lambda x: losses.kto(x, REF_CHOSEN, UP, 0.2, beta=0.3),
        (CHOSEN,),
    ),
    "orpo": (
        lambda c, r: losses.orpo(c, r, lam=0.5),
        (-np.abs(CHOSEN), -np.abs(REJECTED)),
    ),
    "log_odds": (losses.log_odds, (-np.abs(CHOSEN),)),
    "bradley_terry": (
        lambda c, r: losses.bradley_terry(c, r, margin=0.5),
        (CHOSEN, REJECTED),
    ),
    "plackett_luce": (
        lambda s: losses.plackett_luce(s, np.ones((2, 3), bool)),
        (CHOSEN.reshape(2, 3),),
    ),
    "clipped_surrogate": (
        lambda x: losses.clipped_surrogate(
            x, CHOSEN + 0.05, REJECTED, clip_low=0.2, clip_high=0.2
        ),
        (CHOSEN,),
    ),
    "clipped_value": (
        lambda v: losses.clipped_value(v, CHOSEN + 0.1, REJECTED, clip=0.5),
        (CHOSEN,),
    ),
}

# Each loss as a function of one number, in place of its hyperparameters.
HYPERPARAMETERS = {
    "dpo": lambda k: losses.dpo(*FOUR, beta=k, label_smoothing=k / 3),
    "ipo": lambda k: losses.ipo(*FOUR, tau=k),
    "simpo": lambda k: losses.simpo(CHOSEN, REJECTED, beta=k, gamma=k),
    "kto": lambda k: losses.kto(
        CHOSEN, REJECTED, UP, k, beta=k, desirable_weight=k, undesirable_weight=2 * k
    ),
    "orpo": lambda k: losses.orpo(-np.abs(CHOSEN), -np.abs(REJECTED), lam=k),
    "bradley_terry": lambda k: losses.bradley_terry(CHOSEN, REJECTED, margin=k),
    "clipped_surrogate": lambda k: losses.clipped_surrogate(
        CHOSEN, REJECTED, REF_CHOSEN, clip_low=k, clip_high=2 * k
    ),
    "clipped_value": lambda k: losses.clipped_value(
        CHOSEN, REJECTED, REF_CHOSEN, clip=k
    ),
}
