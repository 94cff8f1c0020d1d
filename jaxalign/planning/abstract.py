"""Arrays that are not there: their shapes, types and places on a mesh."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxalign import sharding
from jaxalign.batches import AnswerBatch, TokenBatch
from jaxalign.models import lora, param_filter
from jaxalign.pipeline import trainable
from jaxalign.training import forward, state
from jaxalign.types import LanguageModel, Params, ScalarModel

KEY = jax.eval_shape(lambda: jax.random.key(0))


def array(leaf: Any, place: NamedSharding) -> jax.ShapeDtypeStruct:
    """An array of this shape and type at that place."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def parameters(model: LanguageModel | ScalarModel, mesh: Mesh) -> Params:
    """A model's parameters, cut as `model.init` cuts them."""
    shapes = jax.eval_shape(model.init, KEY)
    return jax.tree.map(array, shapes, sharding.shardings(mesh, model.specs(), shapes))


def trainable_params(
    base: Params, rank: int, alpha: float = 32.0
) -> trainable.Trainable:
    """What trains of these parameters: all, or an adapter of a rank, with any head."""
    if not rank:
        return trainable.Trainable(base)
    shapes = jax.eval_shape(functools.partial(lora.init, rank=rank), KEY, base)
    leaves = flatten_dict(base)
    factors = flatten_dict(shapes, is_leaf=lora.is_factors)
    adapter = {
        path: jax.tree.map(array, pair, lora.factor_shardings(path, leaves[path]))
        for path, pair in factors.items()
    }
    head = param_filter.select_trainable(base, "head") if "head" in base else {}
    attach = functools.partial(lora.attach, scale=lora.scale(rank, alpha))
    return trainable.Trainable(
        unflatten_dict(adapter) | head, jax.tree_util.Partial(attach, base)
    )


def train_state(
    params: Params, optimizer: optax.GradientTransformation, mesh: Mesh
) -> state.TrainState:
    """What `state.create` makes: moments are cut like parameters, the rest is whole."""
    whole = NamedSharding(mesh, PartitionSpec())
    leaves = jax.tree_util.tree_leaves_with_path(params)
    places = {path: leaf.sharding for path, leaf in leaves}

    def placed(path: tuple[Any, ...], leaf: Any) -> jax.ShapeDtypeStruct:
        ends = (path[start:] for start in range(len(path)))
        return array(leaf, next((places[e] for e in ends if e in places), whole))

    shapes = jax.eval_shape(optimizer.init, params)
    moments = jax.tree_util.tree_map_with_path(placed, shapes)
    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=whole)
    key: Any = array(KEY, whole)
    return state.TrainState(count, params, moments, key)


def rows(mesh: Mesh, *shape: int, kind: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    """An array of a batch, its rows split.

    Raises:
      ValueError: they do not divide among the devices.
    """
    parts = mesh.shape["data"] * mesh.shape["fsdp"]
    if shape[0] % parts:
        raise ValueError(
            f"{shape[0]} rows are not divisible by data * fsdp = {parts} devices"
        )
    place = NamedSharding(mesh, sharding.spec("batch"))
    return jax.ShapeDtypeStruct(shape, kind, sharding=place)


def token_batch(mesh: Mesh, count: int, length: int) -> TokenBatch:
    """Sequences."""
    ids = rows(mesh, count, length)
    return TokenBatch(ids, ids, ids, rows(mesh, count, length, kind=jnp.bool_))


def answer_batch(
    mesh: Mesh, count: int, shared: int, *, asked: int, room: int
) -> AnswerBatch:
    """So many rows of a prompt and `shared` answers to it."""
    sequences = token_batch(mesh, count, asked - 1 + shared * (room + 1))
    return AnswerBatch(
        sequences=dataclasses.replace(sequences, first_scored=asked),
        mask=rows(mesh, count, shared, kind=jnp.bool_),
        margin=rows(mesh, count, kind=jnp.float32),
        row=rows(mesh, count),
    )


def token_logps(mesh: Mesh, batch: TokenBatch | AnswerBatch) -> jax.ShapeDtypeStruct:
    """Log-probs of each token."""
    sequences, _ = forward.rows_and_unpack(batch)
    return rows(mesh, *sequences.tokens.shape, kind=jnp.float32)


def bytes_per_device(tree: Any) -> int:
    """Bytes of the arrays of a tree on each device."""

    def of(leaf: Any) -> int:
        part = leaf.sharding.shard_shape(leaf.shape)
        return math.prod(part) * int(leaf.dtype.itemsize)

    return sum(map(of, jax.tree.leaves(tree)))
