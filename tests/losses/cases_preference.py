"""The preference losses as the generic checks take them."""

import numpy as np

from jaxalign import losses
from jaxalign.losses import divergence

RNG = np.random.default_rng(1)
FOUR = RNG.normal(-3.0, 1.0, (4, 6)).astype(np.float32)
CHOSEN, REJECTED, REF_CHOSEN, REF_REJECTED = FOUR
REFS = (REF_CHOSEN, REF_REJECTED)
UP = np.array([True, False, True, False, True, False])
LENGTHS = np.array([[3, 5, 2, 9, 4, 7], [4, 4, 8, 6, 1, 7]], np.float32)
TOKENS = RNG.normal(-2.0, 0.5, (2, 6, 4)).astype(np.float32)
MASK = np.arange(4) < np.array([1, 2, 3, 4, 3, 2])[:, None]
SHARED = np.array([1, 1, 2, 3, 3, 1])

# Paired losses with a reference and the numbers they need: all take the same arrays.
PAIRED = {
    "robust_dpo": (losses.robust_dpo, {"beta": 0.3, "flip_rate": 0.1}),
    "hinge": (losses.hinge, {"beta": 0.3}),
    "exo": (losses.exo, {"beta": 0.3, "label_smoothing": 0.1}),
    "discopop": (losses.discopop, {"beta": 0.3}),
    "dpop": (losses.dpop, {"beta": 0.3, "lam": 2.0}),
    "length_normalized_dpo": (losses.length_normalized_dpo, {"beta": 0.3}),
    "bco": (losses.bco, {"beta": 0.3, "delta": 0.2}),
    "apo_zero": (losses.apo_zero, {"beta": 0.3}),
    "apo_down": (losses.apo_down, {"beta": 0.3}),
    "sppo": (losses.sppo, {"beta": 0.3}),
    "nca": (losses.nca, {"beta": 0.3}),
    "aot": (losses.aot, {"beta": 0.3}),
    "aot+smoothing": (losses.aot, {"beta": 0.3, "label_smoothing": 0.1}),
    "aot_unpaired": (losses.aot_unpaired, {"beta": 0.3}),
    "aot_unpaired+smoothing": (
        losses.aot_unpaired,
        {"beta": 0.3, "label_smoothing": 0.1},
    ),
    "f_dpo": (divergence.f_dpo, {"beta": 0.3, "score": divergence.reverse_kl_score}),
    "f_dpo+forward": (
        divergence.f_dpo,
        {"beta": 0.3, "score": divergence.forward_kl_score},
    ),
    "f_dpo+js": (
        divergence.f_dpo,
        {"beta": 0.3, "score": divergence.jensen_shannon_score},
    ),
    "f_dpo+alpha": (
        divergence.f_dpo,
        {"beta": 0.3, "score": divergence.alpha_score(0.5)},
    ),
}


def paired(loss, hyperparameters):
    return lambda c, r: loss(c, r, *REFS, **hyperparameters)


CASES = {name: (paired(*case), (CHOSEN, REJECTED)) for name, case in PAIRED.items()}
CASES |= {
    "slic": (lambda c, r: losses.slic(c, r, delta=0.5), (CHOSEN, REJECTED)),
    "reference_free_dpo": (
        lambda c, r: losses.reference_free_dpo(c, r, beta=0.3),
        (CHOSEN, REJECTED),
    ),
    "cpo": (lambda c, r: losses.cpo(c, r, beta=0.3), (CHOSEN, REJECTED)),
    "r_dpo": (
        lambda c, r: losses.r_dpo(c, r, *REFS, *LENGTHS, beta=0.3, alpha=0.1),
        (CHOSEN, REJECTED),
    ),
    "bco_unpaired": (
        lambda x: losses.bco_unpaired(x, REF_CHOSEN, UP, beta=0.3, delta=0.2),
        (CHOSEN,),
    ),
    "apo_zero_unpaired": (
        lambda x: losses.apo_zero_unpaired(x, REF_CHOSEN, UP, beta=0.3),
        (CHOSEN,),
    ),
    "reverse_kl_score": (divergence.reverse_kl_score, (CHOSEN,)),
    "forward_kl_score": (divergence.forward_kl_score, (CHOSEN,)),
    "jensen_shannon_score": (divergence.jensen_shannon_score, (CHOSEN,)),
    "alpha_score": (divergence.alpha_score(0.5), (CHOSEN,)),
    "alpha_score+above 1": (divergence.alpha_score(1.5), (CHOSEN,)),
    "alpha_score+limit": (divergence.alpha_score(1.0), (CHOSEN,)),
    # the chosen answer's KL gets no gradient: it is held still
    "tdpo2": (
        lambda c, r, kl: losses.tdpo2(
            c, r, np.abs(REF_CHOSEN), kl, beta=0.3, alpha=0.5
        ),
        (CHOSEN, REJECTED, np.abs(REF_REJECTED)),
    ),
    "tdpo1": (
        lambda c, r, up, down: losses.tdpo1(c, r, up, down, beta=0.3),
        (CHOSEN, REJECTED, np.abs(REF_CHOSEN), np.abs(REF_REJECTED)),
    ),
    "ld_dpo_logp": (
        lambda x: losses.ld_dpo_logp(x, MASK, SHARED, alpha=0.3),
        (TOKENS[0],),
    ),
    # the weight gets no gradient: what it multiplies does
    "wpo_weight": (lambda x: losses.wpo_weight(*TOKENS, MASK) * x, (CHOSEN,)),
    "rpo": (
        lambda c, r: losses.rpo(c, r, *REFS, LENGTHS[0], beta=0.3, alpha=0.2),
        (CHOSEN, REJECTED),
    ),
}

HYPERPARAMETERS = {
    "robust_dpo": lambda k: losses.robust_dpo(*FOUR, beta=k, flip_rate=k / 3),
    "hinge": lambda k: losses.hinge(*FOUR, beta=k),
    "slic": lambda k: losses.slic(CHOSEN, REJECTED, delta=k),
    "reference_free_dpo": lambda k: losses.reference_free_dpo(*FOUR[:2], beta=k),
    "cpo": lambda k: losses.cpo(*FOUR[:2], beta=k),
    "exo": lambda k: losses.exo(*FOUR, beta=k, label_smoothing=k / 3),
    "discopop": lambda k: losses.discopop(*FOUR, beta=k, temperature=k / 3),
    "dpop": lambda k: losses.dpop(*FOUR, beta=k, lam=10 * k),
    "r_dpo": lambda k: losses.r_dpo(*FOUR, *LENGTHS, beta=k, alpha=k / 3),
    "length_normalized_dpo": lambda k: losses.length_normalized_dpo(*FOUR, beta=k),
    "bco": lambda k: losses.bco(*FOUR, beta=k, delta=k / 3),
    "bco_unpaired": lambda k: losses.bco_unpaired(
        CHOSEN, REF_CHOSEN, UP, beta=k, delta=k / 3
    ),
    "apo_zero": lambda k: losses.apo_zero(*FOUR, beta=k),
    "apo_zero_unpaired": lambda k: losses.apo_zero_unpaired(
        CHOSEN, REF_CHOSEN, UP, beta=k
    ),
    "apo_down": lambda k: losses.apo_down(*FOUR, beta=k),
    "sppo": lambda k: losses.sppo(*FOUR, beta=k),
    "nca": lambda k: losses.nca(*FOUR, beta=k),
    "aot": lambda k: losses.aot(*FOUR, beta=k, label_smoothing=k / 3),
    "aot_unpaired": lambda k: losses.aot_unpaired(*FOUR, beta=k, label_smoothing=k / 3),
    "alpha_score": lambda k: divergence.alpha_score(k)(CHOSEN),
    "f_dpo": lambda k: divergence.f_dpo(*FOUR, beta=k, score=divergence.alpha_score(k)),
    "tdpo2": lambda k: losses.tdpo2(*FOUR[:2], *np.abs(FOUR[2:]), beta=k, alpha=k),
    "tdpo1": lambda k: losses.tdpo1(*FOUR[:2], *np.abs(FOUR[2:]), beta=k),
    "ld_dpo_logp": lambda k: losses.ld_dpo_logp(TOKENS[0], MASK, SHARED, alpha=k),
    "rpo": lambda k: losses.rpo(*FOUR, LENGTHS[0], beta=k, alpha=k),
}
