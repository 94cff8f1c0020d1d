"""A run survives: killed, told to end, a full disk, a NaN, a step that hangs."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import dpo, sft
from jaxalign import losses
from jaxalign.runtime import stalls
from jaxalign.training import metrics
from tests.support import kill, small_runs


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("survive")
    small_runs.prepare(folder)
    return folder


def config(base, out, name="dpo", **told):
    pairs = [f"{key}={value}" for key, value in ({"mesh": "data=1"} | told).items()]
    return small_runs.experiment_config(base, out, name, pairs)[1]


KILLED = ["sft", "sft_lora", "reward_model", "dpo", "dpo_cached", "ppo", "grpo"]
KILLED += ["online_dpo", "rejection_sampling", "rounds", "rlhf"]


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_killed_twice_is_the_same_to_the_bit(base, name):
    """With SIGKILL; `python -m tests.support.kill` does it more often."""
    moments = kill.compare_with_uninterrupted(base, name, 2, seed=0)
    assert len(moments) == 2


@pytest.mark.slow
def test_what_killed_runs_are_compared_by_sees_a_bit(base, tmp_path):
    for seed in (0, 1):
        sft.main(config(base, tmp_path / str(seed), "sft", steps=1, seed=seed))
    found = kill.differing_files(tmp_path / "0", tmp_path / "1")
    assert {"metrics.jsonl", "numbers.json", "policy/model.safetensors"} <= set(found)
    assert kill.differing_files(tmp_path / "0", tmp_path / "0") == []


def test_told_to_end_saves_and_exits_with_0(base, tmp_path):
    line = small_runs.command_line(base, tmp_path, "sft", steps=2000, save_every=1000)
    run = subprocess.Popen(
        line,
        env=small_runs.environment(base),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = tmp_path / "sft" / "metrics.jsonl"
    while run.poll() is None and not (
        log.exists() and '"grad_norm"' in log.read_text()
    ):
        time.sleep(0.01)
    run.send_signal(signal.SIGTERM)
    began = time.monotonic()
    said = run.communicate()[0]
    assert run.returncode == 0, said
    assert "continue with --resume" in said
    assert time.monotonic() - began < 20  # clouds give 30 s
    (last,) = kill.saved_steps(tmp_path / "sft")
    lines = map(json.loads, log.read_text().splitlines())
    steps = [line["step"] for line in lines if "grad_norm" in line]
    assert steps == list(range(last)) and last < 1000


# Where no file system can be mounted, a limit on the size of files stands for the disk.
FILLS = """
import resource, runpy, signal, sys
from jaxalign.runtime.run import Run
from jaxalign.training import metrics

checkpoint = Run.checkpoint

def full(self, loop, roles):
    if loop.step == 4:  # the checkpoint before is on the disk
        self.checkpointer.manager.wait_until_finished()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))
    checkpoint(self, loop, roles)

Run.checkpoint = full
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.slow
def test_a_failed_write_leaves_the_last_checkpoint(base, tmp_path):
    python, *line = small_runs.command_line(
        base, tmp_path, "dpo", steps=6, mesh="data=1"
    )
    run = subprocess.run(
        [python, "-c", FILLS, *line],
        env=small_runs.environment(base),
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, run.stderr
    said = " ".join(run.stderr.split())
    assert "was not written" in said and "the last complete one is of step 3" in said
    assert "Traceback" not in said
    assert kill.saved_steps(tmp_path / "dpo")[-1] == 3
    dpo.main(config(base, tmp_path / "dpo", steps=6, resume=True))
    assert kill.saved_steps(tmp_path / "dpo")[-1] == 6


@pytest.fixture
def small_disk(tmp_path):
    """A function that sets the size of a file system in memory; gives its folder."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root can mount a small file system")
    resize = lambda size: subprocess.run(
        ["mount", "-o", f"remount,size={size}", str(disk)], check=True
    )
    yield disk, resize
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


# 1 MB holds a few checkpoints; of 500 kB without checkpoints the exported model is more
@pytest.mark.slow
@pytest.mark.parametrize(
    "size, told", [("1m", {"save_every": 1, "keep": 99}), ("64k", {"save_every": 99})]
)
def test_a_full_disk_is_one_sentence_and_resumes(base, small_disk, size, told):
    disk, resize = small_disk
    resize(size)
    told = {"steps": 30, "mesh": "data=1"} | told
    run = lambda **more: subprocess.run(
        small_runs.command_line(base, disk, "sft", **told, **more),
        env=small_runs.environment(base),
        capture_output=True,
        text=True,
    )
    ended = run()
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1, ended.stderr
    assert f"error: the disk of {disk / 'sft'} is full; last good" in ended.stderr
    saved = kill.saved_steps(disk / "sft")
    good = f"step {saved[-1]};" if saved else "there is no checkpoint yet;"
    assert f"last good checkpoint: {good}" in ended.stderr
    assert bool(saved) == (size == "1m")
    resize("64m")
    ended = run(resume=True)
    assert ended.returncode == 0, ended.stderr
    assert kill.saved_steps(disk / "sft")[-1] == 30


def poison(after):
    """A loss that is NaN from some update on: where the policy has moved enough."""
    moved = lambda p: abs(p.policy.chosen - p.reference.chosen) > after
    return lambda p: jax.numpy.where(moved(p), np.nan, losses.dpo(*p.sums, beta=0.1))


def test_a_nan_names_the_step_the_rows_and_the_checkpoint(base, tmp_path):
    with pytest.raises(FloatingPointError) as caught:
        dpo.main(config(base, tmp_path, steps=4), loss=poison(1e-4))
    said = str(caught.value)
    assert "step 1 on rows [" in said
    assert said.endswith("last good checkpoint: step 1"), said
    rows = json.loads(said[said.index("[") : said.index("]") + 1])
    assert len(rows) >= 4 and set(rows) <= set(range(64))


def test_steps_that_are_not_finite_are_skipped_and_counted_if_told(base, tmp_path):
    found = dpo.main(
        config(base, tmp_path, steps=4, skip_nonfinite=3), loss=poison(1e-4)
    )
    assert found["train/skipped"] == 3 and np.isnan(found["train/loss"])
    lines = metrics.read_steps(tmp_path)
    assert [line.get("skipped", 0) for line in lines] == [0, 1, 2, 3]
    # nothing but the first step changed the parameters
    assert kill.saved_steps(tmp_path) == [1]


@pytest.mark.slow
def test_debug_nans_names_the_operation(base, tmp_path):
    line = small_runs.command_line(base, tmp_path, "dpo", steps=2, debug_nans=True)
    broken = [*line, "learning_rate=1e30"]
    done = subprocess.run(
        broken, env=small_runs.environment(base), capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "Traceback" in done.stderr and "encountered in" in done.stderr, done.stderr


@pytest.mark.slow
def test_the_best_checkpoint_stays_besides_the_last(base, tmp_path):
    told = {"steps": 6, "keep": 1, "keep_best": "answer_length"}
    sft.main(config(base, tmp_path, "sft", **told))
    lengths = [line["answer_length"] for line in metrics.read_steps(tmp_path)]
    best = int(np.argmax(lengths)) + 1
    assert kill.saved_steps(tmp_path) == sorted({best, 6})
    with pytest.raises(ValueError, match="--keep-best: no metric 'rewrd'"):
        sft.main(config(base, tmp_path / "no", "sft", **told | {"keep_best": "rewrd"}))


def test_a_step_that_hangs_is_reported():
    said = []
    with stalls.StallReporter(0.1, said.append) as watchdog:
        watchdog.begin("step 7")
        end = time.monotonic() + 10
        while len(said) < 2 and time.monotonic() < end:  # it says so again
            time.sleep(0.01)
    assert said[0].startswith("step 7 has taken 0 s") and len(said) >= 2
    assert Path(__file__).name in said[0]
    time.sleep(0.1)
    before = len(said)
    time.sleep(0.3)
    assert len(said) == before
    with stalls.StallReporter(0.0, said.append):
        time.sleep(0.05)
    assert len(said) == before
