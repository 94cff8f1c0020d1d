"""Losses: arrays in, one term per pair or token out. The heart of the library."""

from jaxalign.losses.policy import clipped_surrogate
from jaxalign.losses.preference import dpo, ipo, kto, log_odds, orpo, simpo
from jaxalign.losses.reward import bradley_terry, plackett_luce
from jaxalign.losses.supervised import nll
from jaxalign.losses.value import clipped_value

__all__ = [
    "bradley_terry",
    "clipped_surrogate",
    "clipped_value",
    "dpo",
    "ipo",
    "kto",
    "log_odds",
    "nll",
    "orpo",
    "plackett_luce",
    "simpo",
]
