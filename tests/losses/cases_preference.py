"""The preference losses as the generic checks take them."""

import numpy as np

from jaxalign.losses import (
    divergence,
    dpo_variants,
    optimal_transport,
    pointwise,
    token_level,
)

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
    "robust_dpo": (dpo_variants.robust_dpo, {"beta": 0.3, "flip_rate": 0.1}),
    "hinge": (dpo_variants.hinge, {"beta": 0.3}),
    "exo": (dpo_variants.exo, {"beta": 0.3, "label_smoothing": 0.1}),
    "discopop": (dpo_variants.discopop, {"beta": 0.3}),
    "dpo_positive": (dpo_variants.dpop, {"beta": 0.3, "lam": 2.0}),
    "length_normalised_dpo": (dpo_variants.length_normalized_dpo, {"beta": 0.3}),
    "bco": (pointwise.bco, {"beta": 0.3, "delta": 0.2}),
    "apo_zero": (pointwise.apo_zero, {"beta": 0.3}),
    "apo_down": (pointwise.apo_down, {"beta": 0.3}),
    "sppo": (pointwise.sppo, {"beta": 0.3}),
    "nca": (pointwise.nca, {"beta": 0.3}),
    "aot": (optimal_transport.aot, {"beta": 0.3}),
    "aot+smoothing": (optimal_transport.aot, {"beta": 0.3, "label_smoothing": 0.1}),
    "aot_unpaired": (optimal_transport.aot_unpaired, {"beta": 0.3}),
    "aot_unpaired+smoothing": (
        optimal_transport.aot_unpaired,
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


def paired(loss, knobs):
    return lambda c, r: loss(c, r, *REFS, **knobs)


CASES = {name: (paired(*case), (CHOSEN, REJECTED)) for name, case in PAIRED.items()}
CASES |= {
    "slic": (lambda c, r: dpo_variants.slic(c, r, delta=0.5), (CHOSEN, REJECTED)),
    "reference_free_dpo": (
        lambda c, r: dpo_variants.reference_free_dpo(c, r, beta=0.3),
        (CHOSEN, REJECTED),
    ),
    "cpo": (lambda c, r: dpo_variants.cpo(c, r, beta=0.3), (CHOSEN, REJECTED)),
    "length_regularised_dpo": (
        lambda c, r: dpo_variants.r_dpo(c, r, *REFS, *LENGTHS, beta=0.3, alpha=0.1),
        (CHOSEN, REJECTED),
    ),
    "bco_unpaired": (
        lambda x: pointwise.bco_unpaired(x, REF_CHOSEN, UP, beta=0.3, delta=0.2),
        (CHOSEN,),
    ),
    "apo_zero_unpaired": (
        lambda x: pointwise.apo_zero_unpaired(x, REF_CHOSEN, UP, beta=0.3),
        (CHOSEN,),
    ),
    "reverse_kl": (divergence.reverse_kl_score, (CHOSEN,)),
    "forward_kl": (divergence.forward_kl_score, (CHOSEN,)),
    "jensen_shannon": (divergence.jensen_shannon_score, (CHOSEN,)),
    "alpha": (divergence.alpha_score(0.5), (CHOSEN,)),
    "alpha+above 1": (divergence.alpha_score(1.5), (CHOSEN,)),
    "alpha+limit": (divergence.alpha_score(1.0), (CHOSEN,)),
    # the chosen answer's KL gets no gradient: it is held still
    "token_dpo": (
        lambda c, r, kl: token_level.tdpo2(
            c, r, np.abs(REF_CHOSEN), kl, beta=0.3, alpha=0.5
        ),
        (CHOSEN, REJECTED, np.abs(REF_REJECTED)),
    ),
    "token_dpo1": (
        lambda c, r, up, down: token_level.tdpo1(c, r, up, down, beta=0.3),
        (CHOSEN, REJECTED, np.abs(REF_CHOSEN), np.abs(REF_REJECTED)),
    ),
    "ld_logp": (
        lambda x: token_level.ld_dpo_logp(x, MASK, SHARED, alpha=0.3),
        (TOKENS[0],),
    ),
    # the weight gets no gradient: what it multiplies does
    "wpo_weight": (lambda x: token_level.wpo_weight(*TOKENS, MASK) * x, (CHOSEN,)),
    "dpo_nll": (
        lambda c, r: token_level.rpo(c, r, *REFS, LENGTHS[0], beta=0.3, alpha=0.2),
        (CHOSEN, REJECTED),
    ),
}

KNOBS = {
    "robust_dpo": lambda k: dpo_variants.robust_dpo(*FOUR, beta=k, flip_rate=k / 3),
    "hinge": lambda k: dpo_variants.hinge(*FOUR, beta=k),
    "slic": lambda k: dpo_variants.slic(CHOSEN, REJECTED, delta=k),
    "reference_free_dpo": lambda k: dpo_variants.reference_free_dpo(*FOUR[:2], beta=k),
    "cpo": lambda k: dpo_variants.cpo(*FOUR[:2], beta=k),
    "exo": lambda k: dpo_variants.exo(*FOUR, beta=k, label_smoothing=k / 3),
    "discopop": lambda k: dpo_variants.discopop(*FOUR, beta=k, temperature=k / 3),
    "dpo_positive": lambda k: dpo_variants.dpop(*FOUR, beta=k, lam=10 * k),
    "length_regularised_dpo": lambda k: dpo_variants.r_dpo(
        *FOUR, *LENGTHS, beta=k, alpha=k / 3
    ),
    "length_normalised_dpo": lambda k: dpo_variants.length_normalized_dpo(
        *FOUR, beta=k
    ),
    "bco": lambda k: pointwise.bco(*FOUR, beta=k, delta=k / 3),
    "bco_unpaired": lambda k: pointwise.bco_unpaired(
        CHOSEN, REF_CHOSEN, UP, beta=k, delta=k / 3
    ),
    "apo_zero": lambda k: pointwise.apo_zero(*FOUR, beta=k),
    "apo_zero_unpaired": lambda k: pointwise.apo_zero_unpaired(
        CHOSEN, REF_CHOSEN, UP, beta=k
    ),
    "apo_down": lambda k: pointwise.apo_down(*FOUR, beta=k),
    "sppo": lambda k: pointwise.sppo(*FOUR, beta=k),
    "nca": lambda k: pointwise.nca(*FOUR, beta=k),
    "aot": lambda k: optimal_transport.aot(*FOUR, beta=k, label_smoothing=k / 3),
    "aot_unpaired": lambda k: optimal_transport.aot_unpaired(
        *FOUR, beta=k, label_smoothing=k / 3
    ),
    "alpha": lambda k: divergence.alpha_score(k)(CHOSEN),
    "f_dpo": lambda k: divergence.f_dpo(*FOUR, beta=k, score=divergence.alpha_score(k)),
    "token_dpo": lambda k: token_level.tdpo2(
        *FOUR[:2], *np.abs(FOUR[2:]), beta=k, alpha=k
    ),
    "token_dpo1": lambda k: token_level.tdpo1(*FOUR[:2], *np.abs(FOUR[2:]), beta=k),
    "ld_logp": lambda k: token_level.ld_dpo_logp(TOKENS[0], MASK, SHARED, alpha=k),
    "dpo_nll": lambda k: token_level.rpo(*FOUR, LENGTHS[0], beta=k, alpha=k),
}
