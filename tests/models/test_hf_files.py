"""Reading and writing of models: little memory, several files, nothing lost."""

import tracemalloc

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.models import hf_files, hf_params, pretrained


@pytest.fixture
def wide(variant, draw):
    """Two layers of 8.6 MB tensors."""
    model = variant(width=264, hidden=8192, vocab_size=64, tied=True, layers=2)
    return model, draw(model)


@pytest.mark.parametrize("mesh", [None, {"fsdp": 4, "tensor": 2}])
def test_the_host_holds_less_than_a_tensor(wide, tmp_path, mesh, monkeypatch):
    """numpy and Python hold blocks only; the parameters are the devices' own."""
    monkeypatch.setattr(hf_params, "BLOCK_BYTES", 2**18)
    pretrained.save(tmp_path, *wide, max_shard_bytes=2**24)
    pretrained.load(tmp_path)  # what is compiled and imported
    place = sharding.make_mesh(mesh) if mesh else None
    tracemalloc.start()
    model, params = pretrained.load(tmp_path, mesh=place)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    chex.assert_trees_all_equal(jax.device_get(params), jax.device_get(wide[1]))
    # a block as it is in the file, another as it is here, and 1.5 MB of Python's own
    assert peak < 4 * 264 * 8192 / 2
    if place:
        places = sharding.shardings(place, model.specs(), params)
        jax.tree.map(lambda x, s: chex.assert_equal(x.sharding, s), params, places)


def test_each_device_reads_its_part_only(wide, tmp_path, monkeypatch):
    """Of a tensor cut in 8, an eighth for each device; what all have, once."""
    pretrained.save(tmp_path, *wide)
    read = {}

    class CountedSlice:
        def __init__(self, part, name):
            self.part, self.name = part, name

        def __getattr__(self, name):
            return getattr(self.part, name)

        def __getitem__(self, cuts):
            numbers = self.part[cuts]
            read[self.name] = read.get(self.name, 0) + numbers.size
            return numbers

    plain = hf_files.TensorFiles.__call__
    monkeypatch.setattr(
        hf_files.TensorFiles, "__call__", lambda s, w: CountedSlice(plain(s, w), w.name)
    )
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    pretrained.load(tmp_path, mesh=mesh)
    assert read["model.layers.1.mlp.up_proj.weight"] == 264 * 8192
    assert read["model.layers.1.self_attn.q_proj.weight"] == 264 * 48
    # three key heads do not divide among two devices: both read all of their columns
    assert read["model.layers.1.self_attn.k_proj.weight"] == 264 * 24
    assert read["model.norm.weight"] == 264


def test_the_next_save_removes_files_of_a_killed_one(tiny, params, tmp_path):
    """A folder beside the model; the model that was there until then stays whole."""
    pretrained.save(tmp_path, tiny, params)
    before = sorted(tmp_path.iterdir())
    half = tmp_path / ".new-killed"
    half.mkdir()
    (half / "model.safetensors").write_bytes(b"half")
    chex.assert_trees_all_equal(pretrained.load(tmp_path)[1], params)
    pretrained.save(tmp_path, tiny, params)
    assert sorted(tmp_path.iterdir()) == before


def test_a_save_removes_shards_of_an_earlier_one(tiny, params, tmp_path):
    names = lambda: sorted(path.name for path in tmp_path.glob("model*"))
    (tmp_path / "model.py").write_text("")
    pretrained.save(tmp_path, tiny, params, max_shard_bytes=10_000)
    many = names()
    assert len(many) > 3 and "model.safetensors" not in many
    sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
    assert max(sizes) < 12_000  # and a header of at most 2 KB
    pretrained.save(tmp_path, tiny, params, max_shard_bytes=30_000)
    fewer = names()
    assert 3 < len(fewer) < len(many) and not set(fewer) & set(many[:1])
    chex.assert_trees_all_equal(pretrained.load(tmp_path)[1], params)
    pretrained.save(tmp_path, tiny, params)
    assert names() == ["model.py", "model.safetensors"]
    pretrained.save(tmp_path, tiny, params, max_shard_bytes=30_000)
    assert names() == fewer
    chex.assert_trees_all_equal(pretrained.load(tmp_path)[1], params)


def test_a_failed_save_keeps_the_old_model(tiny, params, tmp_path, monkeypatch):
    pretrained.save(tmp_path, tiny, params, max_shard_bytes=10_000)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    plain, written = hf_files.save_file, []

    def fail_on_second_file(tensors, path, **options):
        if written:
            raise OSError("no space left on device")
        written.append(path)
        plain(tensors, path, **options)

    monkeypatch.setattr(hf_files, "save_file", fail_on_second_file)
    other = jax.tree.map(jnp.ones_like, params)
    with pytest.raises(OSError, match="cannot write the model to .*: no space left"):
        pretrained.save(tmp_path, tiny, other, max_shard_bytes=10_000)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_sharded_parameters_give_the_same_file(tiny, params, tmp_path):
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    pretrained.save(tmp_path / "a", tiny, params)
    spread = sharding.place(params, tiny.specs(), mesh)
    pretrained.save(tmp_path / "b", tiny, spread)
    ours, theirs = ((tmp_path / x / "model.safetensors").read_bytes() for x in "ab")
    assert ours == theirs
    np.testing.assert_array_equal(spread["embed"], params["embed"])
