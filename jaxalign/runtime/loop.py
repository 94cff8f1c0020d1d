"""The state that a training loop carries from step to step, and saves."""

import dataclasses
import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import jax

from jaxalign.training.state import TrainState


class Resumable(Protocol):
    """An iterator whose position can be saved and restored."""

    def get_state(self) -> dict[str, Any]:
        """The position, as JSON values."""

    def set_state(self, state: dict[str, Any], /) -> None:
        """Moves to a position that `get_state` returned."""


class LoopState(NamedTuple):
    """Everything that a resumed training loop needs to continue exactly.

    Attributes:
      step: steps done; the next step has this number.
      state: parameters, optimizer state and random key.
      iterators: data iterators by name; their positions are saved.
      extras: other values by name, such as a KL coefficient: JSON values, or arrays and
        dataclasses of arrays, which are copied to the host only when they are saved.
        A restored loop has JSON values: an array becomes a number or a list, a
        dataclass the list of its fields.
    """

    step: int
    state: TrainState
    iterators: Mapping[str, Resumable]
    extras: Mapping[str, Any] = MappingProxyType({})


def json_values(extras: Mapping[str, Any]) -> dict[str, Any]:
    """The extras of a loop as JSON values; waits for the device.

    >>> json_values({"beta": jax.numpy.float32(0.5), "moments": [1.0, None]})
    {'beta': 0.5, 'moments': [1.0, None]}
    """

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            return [getattr(value, field.name) for field in dataclasses.fields(value)]
        return value.tolist()  # a NumPy array or scalar

    values: dict[str, Any] = json.loads(
        json.dumps(jax.device_get(dict(extras)), default=plain)
    )
    return values
