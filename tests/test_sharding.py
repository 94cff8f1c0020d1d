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
    with pytest.raises(ValueError, match="unknown mesh axes|needs"):
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


def test_the_mesh_of_a_tree_is_that_of_its_arrays():
    mesh = sharding.make_mesh({"data": 2, "fsdp": 4})
    placed = sharding.place_batch({"tokens": np.zeros((8, 3))}, mesh)
    assert sharding.mesh_of({"count": 1, **placed}) == mesh
    assert sharding.mesh_of({"tokens": jax.numpy.zeros((8, 3))}) is None
    assert sharding.row_shards(mesh) == 8 and sharding.row_shards(None) == 1
    tree = {"tokens": np.zeros((8, 3))}
    assert sharding.place_batch(tree, None) is tree
    assert sharding.shard_from_replicated(tree, None) is tree


def test_a_replicated_batch_is_cut_where_its_rows_divide():
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    cut = sharding.shard_from_replicated([np.arange(8), np.arange(6)], mesh)
    # 4 shards of rows: 8 are cut into 2 each, 6 do not divide and stay whole
    assert [x.addressable_shards[0].data.shape for x in cut] == [(2,), (6,)]


def test_processes_load_the_rows_on_their_devices(monkeypatch):
    mesh = sharding.make_mesh({"data": 2, "fsdp": 4})
    assert sharding.local_rows(8, mesh) == slice(None)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    # all eight devices are this process's, whatever its number
    assert sharding.local_rows(16, mesh).tolist() == list(range(16))
    assert sharding.local_rows(16, None) == slice(8, 16)
    with pytest.raises(ValueError, match="batch 15 does not divide by 2 processes"):
        sharding.local_rows(15, None)


def test_a_mesh_is_in_context_where_there_is_one():
    mesh = sharding.make_mesh({"data": 2})
    with sharding.use_mesh(mesh):
        assert sharding.shard_count("batch") == 2
    with sharding.use_mesh(None):
        assert sharding.shard_count("batch") == 1
