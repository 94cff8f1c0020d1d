"""Preference losses as objects: a function, its inputs, its hyperparameters, its needs.

The command line, the `loss=` argument of experiments, the benchmark and the table in
docs/losses.md all read these objects.
"""

import dataclasses
import operator
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

from jaxalign.types import Array


class Sides(NamedTuple):
    """A number for each answer of a pair, [B] each."""

    chosen: Any
    rejected: Any


class ModelLogps(NamedTuple):
    """A model's log-probs of the two answers of each pair, nats [B].

    Attributes:
      chosen, rejected: sums over answer tokens, given the prompt.
      chosen_mean, rejected_mean: means over answer tokens.
    """

    chosen: Any
    rejected: Any
    chosen_mean: Any = None
    rejected_mean: Any = None


class PairLogps(NamedTuple):
    """The inputs of pairwise losses, a number per pair [B]; None where not computed.

    Attributes:
      policy: log-probs under the model that is trained.
      reference: log-probs under the frozen reference; None where the batch has none and
        the reference does not run in the step.
      length: answer tokens, as floats.
      margin: rating margin of the pair in the data, 0 where there is none.
      label_prob: probability that the chosen answer is the better one, in [0, 1].
      policy_shared, reference_shared: sums of log-probs over the first tokens of the
        answers, as many as the shorter one has (LD-DPO).
      wpo_weight: `losses.wpo_weight` of the answers.
      kl: KL(reference || policy) of the next token, nats, summed over the positions of
        the answer; only where the reference runs in the step.
      unlikelihood: `losses.unlikelihood` of the answers, nats per token.
      reward_shift: running mean of rewards, one number for all pairs (`reward_shift`).
    """

    policy: ModelLogps
    reference: ModelLogps | None = None
    length: Sides | None = None
    margin: Any = None
    label_prob: Any = None
    policy_shared: Sides | None = None
    reference_shared: Sides | None = None
    wpo_weight: Sides | None = None
    kl: Sides | None = None
    unlikelihood: Sides | None = None
    reward_shift: Any = None

    @property
    def sums(self) -> tuple[Any, Any, Any, Any]:
        """(chosen, rejected, ref_chosen, ref_rejected): log-probs of whole answers.

        The arguments of `losses.dpo` and most others: `losses.dpo(*pair.sums, beta=b)`.
        """
        assert self.reference is not None, "the reference's log-probs were not computed"
        return (*self.policy[:2], *self.reference[:2])


def input_paths() -> frozenset[str]:
    """The inputs that a loss may take: where they are in `PairLogps`."""
    models = {"policy": ModelLogps, "reference": ModelLogps}
    numbers = ("margin", "label_prob", "reward_shift")
    groups: dict[str, Any] = {
        **dict.fromkeys(set(PairLogps._fields) - set(numbers), Sides),
        **models,
    }
    sides = [f"{group}.{x}" for group, kind in groups.items() for x in kind._fields]
    return frozenset([*numbers, *sides])


@dataclasses.dataclass(frozen=True)
class PreferenceLoss:
    """A loss on preferences, with its requirements for training.

    Attributes:
      fn: of the inputs, positional, and of the hyperparameters, by keyword; returns one
        term per pair (or unpaired answer).
      inputs: paths in `PairLogps` of its arguments, such as "policy.chosen", in order.
        None: the function takes the whole `PairLogps`, of which all is computed.
      hyperparameters: values by name; the defaults, until `bind`. The first is the
        strength, which papers tune: beta, tau, lam ...
      proportional: hyperparameters that are scaled with the strength where it is tuned.
      needs_reference: whether it compares with the reference's log-probs.
      needs_reference_distribution: whether it compares with the reference's whole
        next-token distributions, so that the reference runs in every step.
      couples_batch: whether a pair's term depends on other pairs: then a batch is not
        cut into micro-batches, and has no padding. None: unknown, treated as True.
      name: its name on the command line; for library losses that of the function.
      title: what its paper calls it.
      paper: where the formula is from.
      default_source: where the default hyperparameters are from.
      trl_name: what TRL 1.16 calls it (`loss_type`); empty where TRL has no such loss.
      trl_hyperparameters: TRL's names of hyperparameters that differ, and ours.
    """

    fn: Callable[..., Array]
    inputs: tuple[str, ...] | None = None
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    needs_reference: bool = True
    needs_reference_distribution: bool = False
    couples_batch: bool | None = None
    name: str = "custom"
    title: str = ""
    paper: str = ""
    default_source: str = ""
    trl_name: str = ""
    trl_hyperparameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    proportional: tuple[str, ...] = ()

    @property
    def needs_reward_shift(self) -> bool:
        """Whether it takes the running mean of rewards."""
        return "reward_shift" in (self.inputs or ())

    def bind(self, **hyperparameters: Any) -> Self:
        """The loss with these hyperparameters, the others as they are.

        Raises:
          ValueError: one that it does not take; names those that it takes.
        """
        for name in hyperparameters:
            if name not in self.hyperparameters:
                hint = ""
                if name in self.trl_hyperparameters:
                    ours = self.trl_hyperparameters[name]
                    hint = f"; TRL's {name} is its {ours}"
                known = self.hyperparameter_text()
                raise ValueError(
                    f"the loss {self.name} takes {known}, not {name}{hint}"
                )
        values = {**self.hyperparameters, **hyperparameters}
        return dataclasses.replace(self, hyperparameters=values)

    def at_strength(self, strength: Any) -> Self:
        """The loss with another strength: its first hyperparameter.

        Args:
          strength: a float, or a traced number.

        >>> loss = PairwiseLoss(len, hyperparameters={"beta": 2.0, "gamma": 1.0})
        >>> dataclasses.replace(loss, proportional=("gamma",)).at_strength(3.0)
        ... # doctest: +ELLIPSIS
        PairwiseLoss(..., hyperparameters={'beta': 3.0, 'gamma': 1.5}, ...)
        """
        name, default = next(iter(self.hyperparameters.items()))
        scaled = {x: self.hyperparameters[x] / default for x in self.proportional}
        scaled = {x: ratio * strength for x, ratio in scaled.items()}
        return self.bind(**{name: strength}, **scaled)

    def hyperparameter_text(self) -> str:
        """Its hyperparameters and their values, as text.

        >>> loss = PairwiseLoss(len, hyperparameters={"beta": 0.1, "gamma": 1.0})
        >>> loss.hyperparameter_text()
        'beta 0.1, gamma 1'
        """
        values = [f"{name} {x:g}" for name, x in self.hyperparameters.items()]
        return ", ".join(values) or "no hyperparameters"


@dataclasses.dataclass(frozen=True)
class UnpairedLoss(PreferenceLoss):
    """A loss on unpaired answers (KTO); each pair gives two."""


@dataclasses.dataclass(frozen=True)
class PairwiseLoss(PreferenceLoss):
    """A loss on pairs of answers: called with `PairLogps`, it returns a term per pair.

    A custom loss needs only its function, `PairwiseLoss(fn)`; every `loss=` argument
    takes `fn` itself, too. Without further fields it gets whole batches, and the
    reference's log-probs.
    """

    def __post_init__(self) -> None:
        """Refuses inputs that `PairLogps` does not have."""
        if unknown := set(self.inputs or ()) - input_paths():
            names, known = (", ".join(sorted(x)) for x in (unknown, input_paths()))
            raise ValueError(
                f"the loss {self.name} has unknown inputs {names}; there are {known}"
            )

    def takes(self, field: str) -> bool:
        """Whether a field of `PairLogps` is among its inputs."""
        if self.inputs is None:
            return True
        return any(path.partition(".")[0] == field for path in self.inputs)

    def __call__(self, pair: PairLogps) -> Array:
        """One term per pair.

        Raises:
          ValueError: an input was not computed; says what the objective must be given.
        """
        if self.inputs is None:
            return self.fn(pair, **self.hyperparameters)
        if any(getattr(pair, path.partition(".")[0]) is None for path in self.inputs):
            raise self.missing_input_error(pair)
        arguments = [operator.attrgetter(path)(pair) for path in self.inputs]
        return self.fn(*arguments, **self.hyperparameters)

    def missing_input_error(self, pair: PairLogps) -> ValueError:
        """The error for a pair without one of the inputs."""
        if self.needs_reward_shift and pair.reference is not None:
            return ValueError(
                f"the loss {self.name} needs the running mean of rewards: give the "
                "objective (or the step) `reward_shift`, as training.reward_shift "
                "computes it"
            )
        if self.needs_reference_distribution:
            return ValueError(
                f"the loss {self.name} compares whole distributions with a reference: "
                "give the objective (or the step) the reference's parameters after "
                "the batch"
            )
        return ValueError(
            f"the loss {self.name} compares with a reference: the batch needs its "
            "log-probs, as reference_cache's `attach` adds them"
        )


PairLoss = PairwiseLoss | Callable[[PairLogps], Array]


def as_loss(loss: PairLoss) -> PairwiseLoss:
    """The loss itself, or a function of `PairLogps` as a loss of unknown needs."""
    return loss if isinstance(loss, PairwiseLoss) else PairwiseLoss(loss)
