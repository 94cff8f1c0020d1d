"""Abstract arrays: shapes, dtypes and shardings of parameters, state and batches."""

import dataclasses
import functools
import math
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxalign import lazy, sharding
from jaxalign.batches import AnswerBatch, TokenBatch
from jaxalign.models import lora, param_filter
from jaxalign.pipeline import trainable
from jaxalign.training import state
from jaxalign.types import LanguageModel, Params, ScalarModel

if TYPE_CHECKING:
    import optax
    from flax import traverse_util
else:
    traverse_util = lazy.module("flax.traverse_util")


KEY = jax.eval_shape(lambda: jax.random.key(0))


def array(leaf: Any, place: NamedSharding) -> jax.ShapeDtypeStruct:
    """An abstract array of this shape and dtype with a sharding."""
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)


def parameters(model: LanguageModel | ScalarModel, mesh: Mesh) -> Params:
    """A model's parameters, sharded as `model.init` shards them."""
    shapes = jax.eval_shape(model.init, KEY)
    return jax.tree.map(array, shapes, sharding.shardings(mesh, model.specs(), shapes))


def trainable_params(
    base: Params, rank: int, alpha: float = 32.0
) -> trainable.Trainable:
    """The trainable parameters: all, or an adapter of this rank with any head."""
    if not rank:
        return trainable.Trainable(base)
    shapes = jax.eval_shape(functools.partial(lora.init, rank=rank), KEY, base)
    leaves = traverse_util.flatten_dict(base)
    factors = traverse_util.flatten_dict(shapes, is_leaf=lora.is_factors)
    adapter = {
        path: jax.tree.map(array, pair, lora.factor_shardings(path, leaves[path]))
        for path, pair in factors.items()
    }
    head = param_filter.select_trainable(base, "head") if "head" in base else {}
    attach = functools.partial(lora.attach, scale=lora.scale(rank, alpha))
    return trainable.Trainable(
        traverse_util.unflatten_dict(adapter) | head,
        jax.tree_util.Partial(attach, base),
    )


def train_state(
    params: Params, optimizer: "optax.GradientTransformation", mesh: Mesh
) -> state.TrainState:
    """The state that `state.create` returns: moments sharded like parameters."""
    replicated = NamedSharding(mesh, PartitionSpec())
    leaves = jax.tree_util.tree_leaves_with_path(params)
    places = {path: leaf.sharding for path, leaf in leaves}

    def placed(path: tuple[Any, ...], leaf: Any) -> jax.ShapeDtypeStruct:
        ends = (path[start:] for start in range(len(path)))
        return array(leaf, next((places[e] for e in ends if e in places), replicated))

    shapes = jax.eval_shape(optimizer.init, params)
    moments = jax.tree_util.tree_map_with_path(placed, shapes)
    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=replicated)
    key: Any = array(KEY, replicated)
    return state.TrainState(count, params, moments, key)


def rows(mesh: Mesh, *shape: int, kind: Any = jnp.int32) -> jax.ShapeDtypeStruct:
    """An array of a batch, sharded by rows.

    Raises:
      ValueError: the rows do not divide among the devices.
    """
    parts = sharding.row_shards(mesh)
    if shape[0] % parts:
        raise ValueError(
            f"{shape[0]} rows are not divisible by data * fsdp = {parts} devices"
        )
    place = NamedSharding(mesh, sharding.spec("batch"))
    return jax.ShapeDtypeStruct(shape, kind, sharding=place)


def token_batch(mesh: Mesh, count: int, length: int) -> TokenBatch:
    """A batch of `count` sequences of `length` tokens."""
    ids = rows(mesh, count, length)
    return TokenBatch(ids, ids, ids, rows(mesh, count, length, kind=jnp.bool_))


def answer_batch(
    mesh: Mesh, count: int, shared: int, *, prompt: int, answer: int
) -> AnswerBatch:
    """A batch of `count` rows, each a prompt and `shared` answers to it.

    Args:
      prompt: tokens of a prompt.
      answer: tokens of an answer.
    """
    sequences = token_batch(mesh, count, prompt - 1 + shared * (answer + 1))
    return AnswerBatch(
        sequences=dataclasses.replace(sequences, first_scored=prompt),
        mask=rows(mesh, count, shared, kind=jnp.bool_),
        margin=rows(mesh, count, kind=jnp.float32),
        row=rows(mesh, count),
    )


def token_logps(mesh: Mesh, batch: TokenBatch | AnswerBatch) -> jax.ShapeDtypeStruct:
    """Per-token log-probs of a batch."""
    sequences = batch.rows()
    return rows(mesh, *sequences.tokens.shape, kind=jnp.float32)


def bytes_per_device(tree: Any) -> int:
    """Bytes of a tree of arrays on each device."""

    def of(leaf: Any) -> int:
        part = leaf.sharding.shard_shape(leaf.shape)
        return math.prod(part) * int(leaf.dtype.itemsize)

    return sum(map(of, jax.tree.leaves(tree)))
