"""LoRA: low-rank adapters as functions on parameter trees.

weight = base + scale * a @ b,    a [inputs, rank],  b [rank, outputs] = 0 initially

The base is frozen; the factors a and b are trainable.

    adapter = lora.init(key, base, rank=16)
    params = lora.attach(base, adapter, scale=2.0)    # for any model function
    merged = lora.merge(params)                       # arrays, to save

The base is not copied, and serves as the reference: the same arrays without adapter.

Reference: Hu et al. 2021, arXiv:2106.09685, section 4.1.
"""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from jaxalign import lazy
from jaxalign.models import lazy_weights
from jaxalign.models.lazy_weights import LAYERS_KEY, LazyWeight, input_axes, is_matrix
from jaxalign.models.param_filter import MATRICES, Path, matching_leaves, suggestion
from jaxalign.types import Array, Key, Params

if TYPE_CHECKING:
    from flax import traverse_util
else:
    traverse_util = lazy.module("flax.traverse_util")


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["base", "a", "b"],
    meta_fields=["scale"],
)
@dataclasses.dataclass(frozen=True)
class LoraWeight(LazyWeight):
    """An adapted weight: base + scale * a @ b, added in float32.

    Attributes:
      base: an array, or a lazy weight such as `Int8`.
      a: [inputs, rank]; of stacked parameters [layers, inputs, rank].
      b: [rank, outputs]; of stacked parameters [layers, rank, outputs].
      scale: of the product.
    """

    base: Any
    a: Array
    b: Array
    scale: float

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the weight."""
        return tuple(self.base.shape)

    def materialize(self) -> Array:
        """Add the product to the base, in the dtype of the base."""
        base = lazy_weights.materialize(self.base)
        change = self.scale * (self.a @ self.b).reshape(base.shape)
        return (base.astype(jnp.float32) + change).astype(base.dtype)


def scale(rank: int, alpha: float, *, rank_stabilized: bool = False) -> float:
    """The scale of the product of the factors: alpha / rank.

    Args:
      rank: at least 1.
      alpha: above 0.
      rank_stabilized: alpha / sqrt(rank), so that high ranks learn as fast as low ones
        (rsLoRA, Kalajdzievski 2023, arXiv:2312.03732).
    """
    return alpha / (math.sqrt(rank) if rank_stabilized else rank)


def factor_shapes(path: Path, leaf: Any, rank: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the factors a and b of a parameter."""
    axes = input_axes(path)
    layers, inner = leaf.shape[: axes[0]], leaf.shape[axes[0] : axes[-1] + 1]
    outer = leaf.shape[axes[-1] + 1 :]
    return {
        "a": (*layers, math.prod(inner), rank),
        "b": (*layers, rank, math.prod(outer)),
    }


def is_factors(_: Path, tree: Params) -> bool:
    """Whether a subtree of an adapter is the factors of one parameter."""
    return set(tree) == {"a", "b"}


def init(key: Key, params: Params, *, rank: int, targets: str = MATRICES) -> Params:
    """New factors for the matrices that match a pattern: a ~ N(0, 1 / inputs), b = 0.

    Float32 whatever the dtype of the base; on a mesh, sharded as the base is.

    Args:
      params: the base.
      rank: of the factors, from 1 to the smaller side of each matrix.
      targets: a pattern, see `param_filter`; vectors that match it (norms, biases) get
        no factors.

    Returns:
      A tree as the base's, with `{"a": ..., "b": ...}` in place of each matrix.

    Raises:
      ValueError: a pattern that matches no matrix or selects layers, or a rank out of
        range.
    """
    leaves = traverse_util.flatten_dict(params)
    paths = [p for p in matching_leaves(params, targets) if is_matrix(p, leaves[p])]
    if not paths or "[" in targets:
        raise ValueError(
            f"{targets!r} matches no matrices of all layers, to which LoRA applies"
        )
    adapter: Params = {}
    for path, leaf_key in zip(paths, jax.random.split(key, len(paths)), strict=True):
        shapes = factor_shapes(path, leaves[path], rank)
        inputs, outputs = shapes["a"][-2], shapes["b"][-1]
        if not 1 <= rank <= min(inputs, outputs):
            raise ValueError(
                f"rank is {rank}; {'.'.join(path)}, a matrix from {inputs} to {outputs}"
                f", needs a rank of 1 to {min(inputs, outputs)}"
            )
        a = inputs**-0.5 * jax.random.normal(leaf_key, shapes["a"])
        factors = {"a": a, "b": jnp.zeros(shapes["b"])}
        adapter[path] = place_factors(path, leaves[path], factors)
    return traverse_util.unflatten_dict(adapter)


def factor_shardings(path: Path, leaf: Any) -> dict[str, NamedSharding] | None:
    """The shardings of the factors of a parameter, as its own; None off a mesh."""
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
    """Put the factors of a parameter on its devices."""
    shardings = factor_shardings(path, leaf)
    return jax.device_put(factors, shardings) if shardings else factors


def attach(base: Params, adapter: Params, *, scale: float) -> Params:
    """The parameters with the adapter; matrices of layers are not computed or copied.

    A layer computes an adapted matrix where it uses it, see `lazy_weights`. A matrix
    outside the layers (the embedding) is computed here.

    Args:
      base: full parameters.
      adapter: of `init`; or with arrays, which replace those of the base (a head that
        is trained in full).
      scale: of the product, see `scale`.

    Raises:
      ValueError: an adapter of another model; names the parameter.
    """
    leaves = traverse_util.flatten_dict(base)
    for path, factors in traverse_util.flatten_dict(
        adapter, is_leaf=is_factors
    ).items():
        name = ".".join(path)
        if path not in leaves:
            near = suggestion(list(path), leaves)
            raise ValueError(f"the model has no {name}, which the adapter has{near}")
        if not isinstance(factors, dict):
            leaves[path] = factors
            continue
        shapes = {part: tuple(x.shape) for part, x in factors.items()}
        expected = factor_shapes(path, leaves[path], shapes["a"][-1])
        if shapes != expected:
            raise ValueError(
                f"the adapter's {name} has shape {shapes}; the model needs {expected}"
            )
        adapted = LoraWeight(leaves[path], factors["a"], factors["b"], scale)
        leaves[path] = adapted if LAYERS_KEY in path else adapted.materialize()
    return traverse_util.unflatten_dict(leaves)


@jax.jit
def merge(params: Params) -> Params:
    """The parameters as arrays: adapters are added, quantized weights dequantized.

    A quantized base becomes float32.
    """
    return lazy_weights.materialize(params)
