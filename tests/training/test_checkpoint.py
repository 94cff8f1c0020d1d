"""Checkpoints: resumed equals uninterrupted to the bit, and nothing good is lost."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.training import checkpoint, objectives, state, step
from tests.training.small_runs import ADAMW, KEY, new, plain, run


def test_resumed_equals_uninterrupted_to_the_bit(bigram, rows, tmp_path):
    update = step.make_step(objectives.sft(bigram), ADAMW, micro_batches=2)
    whole, log = [], []
    straight = run(new(bigram), update, rows, 6, whole)
    manager = checkpoint.open_manager(tmp_path)
    now = run(new(bigram), update, rows, 3, log)
    checkpoint.save(manager, now, {"policy": now.params}, data={"at": 3})
    now = run(now, update, rows, 1, [])  # donates what is still being written
    checkpoint.finish(manager)
    manager = checkpoint.open_manager(tmp_path)
    template = new(bigram, seed=5)
    found = checkpoint.restore(manager, template, {"policy": template.params})
    checkpoint.finish(manager)
    assert found.data == {"at": 3} and int(found.state.step) == 3
    resumed = run(found.state, update, rows, 3, log)
    chex.assert_trees_all_equal(plain(resumed), plain(straight))
    assert log == whole


def test_roles_go_by_name_and_another_mesh_may_read_them(bigram, scalar, tmp_path):
    params = {"policy": bigram.init(KEY), "value": scalar.init(KEY)}
    specs = {
        "policy": {
            "embed": sharding.spec("vocab", "width"),
            "unembed": sharding.spec("width", "vocab"),
        },
        "value": {"head": sharding.spec("vocab")},
    }
    one = sharding.place(params, specs, sharding.make_mesh({"fsdp": 2, "data": 4}))
    saved = state.create(one, ADAMW, KEY)
    manager = checkpoint.open_manager(tmp_path, background=False)
    checkpoint.save(manager, saved, saved.params, config={"beta": 0.1})
    other = sharding.place(params, specs, sharding.make_mesh({"fsdp": 3}))
    template = state.create(jax.tree.map(jnp.zeros_like, other), ADAMW, KEY)
    found = checkpoint.restore(manager, template, template.params)
    checkpoint.finish(manager)
    chex.assert_trees_all_equal(plain(found.state), plain(saved))
    assert set(found.roles) == {"policy", "value"}
    embed = found.state.params["policy"]["embed"]
    assert embed.sharding == template.params["policy"]["embed"].sharding
    moment = found.state.opt_state[1][0].mu["policy"]["embed"]
    assert moment.sharding == embed.sharding


def test_moments_are_cut_like_their_parameters(bigram):
    mesh = sharding.make_mesh({"fsdp": 2, "data": 4})
    specs = {"embed": sharding.spec(None, "width"), "unembed": sharding.spec("width")}
    placed = sharding.place(bigram.init(KEY), specs, mesh)
    made = state.create(placed, ADAMW, KEY)
    assert made.opt_state[1][0].nu["embed"].sharding == placed["embed"].sharding
    assert made.step.sharding.mesh == mesh and made.key.sharding.mesh == mesh


def test_what_does_not_fit_is_refused_by_name(bigram, tmp_path):
    now = new(bigram)
    manager = checkpoint.open_manager(tmp_path, background=False)
    with pytest.raises(FileNotFoundError, match="no checkpoint to resume from"):
        checkpoint.restore(manager, now, {"policy": now.params})
    with pytest.raises(ValueError, match="roles .'a', 'b'. must be state.params"):
        checkpoint.save(manager, now, {"a": now.params, "b": now.params})
    config = {"beta": 0.1, "lr": 1e-3, "mesh": (2, 4)}
    assert checkpoint.save(manager, now, {"policy": now.params}, config=config)
    assert not checkpoint.save(manager, now, {"policy": now.params}, config=config)
    read = lambda state=now, **knobs: checkpoint.restore(
        manager, state, {"policy": state.params}, **knobs
    )
    read(config=config)
    with pytest.raises(ValueError, match=r"\(beta: 0.1 then, 0.2 now, seed: '.absent"):
        read(config={**config, "beta": 0.2, "seed": 1})
    wide = dataclasses.replace(now, params={**now.params, "embed": jnp.ones((3, 3))})
    with pytest.raises(
        ValueError,
        match=r"'embed'.* is float32 \(11, 6\) in the checkpoint and float32 \(3, 3\)",
    ):
        read(wide)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), now.params)
    with pytest.raises(ValueError, match="is float32 .* and bfloat16 .* in this run"):
        read(dataclasses.replace(now, params=half))
    checkpoint.finish(manager)


def test_unfinished_checkpoints_are_put_aside(bigram, tmp_path):
    now = new(bigram)
    manager = checkpoint.open_manager(tmp_path, background=False)
    checkpoint.save(manager, now, {"policy": now.params})
    checkpoint.finish(manager)
    half = tmp_path / "5" / "policy"
    half.mkdir(parents=True)
    (half / "manifest").write_text("half")
    (tmp_path / "6.orbax-checkpoint-tmp-1").mkdir()
    manager = checkpoint.open_manager(tmp_path)
    assert manager.latest_step() == 0
    assert (tmp_path / "5.incomplete" / "policy" / "manifest").exists()
    checkpoint.restore(manager, now, {"policy": now.params})
    later = dataclasses.replace(now, step=jnp.asarray(5))
    assert checkpoint.save(manager, later, {"policy": later.params})
    checkpoint.finish(manager)


def test_only_the_latest_are_kept(bigram, tmp_path):
    manager = checkpoint.open_manager(tmp_path, keep=2)
    for number in (1, 2, 3):
        now = dataclasses.replace(new(bigram), step=jnp.asarray(number))
        checkpoint.save(manager, now, {"policy": now.params})
    checkpoint.finish(manager, close=False)
    assert sorted(manager.all_steps()) == [2, 3]
    checkpoint.finish(manager)


def test_a_frozen_role_is_written_once(bigram, tmp_path):
    params = bigram.init(KEY)
    assert checkpoint.save_frozen(tmp_path, "reference", params)
    (written,) = (tmp_path / "frozen" / "reference").glob("manifest*")
    before = written.stat().st_mtime_ns
    assert not checkpoint.save_frozen(tmp_path, "reference", params)
    assert written.stat().st_mtime_ns == before
    like = jax.tree.map(jnp.zeros_like, params)
    read = checkpoint.load_frozen(tmp_path, "reference", like)
    chex.assert_trees_all_equal(read, params)
    # A new run in the folder of an old one does not go on with the old one's.
    others = bigram.init(jax.random.key(1))
    assert checkpoint.save_frozen(tmp_path, "reference", others)
    read = checkpoint.load_frozen(tmp_path, "reference", like)
    chex.assert_trees_all_equal(read, others)
    with pytest.raises(FileNotFoundError, match="no frozen reward in"):
        checkpoint.load_frozen(tmp_path, "reward", like)


def test_a_folder_that_cannot_be_written_is_one_sentence(bigram, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match="cannot write checkpoints in .*file: "):
        checkpoint.open_manager(tmp_path / "file")


def test_a_full_disk_is_one_sentence_that_names_the_last_whole_checkpoint(
    bigram, tmp_path, monkeypatch
):
    now = new(bigram)
    manager = checkpoint.open_manager(tmp_path, background=False)
    checkpoint.save(manager, now, {"policy": now.params})

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device\nlong trace")

    monkeypatch.setattr(manager, "save", full)
    later = dataclasses.replace(now, step=jnp.asarray(1))
    message = (
        "not written .*No space left on device.; the last complete one is of step 0"
    )
    with pytest.raises(OSError, match=message) as caught:
        checkpoint.save(manager, later, {"policy": now.params})
    assert "\n" not in str(caught.value)
    found = checkpoint.restore(manager, now, {"policy": now.params})
    np.testing.assert_array_equal(found.state.params["embed"], now.params["embed"])
    checkpoint.finish(manager)


# Ways to damage a file or a folder; each is tried on everything in a checkpoint.
