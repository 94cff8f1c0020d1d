"""The preference losses as the generic checks take them."""

import numpy as np

from jaxalign.losses import absolute, divergence, pairwise, tokens, transport

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
    "robust_dpo": (pairwise.robust_dpo, {"beta": 0.3, "flip_rate": 0.1}),
    "hinge": (pairwise.hinge, {"beta": 0.3}),
    "exo": (pairwise.exo, {"beta": 0.3, "label_smoothing": 0.1}),
    "discopop": (pairwise.discopop, {"beta": 0.3}),
    "dpo_positive": (pairwise.dpo_positive, {"beta": 0.3, "lam": 2.0}),
    "length_normalised_dpo": (pairwise.length_normalised_dpo, {"beta": 0.3}),
    "bco": (absolute.bco, {"beta": 0.3, "delta": 0.2}),
    "apo_zero": (absolute.apo_zero, {"beta": 0.3}),
    "apo_down": (absolute.apo_down, {"beta": 0.3}),
    "sppo": (absolute.sppo, {"beta": 0.3}),
    "nca": (absolute.nca, {"beta": 0.3}),
    "aot": (transport.aot, {"beta": 0.3}),
    "aot+smoothing": (transport.aot, {"beta": 0.3, "label_smoothing": 0.1}),
    "aot_unpaired": (transport.aot_unpaired, {"beta": 0.3}),
    "aot_unpaired+smoothing": (
        transport.aot_unpaired,
        {"beta": 0.3, "label_smoothing": 0.1},
    ),
    "f_dpo": (divergence.f_dpo, {"beta": 0.3, "score": divergence.reverse_kl}),
    "f_dpo+forward": (divergence.f_dpo, {"beta": 0.3, "score": divergence.forward_kl}),
    "f_dpo+js": (divergence.f_dpo, {"beta": 0.3, "score": divergence.jensen_shannon}),
    "f_dpo+alpha": (divergence.f_dpo, {"beta": 0.3, "score": divergence.alpha(0.5)}),
}


def paired(loss, knobs):
    return lambda c, r: loss(c, r, *REFS, **knobs)


CASES = {name: (paired(*case), (CHOSEN, REJECTED)) for name, case in PAIRED.items()}
CASES |= {
    "slic": (lambda c, r: pairwise.slic(c, r, delta=0.5), (CHOSEN, REJECTED)),
    "reference_free_dpo": (
        lambda c, r: pairwise.reference_free_dpo(c, r, beta=0.3),
        (CHOSEN, REJECTED),
    ),
    "cpo": (lambda c, r: pairwise.cpo(c, r, beta=0.3), (CHOSEN, REJECTED)),
    "length_regularised_dpo": (
        lambda c, r: pairwise.length_regularised_dpo(
            c, r, *REFS, *LENGTHS, beta=0.3, alpha=0.1
        ),
        (CHOSEN, REJECTED),
    ),
    "bco_unpaired": (
        lambda x: absolute.bco_unpaired(x, REF_CHOSEN, UP, beta=0.3, delta=0.2),
        (CHOSEN,),
    ),
    "apo_zero_unpaired": (
        lambda x: absolute.apo_zero_unpaired(x, REF_CHOSEN, UP, beta=0.3),
        (CHOSEN,),
    ),
    "reverse_kl": (divergence.reverse_kl, (CHOSEN,)),
    "forward_kl": (divergence.forward_kl, (CHOSEN,)),
    "jensen_shannon": (divergence.jensen_shannon, (CHOSEN,)),
    "alpha": (divergence.alpha(0.5), (CHOSEN,)),
    "alpha+above 1": (divergence.alpha(1.5), (CHOSEN,)),
    "alpha+limit": (divergence.alpha(1.0), (CHOSEN,)),
    # the chosen answer's KL gets no gradient: it is held still
    "token_dpo": (
        lambda c, r, kl: tokens.token_dpo(
            c, r, np.abs(REF_CHOSEN), kl, beta=0.3, alpha=0.5
        ),
        (CHOSEN, REJECTED, np.abs(REF_REJECTED)),
    ),
    "token_dpo1": (
        lambda c, r, up, down: tokens.token_dpo1(c, r, up, down, beta=0.3),
        (CHOSEN, REJECTED, np.abs(REF_CHOSEN), np.abs(REF_REJECTED)),
    ),
    "ld_logp": (lambda x: tokens.ld_logp(x, MASK, SHARED, alpha=0.3), (TOKENS[0],)),
    # the weight gets no gradient: what it multiplies does
    "wpo_weight": (lambda x: tokens.wpo_weight(*TOKENS, MASK) * x, (CHOSEN,)),
    "dpo_nll": (
        lambda c, r: tokens.dpo_nll(c, r, *REFS, LENGTHS[0], beta=0.3, alpha=0.2),
        (CHOSEN, REJECTED),
    ),
}

KNOBS = {
    "robust_dpo": lambda k: pairwise.robust_dpo(*FOUR, beta=k, flip_rate=k / 3),
    "hinge": lambda k: pairwise.hinge(*FOUR, beta=k),
    "slic": lambda k: pairwise.slic(CHOSEN, REJECTED, delta=k),
    "reference_free_dpo": lambda k: pairwise.reference_free_dpo(*FOUR[:2], beta=k),
    "cpo": lambda k: pairwise.cpo(*FOUR[:2], beta=k),
    "exo": lambda k: pairwise.exo(*FOUR, beta=k, label_smoothing=k / 3),
    "discopop": lambda k: pairwise.discopop(*FOUR, beta=k, temperature=k / 3),
    "dpo_positive": lambda k: pairwise.dpo_positive(*FOUR, beta=k, lam=10 * k),
    "length_regularised_dpo": lambda k: pairwise.length_regularised_dpo(
        *FOUR, *LENGTHS, beta=k, alpha=k / 3
    ),
    "length_normalised_dpo": lambda k: pairwise.length_normalised_dpo(*FOUR, beta=k),
    "bco": lambda k: absolute.bco(*FOUR, beta=k, delta=k / 3),
    "bco_unpaired": lambda k: absolute.bco_unpaired(
        CHOSEN, REF_CHOSEN, UP, beta=k, delta=k / 3
    ),
    "apo_zero": lambda k: absolute.apo_zero(*FOUR, beta=k),
    "apo_zero_unpaired": lambda k: absolute.apo_zero_unpaired(
        CHOSEN, REF_CHOSEN, UP, beta=k
    ),
    "apo_down": lambda k: absolute.apo_down(*FOUR, beta=k),
    "sppo": lambda k: absolute.sppo(*FOUR, beta=k),
    "nca": lambda k: absolute.nca(*FOUR, beta=k),
    "aot": lambda k: transport.aot(*FOUR, beta=k, label_smoothing=k / 3),
    "aot_unpaired": lambda k: transport.aot_unpaired(
        *FOUR, beta=k, label_smoothing=k / 3
    ),
    "alpha": lambda k: divergence.alpha(k)(CHOSEN),
    "f_dpo": lambda k: divergence.f_dpo(*FOUR, beta=k, score=divergence.alpha(k)),
    "token_dpo": lambda k: tokens.token_dpo(
        *FOUR[:2], *np.abs(FOUR[2:]), beta=k, alpha=k
    ),
    "token_dpo1": lambda k: tokens.token_dpo1(*FOUR[:2], *np.abs(FOUR[2:]), beta=k),
    "ld_logp": lambda k: tokens.ld_logp(TOKENS[0], MASK, SHARED, alpha=k),
    "dpo_nll": lambda k: tokens.dpo_nll(*FOUR, LENGTHS[0], beta=k, alpha=k),
}
