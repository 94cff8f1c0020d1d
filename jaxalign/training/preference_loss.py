"""A preference loss that can be trained, as one object: its function and its needs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from jaxalign.types import Array


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
      rejected_unlikelihood: `losses.unlikelihood` of the rejected answer, per token.
      shift: the running mean of rewards, one number for all pairs (`reward_shift`).
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
    rejected_unlikelihood: Any = None
    shift: Any = None


PairLoss = Callable[[PairLogps], Array]
Reference = Literal["none", "sums", "distributions"]

KLS = ("chosen_kl", "rejected_kl")  # known only where the reference runs


@dataclasses.dataclass(frozen=True)
class PairwiseLoss:
    """A preference loss: its function, and all that training it needs to know.

    Called with `PairLogps`, a pairwise loss returns one term a pair. A function of
    one's own needs no more than itself: `PreferenceLoss(function)`.

    Attributes:
      function: of the inputs, positional, and the hyperparameters, by keyword.
      inputs: the fields of `PairLogps` that it takes, in order; none: all of it, as one
        argument.
      hyperparameters: values by name: the defaults, until `bind`.
      reference: what it needs of the reference: nothing, its summed log-probs, or its
        whole distributions, for which the reference runs in every step.
      couples_batch: whether a pair's term depends on other pairs: then a batch is not
        cut into micro-batches, and has no padding. None: unknown, and treated as such.
      name: as the command line has it.
      source: where the formula is from.
      defaults: where the defaults are from.
      trl_names: what TRL calls its hyperparameters, where that differs.
    """

    function: Callable[..., Array]
    inputs: tuple[str, ...] = ()
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reference: Reference = "sums"
    couples_batch: bool | None = None
    name: str = "custom"
    source: str = ""
    defaults: str = ""
    trl_names: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def unpaired(self) -> bool:
        """Whether it is of single answers, not of pairs."""
        return "desirable" in self.inputs

    @property
    def needs_reward_shift(self) -> bool:
        """Whether it needs the running mean of rewards."""
        return "shift" in self.inputs

    def bind(self, **hyperparameters: Any) -> "PairwiseLoss":
        """The loss with these hyperparameters, the others as they are.

        Raises:
          ValueError: one that it does not take, with those that it takes.
        """
        for name in hyperparameters:
            if name not in self.hyperparameters:
                hint = ""
                if name in self.trl_names:
                    hint = f"; what TRL calls {name} is its {self.trl_names[name]}"
                raise ValueError(
                    f"the loss {self.name} takes {self.described()}, not {name}{hint}"
                )
        values = {**self.hyperparameters, **hyperparameters}
        return dataclasses.replace(self, hyperparameters=values)

    def described(self) -> str:
        """Its hyperparameters and their values, as text.

        >>> PairwiseLoss(len, hyperparameters={"beta": 0.1, "gamma": 1.0}).described()
        'beta 0.1, gamma 1'
        """
        values = [f"{name} {x:g}" for name, x in self.hyperparameters.items()]
        return ", ".join(values) or "no hyperparameters"

    def __call__(self, pairs: PairLogps) -> Array:
        """One term a pair.

        Raises:
          ValueError: an input is not known, with what to give.
        """
        if not self.inputs:
            return self.function(pairs, **self.hyperparameters)
        numbers = [getattr(pairs, field) for field in self.inputs]
        if any(x is None for x in numbers):
            raise ValueError(self.lacking(pairs))
        return self.function(*numbers, **self.hyperparameters)

    def lacking(self, pairs: PairLogps) -> str:
        """What to give the loss, where an input is not known."""
        if self.needs_reward_shift and pairs.ref_chosen is not None:
            return (
                f"the loss {self.name} needs the running mean of rewards: give the "
                "objective (or the step) `shift`, as training.reward_shift keeps it"
            )
        if self.reference == "distributions":
            return (
                f"the loss {self.name} compares whole distributions with a reference: "
                "give the objective (or the step) the reference's parameters after "
                "the batch"
            )
        return (
            f"the loss {self.name} compares with a reference: its batches must be "
            "PairsWithReference, as reference.score_rows(...).attach makes them"
        )


def as_loss(loss: PairLoss) -> PairwiseLoss:
    """The loss itself, or a function of `PairLogps` as one of unknown needs."""
    return loss if isinstance(loss, PairwiseLoss) else PairwiseLoss(loss)


def library_loss(
    name: str,
    function: Callable[..., Array],
    inputs: tuple[str, ...],
    source: str,
    defaults: str,
    *,
    couples_batch: bool = False,
    trl_names: dict[str, str] | None = None,
    **hyperparameters: float,
) -> PairwiseLoss:
    """A loss of the library; its inputs tell what it needs of the reference."""
    reference: Reference = "none"
    if any(field.startswith("ref_") for field in inputs):
        reference = "distributions" if set(KLS) & set(inputs) else "sums"
    return PairwiseLoss(
        function,
        inputs,
        hyperparameters,
        reference,
        couples_batch,
        name,
        source,
        defaults,
        trl_names or {},
    )
