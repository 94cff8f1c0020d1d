"""Sweeps that are interrupted or killed: what is done stays, and no run is lost."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from experiments import sweep
from jaxalign.runtime import child_process, errors, sweep_runs
from tests.support import small_runs

# a run of beta 0.1 ends at once; others save themselves at a signal, and end once saved
STUB = """
import json, os, pathlib, signal, sys, time
a = sys.argv
out = pathlib.Path(a[a.index("--out") + 1])
out.mkdir(parents=True, exist_ok=True)
def save(number, frame):
    (out / "saved").touch()
    sys.exit(130 if number == signal.SIGINT else 0)
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, save)
(out / "pid").write_text(str(os.getpid()))
if float(a[a.index("--beta") + 1]) != 0.1 and not (out / "saved").exists():
    time.sleep(60)
(out / "numbers.json").write_text(json.dumps({"eval/accuracy": 0.5}))
"""
OWNER = """
import fcntl, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
file = (folder / ".lock").open("w")
fcntl.lockf(file, fcntl.LOCK_EX)
file.write("process 7 on host")
file.flush()
print("locked", flush=True)
while not (folder / "end").exists():
    time.sleep(0.005)
(folder / "numbers.json").write_text("{}")
"""


@pytest.fixture
def started(monkeypatch):
    """Every program is the stub; gives the folders of the runs that were started."""
    folders = []
    popen = child_process.subprocess.Popen

    def start(command, **others):
        if "-m" not in command:
            return popen(command, **others)
        folders.append(command[-2].rpartition("/")[2])
        return popen([sys.executable, "-c", STUB, *command[3:]], **others)

    monkeypatch.setattr(child_process.subprocess, "Popen", start)
    done = lambda run: (run.folder / "numbers.json").exists()
    monkeypatch.setattr(sweep_runs, "is_done", done)
    return folders


def interrupt(path, number):
    """Sends this process a signal once a file has something in it."""

    def send():
        while not path.exists() or not path.read_text():
            time.sleep(0.005)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_run_and_the_same_command_continues(
    tmp_path, started, capsys, number
):
    out = tmp_path / "sweep"
    config = sweep.Config(program="dpo", set=("beta=0.1,0.2,0.3",), out=out)
    interrupt(out / "beta=0.2,seed=0" / "pid", number)
    with pytest.raises(BaseException) as ended:
        sweep.main(config)
    advice = "1 of 3 runs done; the same command with --out "
    advice += f"{out} continues beta=0.2,seed=0 from its last checkpoint"
    if number == signal.SIGINT:
        assert ended.type is KeyboardInterrupt  # status 130, see cli.run_command
        assert errors.error_message(ended.value) == f"interrupted, {advice}"
    else:
        assert ended.type is SystemExit and ended.value.code == 0
        assert f"preempted: {advice}" in capsys.readouterr().out.replace("\n", "")
    assert started == ["beta=0.1,seed=0", "beta=0.2,seed=0"]
    assert (out / "beta=0.2,seed=0" / "saved").exists()
    with pytest.raises(ProcessLookupError):  # no child is left
        os.kill(int((out / "beta=0.2,seed=0" / "pid").read_text()), 0)
    (out / "beta=0.3,seed=0").mkdir()
    (out / "beta=0.3,seed=0" / "saved").touch()
    numbers = sweep.main(config)
    assert started[2:] == ["beta=0.2,seed=0", "beta=0.3,seed=0"]
    assert numbers["done"] == 3 and not numbers["failed"]


def test_a_run_that_a_killed_sweep_has_left_is_waited_for(
    tmp_path, started, capsys, monkeypatch
):
    monkeypatch.setattr(sweep_runs, "POLL", 0.01)
    out = tmp_path / "sweep"
    folder = out / "beta=0.1,seed=0"
    folder.mkdir(parents=True)
    command = [sys.executable, "-c", OWNER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as owner:
        owner.stdout.readline()
        threading.Timer(0.3, (folder / "end").touch).start()
        sweep.main(sweep.Config(program="dpo", set=("beta=0.1",), out=out))
    shown = capsys.readouterr().out.replace("\n", "")
    assert "beta=0.1,seed=0 is being run by process 7 on host: waiting" in shown
    assert not started  # it has ended, and is not run again


@pytest.mark.slow
def test_a_killed_sweep_runs_what_is_not_done(tmp_path):
    base = small_runs.prepare(tmp_path / "base")
    out = tmp_path / "sweep"
    line = [
        *(sys.executable, "-m", "experiments.sweep", "dpo", "--set", "beta=0.1,0.3"),
        *("--model", base / "policy", "--data", base / "pairs.jsonl", "--steps", "60"),
        *("--batch", "8", "--eval-every", "0", "--out", out),
    ]
    line = list(map(str, line))
    options = {"env": small_runs.environment(base), "cwd": small_runs.ROOT}
    killed = subprocess.Popen(line, stdout=subprocess.DEVNULL, **options)
    first, second = (out / f"beta={beta},seed=0" for beta in ("0.1", "0.3"))
    while killed.poll() is None and not (second / "metrics.jsonl").exists():
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    written = (first / "numbers.json").stat().st_mtime_ns
    again = subprocess.run(line, capture_output=True, text=True, **options)
    assert again.returncode == 0, again.stderr
    assert "2 runs, 1 of them done before" in again.stdout
    assert (first / "numbers.json").stat().st_mtime_ns == written
    assert (second / "numbers.json").exists()
    assert (out / "report.md").exists()
