"""Checkpoints: resumed equals uninterrupted to the bit, and nothing good is lost."""

import dataclasses
import gc
import json
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.training import checkpoint, objectives, optimizer, state, step

KEY = jax.random.key(7)
ADAMW = optimizer.adamw(1e-2, steps=8, warmup=2, schedule="cosine", weight_decay=0.1)


def new(model, seed=0):
    return state.create(model.init(jax.random.key(seed)), ADAMW, KEY)


def run(now, update, rows, steps, log):
    """Each step's rows come from the run's key and the step, as in an experiment."""
    for _ in range(steps):
        at = jax.random.fold_in(now.key, now.step)
        seed = int(jax.random.randint(at, (), 0, 1000))
        now, metrics = update(now, rows(8, seed))
        log.append({n: float(x) for n, x in metrics.items()})
    return now


def plain(tree):
    typed = lambda x: jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
    return jax.tree.map(lambda x: jax.random.key_data(x) if typed(x) else x, tree)


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
DAMAGES = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xff\x00" * 40),
    "a list": lambda path: path.write_text("[1, 2]"),
    "gone": lambda path: shutil.rmtree(path) if path.is_dir() else path.unlink(),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a file": lambda path: (shutil.rmtree(path), path.write_text("{}")),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two checkpoints, of steps 0 and 1, and the state that is in both."""
    folder = tmp_path_factory.mktemp("saved")
    params = {"embed": jnp.arange(66.0).reshape(11, 6), "unembed": jnp.ones((6, 11))}
    now = state.create(params, ADAMW, KEY)
    manager = checkpoint.open_manager(folder, background=False)
    for number in (0, 1):
        each = dataclasses.replace(now, step=jnp.asarray(number))
        data = {"done": number, "rows": [1.5]}
        checkpoint.save(manager, each, {"policy": params}, data=data, config={"lr": 1})
    checkpoint.finish(manager)
    return folder, now


def read(folder, now, config=None):
    manager = checkpoint.open_manager(folder, background=False)
    try:
        given = {"lr": 1} if config is None else config
        return checkpoint.restore(manager, now, {"policy": now.params}, config=given)
    finally:
        manager.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_checkpoint_is_named_or_read_to_the_bit(saved, tmp_path, how):
    """Nothing in between: no other error, and no other numbers."""
    whole, now = saved
    inside = [path.relative_to(whole / "1") for path in (whole / "1").rglob("*")]
    wanted = {"gone": (True, False), "a file": (True,)}.get(how, (False,))
    named = set()
    for number, at in enumerate(sorted(inside)):
        if (whole / "1" / at).is_dir() not in wanted:
            continue
        folder = tmp_path / str(number)
        shutil.copytree(whole, folder)
        DAMAGES[how](folder / "1" / at)
        try:
            found = read(folder, now)
        except ValueError as error:
            said = str(error)
            assert said.startswith(f"the checkpoint {folder / '1'} is damaged ("), at
            assert said.endswith("delete that folder to go on from step 0"), at
            assert "\n" not in said and len(said) < 600, at
            named.add(str(at))
            shutil.rmtree(folder / "1")
            found = read(folder, now)
            assert found.data == {"done": 0, "rows": [1.5]}
        else:
            put_aside = not (folder / "1").exists()  # without its metadata
            assert found.data["done"] == (0 if put_aside else 1), at
        step = jnp.asarray(found.data["done"])
        expected = dataclasses.replace(now, step=step)
        chex.assert_trees_all_equal(plain(found.state), plain(expected))
    gc.collect()  # what is said of reads that failed
    items = ("policy", "optimizer", "data", "config")
    files = {"data/metadata", "config/metadata", "policy/d", "optimizer/d"}
    files |= {f"{name}/manifest.ocdbt" for name in items[:2]}
    for name in files if how != "a file" else items:
        at = whole / "1" / name
        assert at.is_dir() not in wanted or name in named, name


@pytest.mark.parametrize("done", [10**9, -1, "1", None, [1]])
def test_an_edited_data_item_is_known(saved, tmp_path, done):
    whole, now = saved
    shutil.copytree(whole, tmp_path / "edited")
    path = tmp_path / "edited" / "1" / "data" / "metadata"
    item = json.loads(path.read_text())
    assert item["data"] == {"done": 1, "rows": [1.5]}
    item["data"]["done"] = done
    path.write_text(json.dumps(item))
    with pytest.raises(ValueError, match="edited/1 is damaged .*delete that folder"):
        read(tmp_path / "edited", now)


def test_the_only_checkpoint_damaged_means_to_start_anew(saved, tmp_path):
    whole, now = saved
    shutil.copytree(whole / "1", tmp_path / "1")
    (tmp_path / "1" / "data" / "metadata").write_text("{")
    with pytest.raises(ValueError, match="delete that folder to start anew$"):
        read(tmp_path, now)


def test_a_checkpoint_that_is_not_finite_is_refused(saved, tmp_path):
    _, now = saved
    params = {**now.params, "embed": now.params["embed"].at[3, 2].set(jnp.nan)}
    bad = dataclasses.replace(now, params=params)
    manager = checkpoint.open_manager(tmp_path, background=False)
    checkpoint.save(manager, bad, {"policy": params}, config={"lr": 1})
    checkpoint.finish(manager)
    message = r"damaged \(\['policy'\]\['embed'\] is not finite\)"
    with pytest.raises(ValueError, match=message):
        read(tmp_path, now)


def test_half_written_checkpoints_go_once_a_newer_one_is_whole(saved, tmp_path):
    """Put aside ones, and what orbax writes under other names; a newer one stays."""
    whole, now = saved
    for name in ("0.incomplete", "1.incomplete1", "9.incomplete"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "rest").write_text("half")
    half = "1.orbax-checkpoint-tmp-7"
    (tmp_path / half).mkdir()
    manager = checkpoint.open_manager(tmp_path, background=False)
    named = lambda: {path.name for path in tmp_path.iterdir()}
    put_aside = {"0.incomplete", "1.incomplete1", "9.incomplete"}
    assert named() - {half} == put_aside  # none is whole yet
    later = dataclasses.replace(now, step=jnp.asarray(1))
    checkpoint.save(manager, later, {"policy": later.params})
    checkpoint.finish(manager)
    assert named() == {"1", "9.incomplete"}
