"""Two runs with one --out: the second is refused, and no killed run blocks a later one.

Locks belong to processes, so that the other run is a child process.
"""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

from experiments import rlhf
from jaxalign.runtime import folder_cleanup, folder_lock
from jaxalign.runtime.config import RunConfig
from jaxalign.runtime.run import Run
from jaxalign.runtime.stages import begin_pipeline
from tests.support import small_runs

HOLD = """
import sys
from pathlib import Path
from jaxalign.runtime import folder_lock

folder_lock.acquire(Path(sys.argv[1]))
print("locked", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def other_run(folder):
    """A process that holds the lock of a folder until the context's end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        cwd=small_runs.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.fixture(autouse=True)
def none_held(monkeypatch):
    monkeypatch.setattr(folder_lock, "locks", {})
    monkeypatch.setattr(folder_cleanup, "created_folders", [])
    yield
    for folder in list(folder_lock.locks):
        folder_lock.release(folder)


def test_the_second_run_is_refused_and_touches_nothing(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with other_run(tmp_path) as process:
        message = f"{tmp_path} is in use by another run, process {process.pid} on "
        for resume in (False, True):
            with pytest.raises(ValueError, match=message):
                with Run(RunConfig(out=tmp_path, resume=resume, mesh="data=1"), "sft"):
                    raise AssertionError
            with pytest.raises(ValueError, match=message):
                begin_pipeline(rlhf.Config(out=tmp_path, resume=resume), tmp_path)
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {"config.json", folder_lock.NAME}
        assert (tmp_path / "config.json").read_text() == "{}"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_lock(tmp_path, number):
    with other_run(tmp_path) as process:
        os.kill(process.pid, number)
        process.wait()
        begin_pipeline(rlhf.Config(out=tmp_path), tmp_path)
        begin_pipeline(rlhf.Config(out=tmp_path), tmp_path)  # its own lock is no bar
        with pytest.raises(subprocess.CalledProcessError):
            hold = [sys.executable, "-c", HOLD, str(tmp_path)]
            subprocess.run(hold, cwd=small_runs.ROOT, check=True, capture_output=True)


def test_a_run_unlocks_its_folder_at_its_end(tmp_path):
    with Run(RunConfig(out=tmp_path / "run", mesh="data=1"), "sft"):
        assert list(folder_lock.locks) == [tmp_path / "run"]
    assert not folder_lock.locks
    with other_run(tmp_path / "run"):
        pass


def test_a_lock_of_a_deleted_file_is_none(tmp_path):
    """A refused run deletes its folder: who waited for the old file locks the new."""
    folder_lock.acquire(tmp_path)
    (tmp_path / folder_lock.NAME).unlink()
    with other_run(tmp_path):
        path = tmp_path / folder_lock.NAME
        assert not folder_lock.is_current(folder_lock.locks[tmp_path], path)
