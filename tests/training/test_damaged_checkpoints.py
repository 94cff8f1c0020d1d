"""Damaged, edited and half-written checkpoints: named, or read to the bit."""

import dataclasses
import gc
import json
import shutil

import chex
import jax.numpy as jnp
import pytest

from jaxalign.training import checkpoint, state
from tests.support import quick
from tests.training.small_runs import ADAMW, KEY, plain

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
@pytest.mark.parametrize("how", quick.only(["cut", "gone"], DAMAGES))
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
            assert said.endswith("delete that folder to continue from step 0"), at
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
    with pytest.raises(ValueError, match="delete that folder to start again$"):
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
