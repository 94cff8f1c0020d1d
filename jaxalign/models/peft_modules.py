"""Linear modules of a family, and the low-rank factors of the parameters within each.

A module in the file may hold several parameters: queries, keys and values in one
matrix. The concatenation of their factors is the factors of the module:

    A = [a_1 | a_2]^T    B = [b_1^T in the rows of param 1 | b_2^T in those of param 2]

so that B A is the product of each parameter in its rows, at the sum of the ranks. Read
back, all parameters of a module have its A, each has its own rows of B, and the rank is
that of the module.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, cast

import jax
import numpy as np

from jaxalign import lazy
from jaxalign.models.config import ModelConfig
from jaxalign.models.families.tensor_table import tensor_mappings
from jaxalign.models.hf_layout import TensorMapping
from jaxalign.models.lazy_weights import input_axes
from jaxalign.models.param_filter import Path
from jaxalign.types import LanguageModel

if TYPE_CHECKING:
    from flax import traverse_util
else:
    traverse_util = lazy.module("flax.traverse_util")


Factors = dict[str, np.ndarray]  # a [inputs, rank], b [rank, outputs], of one layer


class LinearModule(NamedTuple):
    """A linear module of a layer in the file, and the parameters that it holds.

    Attributes:
      name: of the module in the file.
      mappings: of its parameters.
    """

    name: str
    mappings: tuple[TensorMapping, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """The paths of the parameters."""
        return tuple(mapping.path for mapping in self.mappings)

    @property
    def layer(self) -> int:
        """The index within the stacked parameters."""
        return cast(int, self.mappings[0].layer)

    def shapes(self, rank: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """The shapes of A [rank, inputs] and B [outputs, rank]."""
        first = self.mappings[0]
        outputs, _ = lora_b_mapping(first, rank).shape
        inputs = first.shape[1 - first.file_axes.index(output_axes(first))]
        return (rank, inputs), (outputs, rank)

    def to_peft(self, factors: Mapping[Path, Factors]) -> tuple[np.ndarray, np.ndarray]:
        """A and B, from the factors of its adapted parameters by path."""
        downs, ups = [], []
        for mapping in self.mappings:
            if mapping.path not in factors:
                continue
            a, b = factors[mapping.path]["a"], factors[mapping.path]["b"]
            b_mapping = lora_b_mapping(mapping, len(b))
            up = np.zeros(b_mapping.shape, b.dtype)
            b_mapping.to_file(b.reshape(b_mapping.param_shape), up)
            downs.append(a.T)
            ups.append(up)
        return np.concatenate(downs), np.concatenate(ups, axis=1)

    def from_peft(self, a: np.ndarray, b: np.ndarray) -> dict[Path, Factors]:
        """The factors of every parameter by path, from A and B."""
        factors = {}
        for mapping in self.mappings:
            b_mapping = lora_b_mapping(mapping, len(a))
            everything = tuple(slice(0, size) for size in b_mapping.param_shape)
            part = b_mapping.from_file(b, everything)
            factors[mapping.path] = {"a": a.T, "b": part.reshape(len(a), -1)}
        return factors


def linear_modules(model: LanguageModel) -> Iterator[LinearModule]:
    """The modules that adapters apply to: those whose weight is a matrix of a layer."""
    shapes = traverse_util.flatten_dict(jax.eval_shape(model.init, jax.random.key(0)))
    modules: dict[str, list[TensorMapping]] = {}
    for mapping in tensor_mappings(cast(ModelConfig, model.config), shapes):
        if mapping.layer is not None and len(mapping.file_axes) == 2:
            name = mapping.name.removesuffix(".weight")
            modules.setdefault(name, []).append(mapping)
    return (LinearModule(name, tuple(parts)) for name, parts in modules.items())


def output_axes(mapping: TensorMapping) -> str:
    """The file axis of a matrix that is not its inputs, as a string of letters."""
    inputs = mapping.param_axes[: len(input_axes(mapping.path))]
    (outputs,) = (group for group in mapping.file_axes if group != inputs)
    return outputs


def lora_b_mapping(mapping: TensorMapping, rank: int) -> TensorMapping:
    """The mapping of a parameter's b [rank, ...] to its rows of B [outputs, rank]."""
    letters = output_axes(mapping)
    inner = mapping.param_axes[len(input_axes(mapping.path)) :]
    return mapping._replace(
        axes=f"({' '.join(letters)}) r -> r {' '.join(inner)}",
        sizes={**mapping.sizes, "r": rank},
    )
