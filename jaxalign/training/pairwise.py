"""Pairwise losses by name: which numbers of a pair each takes, and its knobs."""

import difflib
import functools
import inspect
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import losses
from jaxalign.losses import divergence
from jaxalign.types import Array, Scalar


class PairLogps(NamedTuple):
    """What pairwise losses are made of, a number a pair; None where it is not known.

    The plain names are sums over answer tokens, `_mean` is per answer token, `_shared`
    over as many first tokens as the shorter answer has. All of the reference's are
    known where the batch carries it (`PairsWithReference`), or where it runs.

    Attributes:
      chosen_nll: negative log-likelihood of the chosen answer, per token.
      margin: how much better the chosen answer is, as the data says.
      chosen_length: answer tokens, as a float; likewise rejected_length.
      chosen_weight: `losses.wpo_weight`; likewise rejected_weight.
      chosen_kl: KL(reference || policy) of the next token, summed over the answer's
        positions; likewise rejected_kl. Known only where the reference runs.
    """

    chosen: Any
    rejected: Any
    ref_chosen: Any = None
    ref_rejected: Any = None
    chosen_mean: Any = None
    rejected_mean: Any = None
    ref_chosen_mean: Any = None
    ref_rejected_mean: Any = None
    chosen_nll: Any = None
    margin: Any = None
    chosen_length: Any = None
    rejected_length: Any = None
    chosen_shared: Any = None
    rejected_shared: Any = None
    ref_chosen_shared: Any = None
    ref_rejected_shared: Any = None
    chosen_weight: Any = None
    rejected_weight: Any = None
    chosen_kl: Any = None
    rejected_kl: Any = None


PairLoss = Callable[[PairLogps], Array]


def cdpo(*sums: Array, beta: Scalar, label_smoothing: Scalar) -> Array:
    """Conservative DPO: `label_smoothing` is the share of wrong labels."""
    return losses.dpo(*sums, beta=beta, label_smoothing=label_smoothing)


def label_of(margin: Array) -> Array:
    """The probability that a label is right, where a judge gave its log-odds.

    p = sigmoid(margin), or 1 where the margin is 0: nobody said

    >>> (4 * label_of(jnp.array([0.0, jnp.log(3.0)]))).round().tolist()
    [4.0, 3.0]
    """
    return jnp.where(margin == 0.0, 1.0, jax.nn.sigmoid(margin))


def soft_dpo(*sums_and_margin: Array, beta: Scalar) -> Array:
    """Conservative DPO with a probability of its own for each label, see `label_of`."""
    *sums, margin = sums_and_margin
    return losses.dpo(*sums, beta=beta, label_smoothing=1.0 - label_of(margin))


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


def wpo(*sums_and_weights: Array, beta: Scalar) -> Array:
    """DPO, each pair by how much both answers look like the policy's own.

    Reference: Zhou et al. 2024, arXiv:2406.11827.
    """
    *sums, chosen_weight, rejected_weight = sums_and_weights
    return chosen_weight * rejected_weight * losses.dpo(*sums, beta=beta)


def ld_dpo(*sums: Array, beta: Scalar, alpha: Scalar) -> Array:
    """DPO whose longer answer counts alpha past the shorter one's length.

    Of the sums, four are over whole answers, four over their shared length:
    `losses.ld_logp` is shared + alpha * (whole - shared).

    Reference: Liu et al. 2024, arXiv:2409.06411.
    """
    both = zip(sums[:4], sums[4:], strict=True)
    tempered = [shared + alpha * (whole - shared) for whole, shared in both]
    return losses.dpo(*tempered, beta=beta)


def token_dpo(*sums_and_kls: Array, beta: Scalar, alpha: Scalar) -> Array:
    """TDPO2 of log-probs and sequential KLs; Zeng et al. 2024, arXiv:2404.11999."""
    return losses.token_dpo(*ratios(*sums_and_kls), beta=beta, alpha=alpha)


def token_dpo1(*sums_and_kls: Array, beta: Scalar) -> Array:
    """TDPO1 of log-probs and sequential KLs; Zeng et al. 2024, arXiv:2404.11999."""
    return losses.token_dpo1(*ratios(*sums_and_kls), beta=beta)


def ratios(
    chosen: Array, rejected: Array, ref_chosen: Array, ref_rejected: Array, *kls: Array
) -> tuple[Array, ...]:
    """Log-ratios to the reference, and what else there is."""
    return (chosen - ref_chosen, rejected - ref_rejected, *kls)


class Named(NamedTuple):
    """A loss, and the fields of `PairLogps` that it takes, in their order."""

    loss: Callable[..., Array]
    fields: tuple[str, ...]


SUMS = ("chosen", "rejected", "ref_chosen", "ref_rejected")
MEANS = ("chosen_mean", "rejected_mean", "ref_chosen_mean", "ref_rejected_mean")
LENGTHS = ("chosen_length", "rejected_length")
SHARED = tuple(f"{name}_shared" for name in SUMS)
WEIGHTS = ("chosen_weight", "rejected_weight")
KLS = ("chosen_kl", "rejected_kl")

PAIRWISE = {
    "dpo": Named(losses.dpo, SUMS),
    "cdpo": Named(cdpo, SUMS),
    "soft_dpo": Named(soft_dpo, (*SUMS, "margin")),
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
    "wpo": Named(wpo, (*SUMS, *WEIGHTS)),
    "ld_dpo": Named(ld_dpo, (*SUMS, *SHARED)),
    "token_dpo": Named(token_dpo, (*SUMS, *KLS)),
    "token_dpo1": Named(token_dpo1, (*SUMS, *KLS)),
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


def runs_reference(name: str) -> bool:
    """Whether that loss needs the reference's whole distributions: it must run."""
    return any(field in KLS for field in named(name).fields)


def compares_pairs(name: str) -> bool:
    """Whether that loss compares the pairs of a batch with each other.

    It is then of the whole batch: its pairs may not be cut into micro-batches, and
    none of them may be padding.
    """
    return name in ("aot", "aot_unpaired")


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
        numbers = [getattr(pairs, field) for field in fields]
        if any(x is None for x in numbers):
            raise ValueError(lacking(name))
        return loss(*numbers)

    return of_pairs


def lacking(name: str) -> str:
    """What to give a loss that lacks its reference."""
    if runs_reference(name):
        return (
            f"the loss {name} compares whole distributions with a reference: give the "
            "objective (or the step) the reference's parameters after the batch"
        )
    return (
        f"the loss {name} compares with a reference: its batches must be "
        "PairsWithReference, as reference.score_rows(...).attach makes them"
    )
