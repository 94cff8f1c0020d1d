"""Meshes: their axes, what divides and what does not."""

import jax
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from jaxalign import sharding
from jaxalign.batches import from_lengths


def test_axes_are_auto_and_default_to_data():
    mesh = sharding.make_mesh()
    assert dict(mesh.shape) == {"data": 8, "fsdp": 1, "tensor": 1}
    assert mesh.axis_types == (AxisType.Auto,) * 3


@pytest.mark.parametrize("shape", [{"data": 16}, {"rows": 2}, {"data": 0}])
def test_impossible_meshes(shape):
    with pytest.raises(ValueError, match="unknown mesh axes|wants"):
        sharding.make_mesh(shape)


def test_what_does_not_divide_is_replicated():
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    partition = sharding.spec("width", "heads", None)
    kept = sharding.drop_indivisible_axes(mesh, partition, (8, 3, 5))
    assert kept == PartitionSpec("fsdp", None, None)
    placed = sharding.place({"w": np.zeros((8, 2, 5))}, {"w": partition}, mesh)
    assert placed["w"].addressable_shards[0].data.shape == (2, 1, 5)


def test_rows_are_cut_over_data_and_fsdp():
    mesh = sharding.make_mesh({"data": 2, "fsdp": 4})
    tokens = np.arange(32, dtype=np.int32).reshape(8, 4)
    lengths = np.full(8, 4, np.int32)
    batch = sharding.place_batch(from_lengths(tokens, lengths, lengths - 2), mesh)
    assert batch.tokens.addressable_shards[0].data.shape == (1, 4)
    np.testing.assert_array_equal(jax.device_get(batch.tokens), tokens)
    with pytest.raises(ValueError, match="6 rows is not divisible by 8 devices"):
        sharding.place_batch(tokens[:6], mesh)


def test_batches_from_lengths():
    tokens = np.zeros((2, 5), np.int32)
    batch = from_lengths(tokens, np.array([5, 3]), np.array([2, 0]))
    assert batch.lengths.tolist() == [5, 3]
    # the answer after the prompt; never the first token, which nothing predicts
    assert batch.loss_mask.astype(int).tolist() == [[0, 0, 1, 1, 1], [0, 1, 1, 0, 0]]
