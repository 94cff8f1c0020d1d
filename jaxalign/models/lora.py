"""Low-rank adapters as functions on parameter trees: the base stays, two factors train.

weight = base + scale * a @ b,    a [inputs, rank],  b [rank, outputs] = 0 at the start

    adapter = lora.init(key, base, rank=16)
    params = lora.attach(base, adapter, scale=2.0)    # for any model function
    plain = lora.merge(params)                        # arrays again, to save

The base is not copied, and is the reference: the same arrays with the adapter off.

Reference: Hu et al. 2021, arXiv:2106.09685, section 4.1.
"""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import NamedSharding, PartitionSpec

from jaxalign.models import lazy_weights
from jaxalign.models.lazy_weights import LAYERS_KEY, LazyWeight, input_axes, is_matrix
from jaxalign.models.param_filter import MATRICES, Path, matching_leaves, suggestion
from jaxalign.types import Array, Cache, Key, LanguageModel, Params


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["base", "a", "b"],
    meta_fields=["scale"],
)
@dataclasses.dataclass(frozen=True)
class LoraWeight(LazyWeight):
    """A weight as base + scale * a @ b, added up in float32.

    Attributes:
      base: an array, or a deferred leaf such as `Int8`.
      a: [inputs, rank], of stacked leaves [layers, inputs, rank].
      b: [rank, outputs], likewise.
    """

    base: Any
    a: Array
    b: Array
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight."""
        return tuple(self.base.shape)

    def materialize(self) -> Array:
        """The weight, in the type that its base is kept in."""
        base = lazy_weights.materialize(self.base)
        change = self.scale * (self.a @ self.b).reshape(base.shape)
        return (base.astype(jnp.float32) + change).astype(base.dtype)


def scale(rank: int, alpha: float, *, rank_stabilized: bool = False) -> float:
    """How much the factors' product counts: alpha / rank.

    Args:
      rank_stabilized: alpha / sqrt(rank), so that high ranks learn as fast as low ones
        (Kalajdzievski 2023, arXiv:2312.03732).
    """
    return alpha / (math.sqrt(rank) if rank_stabilized else rank)


def factor_shapes(path: Path, leaf: Any, rank: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a and b for a leaf."""
    axes = input_axes(path)
    layers, inner = leaf.shape[: axes[0]], leaf.shape[axes[0] : axes[-1] + 1]
    outer = leaf.shape[axes[-1] + 1 :]
    return {
        "a": (*layers, math.prod(inner), rank),
        "b": (*layers, rank, math.prod(outer)),
    }


def is_factors(_: Path, tree: Params) -> bool:
    """Whether a part of an adapter is the two factors of one leaf."""
    return set(tree) == {"a", "b"}


def init(key: Key, params: Params, *, rank: int, targets: str = MATRICES) -> Params:
    """New factors for the matrices that a pattern means: a ~ N(0, 1 / inputs), b = 0.

    Float32 whatever the base is kept in; on a mesh, cut as the base is.

    Args:
      params: the base.
      targets: see `partition`; vectors that it means (norms, biases) are left alone.

    Returns:
      A tree like that of the base, `{"a": ..., "b": ...}` in place of each matrix.

    Raises:
      ValueError: the pattern means no matrix, or layers; a rank below 1 or larger
        than a matrix.
    """
    leaves = flatten_dict(params)
    chosen = [p for p in matching_leaves(params, targets) if is_matrix(p, leaves[p])]
    if not chosen or "[" in targets:
        raise ValueError(
            f"LoRA adapts matrices, of all layers; {targets!r} means something else"
        )
    adapter: Params = {}
    for path, leaf_key in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        shapes = factor_shapes(path, leaves[path], rank)
        inputs, outputs = shapes["a"][-2], shapes["b"][-1]
        if not 1 <= rank <= min(inputs, outputs):
            raise ValueError(
                f"rank {rank} does not fit {'.'.join(path)}, a matrix from {inputs} to "
                f"{outputs}: choose 1 to {min(inputs, outputs)}"
            )
        drawn = inputs**-0.5 * jax.random.normal(leaf_key, shapes["a"])
        new = {"a": drawn, "b": jnp.zeros(shapes["b"])}
        adapter[path] = place_factors(path, leaves[path], new)
    return unflatten_dict(adapter)


def factor_shardings(path: Path, leaf: Any) -> dict[str, NamedSharding] | None:
    """Where the factors of a leaf lie: cut as it is; None where it is on no mesh."""
    place = getattr(jax.tree.leaves(leaf)[0], "sharding", None)
    if not isinstance(place, NamedSharding):
        return None
    axes, spec = input_axes(path), (*place.spec, *[None] * len(leaf.shape))
    layers = [None] * axes[0]
    specs = {
        "a": PartitionSpec(*layers, spec[axes[0]], None),
        "b": PartitionSpec(*layers, None, spec[axes[-1] + 1]),
    }
    return {part: NamedSharding(place.mesh, spec) for part, spec in specs.items()}


def place_factors(path: Path, leaf: Any, factors: dict[str, Array]) -> dict[str, Array]:
    """The factors where they belong."""
    where = factor_shardings(path, leaf)
    return jax.device_put(factors, where) if where else factors


def attach(base: Params, adapter: Params, *, scale: float) -> Params:
    """The parameters with the adapter on; nothing is computed or copied for layers.

    A model function computes an adapted matrix where it uses it, see `lazy_weights`.
    One that is not of a layer (the embedding) is computed here.

    Args:
      adapter: of `init`, or with arrays too, which take the place of the base's (a
        head that trains in full).

    Raises:
      ValueError: the adapter is of another model.
    """
    leaves = flatten_dict(base)
    factors = flatten_dict(adapter, is_leaf=is_factors)
    for path, found in factors.items():
        name = ".".join(path)
        if path not in leaves:
            near = suggestion(list(path), leaves)
            raise ValueError(f"the adapter's {name} is not in the model{near}")
        if not isinstance(found, dict):
            leaves[path] = found
            continue
        shapes = {part: tuple(x.shape) for part, x in found.items()}
        expected = factor_shapes(path, leaves[path], shapes["a"][-1])
        if shapes != expected:
            raise ValueError(
                f"the adapter's {name} is of shape {shapes}; the model asks for "
                f"{expected}"
            )
        adapted = LoraWeight(leaves[path], found["a"], found["b"], scale)
        leaves[path] = adapted if LAYERS_KEY in path else adapted.materialize()
    return unflatten_dict(leaves)


@jax.jit
def merge(params: Params) -> Params:
    """The parameters as plain arrays: what attached adapters and quantised leaves are.

    A quantised base comes back as float32.
    """
    return lazy_weights.materialize(params)


@functools.lru_cache
def with_merged_decoding(model: LanguageModel) -> LanguageModel:
    """The model, merging once before it decodes rather than at each step.

    Only sampling needs it: `hidden` and `unembed` take adapted parameters as
    they are. Plain parameters go through unchanged.
    """

    def extend(params: Params, tokens: Array, cache: Cache) -> tuple[Array, Cache]:
        return model.extend(lazy_weights.materialize(params), tokens, cache)

    return model._replace(
        extend=extend,
        prepare=lambda params: model.prepare(lazy_weights.materialize(params)),
    )
