"""Pairwise losses by name: which numbers of a pair each takes, and its knobs."""

import difflib
import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from jaxalign import losses
from jaxalign.losses import divergence
from jaxalign.types import Array, Scalar


class PairLogps(NamedTuple):
    """What pairwise losses are made of, a number a pair.

    The plain names are sums over answer tokens, `_mean` is per answer token. All of the
    reference's are None where the batch carries no reference (a `PreferenceBatch`).

    Attributes:
      chosen_nll: negative log-likelihood of the chosen answer, per token.
      margin: how much better the chosen answer is, as the data says.
      chosen_length: answer tokens, as a float; likewise rejected_length.
    """

    chosen: Any
    rejected: Any
    ref_chosen: Any
    ref_rejected: Any
    chosen_mean: Any
    rejected_mean: Any
    ref_chosen_mean: Any
    ref_rejected_mean: Any
    chosen_nll: Any
    margin: Any
    chosen_length: Any
    rejected_length: Any


PairLoss = Callable[[PairLogps], Array]


def cdpo(*sums: Array, beta: Scalar, label_smoothing: Scalar) -> Array:
    """Conservative DPO: `label_smoothing` is the share of wrong labels."""
    return losses.dpo(*sums, beta=beta, label_smoothing=label_smoothing)


def orpo(chosen: Array, rejected: Array, nll: Array, *, lam: Scalar) -> Array:
    """NLL per token + the odds-ratio term; Hong et al. 2024, arXiv:2403.07691."""
    return nll + losses.orpo(chosen, rejected, lam=lam)


def cpo(
    chosen: Array, rejected: Array, nll: Array, *, beta: Scalar, alpha: Scalar
) -> Array:
    """The preference term + alpha * NLL per token; Xu et al. 2024, arXiv:2401.08417."""
    return losses.cpo(chosen, rejected, beta=beta) + alpha * nll


def slic(
    chosen: Array, rejected: Array, nll: Array, *, delta: Scalar, alpha: Scalar
) -> Array:
    """The hinge + alpha * NLL per token; Zhao et al. 2023, arXiv:2305.10425."""
    return losses.slic(chosen, rejected, delta=delta) + alpha * nll


def alpha_dpo(*sums: Array, beta: Scalar, alpha: Scalar) -> Array:
    """f-DPO with an alpha divergence; Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.alpha(alpha))


def forward_kl_dpo(*sums: Array, beta: Scalar) -> Array:
    """f-DPO with KL(reference || policy); Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.forward_kl)


def jensen_shannon_dpo(*sums: Array, beta: Scalar) -> Array:
    """f-DPO with the Jensen-Shannon divergence; Wang et al. 2023, arXiv:2309.16240."""
    return losses.f_dpo(*sums, beta=beta, score=divergence.jensen_shannon)


class Named(NamedTuple):
    """A loss, and the fields of `PairLogps` that it takes, in their order."""

    loss: Callable[..., Array]
    fields: tuple[str, ...]


SUMS = ("chosen", "rejected", "ref_chosen", "ref_rejected")
MEANS = ("chosen_mean", "rejected_mean", "ref_chosen_mean", "ref_rejected_mean")
LENGTHS = ("chosen_length", "rejected_length")

PAIRWISE = {
    "dpo": Named(losses.dpo, SUMS),
    "cdpo": Named(cdpo, SUMS),
    "robust_dpo": Named(losses.robust_dpo, SUMS),
    "dpo_nll": Named(losses.dpo_nll, (*SUMS, "chosen_length")),
    "dpo_positive": Named(losses.dpo_positive, SUMS),
    "length_normalised_dpo": Named(losses.length_normalised_dpo, MEANS),
    "length_regularised_dpo": Named(losses.length_regularised_dpo, (*SUMS, *LENGTHS)),
    "reference_free_dpo": Named(losses.reference_free_dpo, SUMS[:2]),
    "forward_kl_dpo": Named(forward_kl_dpo, SUMS),
    "jensen_shannon_dpo": Named(jensen_shannon_dpo, SUMS),
    "alpha_dpo": Named(alpha_dpo, SUMS),
    "ipo": Named(losses.ipo, MEANS),  # of means, as its authors confirmed
    "ipo_sum": Named(losses.ipo, SUMS),
    "hinge": Named(losses.hinge, SUMS),
    "slic": Named(slic, (*SUMS[:2], "chosen_nll")),
    "simpo": Named(losses.simpo, MEANS[:2]),
    "orpo": Named(orpo, (*MEANS[:2], "chosen_nll")),
    "cpo": Named(cpo, (*SUMS[:2], "chosen_nll")),
    "exo": Named(losses.exo, SUMS),
    "discopop": Named(losses.discopop, SUMS),
    "bco": Named(losses.bco, SUMS),
    "apo_zero": Named(losses.apo_zero, SUMS),
    "apo_down": Named(losses.apo_down, SUMS),
    "sppo": Named(losses.sppo, SUMS),
    "nca": Named(losses.nca, SUMS),
    "aot": Named(losses.aot, SUMS),
    "aot_unpaired": Named(losses.aot_unpaired, SUMS),
}


def check(name: str, known: Collection[str]) -> None:
    """Stops at an unknown loss.

    Raises:
      ValueError: suggests the near ones.
    """
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(f"unknown loss {name!r}: {hint}there are {', '.join(known)}")


def named(name: str) -> Named:
    """The pairwise loss of that name.

    Raises:
      ValueError: there is none; the near ones are suggested.
    """
    check(name, PAIRWISE)
    return PAIRWISE[name]


def needs_reference(name: str) -> bool:
    """Whether the pairwise loss of that name compares with a reference."""
    return any(field.startswith("ref_") for field in named(name).fields)


def knobs_of(name: str) -> dict[str, bool]:
    """The knobs of the pairwise loss of that name, and whether each must be given."""
    parameters = inspect.signature(named(name).loss).parameters.values()
    return {
        p.name: p.default is inspect.Parameter.empty
        for p in parameters
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }


def pairwise(name: str, **knobs: Any) -> PairLoss:
    """The pairwise loss of that name, its knobs set.

    Raises:
      ValueError: an unknown name (with the near ones), or knobs that are missing or not
        the loss's.
    """
    function, fields = named(name)
    known = knobs_of(name)
    required = {knob for knob, needed in known.items() if needed}
    if not required <= set(knobs) <= set(known):
        takes = ", ".join(n if n in required else f"[{n}]" for n in known)
        given = ", ".join(sorted(knobs)) or "none"
        raise ValueError(f"the loss {name} takes the knobs {takes}; given: {given}")
    loss = functools.partial(function, **knobs)

    def of_pairs(pairs: PairLogps) -> Array:
        if needs_reference(name) and pairs.ref_chosen is None:
            raise ValueError(
                f"the loss {name} compares with a reference: its batches must be "
                f"PairsWithReference, as reference.score_rows(...).attach makes them"
            )
        return loss(*(getattr(pairs, field) for field in fields))

    return of_pairs
