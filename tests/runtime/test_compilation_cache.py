"""A second start compiles nothing, and gives the same bits as without a cache."""

import json
import os
import subprocess
import sys
import time

import jax
import pytest

from jaxalign.runtime import compilation_cache
from tests.support import small_runs

COUNTED = """
import collections, dataclasses, json, pathlib, sys
import jax
from tests.support import small_runs
events = collections.Counter()
jax.monitoring.register_event_listener(lambda name, **_: events.update([name]))
base, out = map(pathlib.Path, sys.argv[1:3])
module, config = small_runs.experiment_config(base, out, "sft", [])
module.main(dataclasses.replace(config, compilation_cache=sys.argv[3]))
out.with_suffix(".json").write_text(json.dumps(events))
"""


def start(base, out, cache):
    """One start of a small run: how many programs were compiled, and how many read."""
    command = [sys.executable, "-c", COUNTED, str(base), str(out), str(cache)]
    subprocess.run(command, cwd=small_runs.ROOT, check=True)
    events = json.loads(out.with_suffix(".json").read_text())
    prefix = "/jax/compilation_cache/cache_"
    return events.get(f"{prefix}misses", 0), events.get(f"{prefix}hits", 0)


def weights(out):
    return [(out / "policy" / "model.safetensors").read_bytes()] + [
        (out / name).read_bytes() for name in ("numbers.json", "metrics.jsonl")
    ]


@pytest.mark.slow
def test_a_second_start_compiles_nothing_and_bits_are_the_same(tmp_path):
    base, cache = small_runs.prepare(tmp_path / "base"), tmp_path / "cache"
    compiled, read = start(base, tmp_path / "first", cache)
    assert compiled > 10 and not read
    assert start(base, tmp_path / "second", cache) == (0, compiled)
    assert start(base, tmp_path / "without", "off") == (0, 0)
    one, two, three = (weights(tmp_path / n) for n in ("first", "second", "without"))
    assert one[:2] == two[:2] == three[:2]


def test_the_default_is_a_folder_of_the_user_for_this_kind_of_cpu(
    monkeypatch, tmp_path
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = compilation_cache.default_folder()
    assert folder.parent == tmp_path / "jaxalign" / "compiled"
    assert folder.name == compilation_cache.cpu_kind()


@pytest.fixture
def restored():
    before = jax.config.jax_compilation_cache_dir
    yield
    compilation_cache.enable(before or "off")


def test_where_the_cache_is(restored, monkeypatch, tmp_path):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "of jax"))
    assert compilation_cache.enable(None) == tmp_path / "of jax"
    assert compilation_cache.enable(str(tmp_path / "mine")) == tmp_path / "mine"
    assert jax.config.jax_compilation_cache_dir == str(tmp_path / "mine")
    assert compilation_cache.enable("off") is None
    assert not jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    assert compilation_cache.enable(None) is None  # not writable: goes on without
    with pytest.raises(OSError):
        compilation_cache.enable(str(file / "below"))


def test_empty_entries_of_killed_processes_go(restored, tmp_path):
    old, new, whole = (tmp_path / f"{n}-cache" for n in ("old", "new", "whole"))
    old.touch()
    new.touch()
    whole.write_bytes(b"program")
    os.utime(old, (time.time() - 120,) * 2)
    compilation_cache.enable(str(tmp_path))
    assert not old.exists() and new.exists() and whole.exists()


def test_a_user_without_a_home_has_no_cache(restored, monkeypatch):
    """As in a container that runs as a user whom it does not know."""

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("JAX_COMPILATION_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(compilation_cache.Path, "home", homeless)
    assert compilation_cache.enable(None) is None
