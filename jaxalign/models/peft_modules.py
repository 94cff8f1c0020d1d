"""The linear modules of a family, and low-rank factors of the leaves within each.

A module there may be several leaves here: queries, keys and values in one matrix. Their
factors side by side are those of the whole:

    A = [a_1 | a_2]^T    B = [b_1^T in the places of leaf 1 | b_2^T in those of leaf 2]

so that B A is each leaf's own product in its places, at the sum of the ranks. Back, all
leaves of a module have its A, and each its own rows of B, at the module's rank.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from jaxalign.models.config import ModelConfig
from jaxalign.models.families.registry import tensor_mappings
from jaxalign.models.hf_layout import TensorMapping
from jaxalign.models.lazy_weights import input_axes
from jaxalign.models.param_filter import Path
from jaxalign.types import LanguageModel

Factors = dict[str, np.ndarray]  # a [inputs, rank], b [rank, outputs]; of one layer


class LinearModule(NamedTuple):
    """A linear module of a layer there, and the leaves here that are its weight."""

    name: str
    weights: tuple[TensorMapping, ...]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Of the leaves."""
        return tuple(weight.path for weight in self.weights)

    @property
    def layer(self) -> int:
        """Which one of the stacked leaves."""
        return cast(int, self.weights[0].layer)

    def shapes(self, rank: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Of A [rank, inputs] and B [outputs, rank]."""
        first = self.weights[0]
        outputs, _ = lora_b_mapping(first, rank).shape
        return (rank, first.shape[1 - first.there.index(output_axes(first))]), (
            outputs,
            rank,
        )

    def outward(self, factors: Mapping[Path, Factors]) -> tuple[np.ndarray, np.ndarray]:
        """A and B, of the factors of the leaves that have some."""
        downs, ups = [], []
        for weight in self.weights:
            if weight.path not in factors:
                continue
            a, b = factors[weight.path]["a"], factors[weight.path]["b"]
            view = lora_b_mapping(weight, len(b))
            places = np.zeros(view.shape, b.dtype)
            view.outward(b.reshape(view.leaf), places)
            downs.append(a.T)
            ups.append(places)
        return np.concatenate(downs), np.concatenate(ups, axis=1)

    def from_file(self, a: np.ndarray, b: np.ndarray) -> dict[Path, Factors]:
        """The factors of every leaf, of A and B."""
        found = {}
        for weight in self.weights:
            view = lora_b_mapping(weight, len(a))
            part = view.from_file(b, tuple(slice(0, size) for size in view.leaf))
            found[weight.path] = {"a": a.T, "b": part.reshape(len(a), -1)}
        return found


def linear_modules(model: LanguageModel) -> Iterator[LinearModule]:
    """The modules that adapters are for: those whose weight is a matrix of a layer."""
    shapes = flatten_dict(jax.eval_shape(model.init, jax.random.key(0)))
    found: dict[str, list[TensorMapping]] = {}
    for weight in tensor_mappings(cast(ModelConfig, model.config), shapes):
        if weight.layer is not None and len(weight.there) == 2:
            found.setdefault(weight.name.removesuffix(".weight"), []).append(weight)
    return (LinearModule(name, tuple(parts)) for name, parts in found.items())


def output_axes(weight: TensorMapping) -> str:
    """The axes of a matrix there that are no inputs."""
    inputs = weight.here[: len(input_axes(weight.path))]
    (outputs,) = (group for group in weight.there if group != inputs)
    return outputs


def lora_b_mapping(weight: TensorMapping, rank: int) -> TensorMapping:
    """A leaf's rows of its module's B [outputs, rank], as a weight [rank, ...]."""
    letters = output_axes(weight)
    inner = weight.here[len(input_axes(weight.path)) :]
    return weight._replace(
        axes=f"({' '.join(letters)}) r -> r {' '.join(inner)}",
        sizes={**weight.sizes, "r": rank},
    )
