"""Several real processes on this machine are one run, and end together.

With JAXALIGN_PROCESSES=4 in the environment, four processes besides two.
"""

import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import processes
from tests import kill, launched

COUNTS = [int(n) for n in {"2": 0, os.environ.get("JAXALIGN_PROCESSES", "2"): 0}]
MESHES = {1: "data=1", 2: "fsdp=2", 4: "data=2,fsdp=2"}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launched")
    launched.prepare(folder)
    return folder


def outputs(runs, seconds=170):
    """What each process said, and how it ended."""
    try:
        return [(run.communicate(timeout=seconds)[0], run.returncode) for run in runs]
    finally:
        for run in runs:
            run.kill()


def together(base: Path, out: Path, names: str, count: int, **told: object):
    line = launched.command(base, out, names, mesh=MESHES[count], **told)
    return launched.start(line, count, base)


@pytest.fixture(scope="module")
def alone(base):
    ((said, code),) = outputs(together(base, base / "1", "sft,dpo,ppo", 1, steps=3))
    assert code == 0, said
    return base / "1"


def same(one: Path, other: Path) -> None:
    """Both ran the same steps, with the same numbers to float32 rounding."""
    lines = [
        [json.loads(x) for x in (at / "metrics.jsonl").read_text().splitlines()]
        for at in (one, other)
    ]
    assert [x["step"] for x in lines[0]] == [x["step"] for x in lines[1]] == [0, 1, 2]
    for ours, theirs in zip(*lines, strict=True):
        for name in ("loss", "grad_norm", "weight", "reward", "kl", "length"):
            if name in ours:
                # sums in another order, through a few updates of Adam
                np.testing.assert_allclose(theirs[name], ours[name], 1e-3, 1e-4, name)
    ours, theirs = (
        load_file(at / "policy" / "model.safetensors") for at in (one, other)
    )
    for name, x in ours.items():
        np.testing.assert_allclose(theirs[name], x, 0, 1e-4, err_msg=name)


@pytest.mark.parametrize("count", COUNTS)
def test_processes_equal_one(base, alone, count):
    out = base / str(count)
    found = outputs(together(base, out, "sft,dpo,ppo", count, steps=3))
    assert [code for _, code in found] == [0] * count, found
    # the first alone speaks
    assert "loss" in found[0][0] and "loss" not in found[1][0]
    for name in ("sft", "dpo", "ppo"):
        same(alone / name, out / name)
        assert kill.steps(out / name) == kill.steps(alone / name)


def until_saved(folder: Path, runs, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not kill.steps(folder) and time.monotonic() < end:
        assert all(run.poll() is None for run in runs), outputs(runs)
        time.sleep(0.01)


def test_preempted_on_two_goes_on_alone(base, tmp_path):
    """One of them is told to end: both save after the same step, and exit with 0."""
    told = {"steps": 200, "save_every": 1}
    runs = together(base, tmp_path, "sft", 2, **told)
    until_saved(tmp_path / "sft", runs)
    runs[1].send_signal(signal.SIGTERM)
    found = outputs(runs)
    assert [code for _, code in found] == [0, 0], found
    assert "--resume goes on" in found[0][0]
    last = kill.steps(tmp_path / "sft")[-1]
    assert last < 200
    ((said, code),) = outputs(
        together(base, tmp_path, "sft", 1, resume=True, **told | {"steps": last + 2})
    )
    assert code == 0, said
    lines = (tmp_path / "sft" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(x)["step"] for x in lines] == list(range(last + 2))


def test_one_that_dies_ends_the_others(base, tmp_path):
    runs = together(base, tmp_path, "sft", 2, steps=2000)
    until_saved(tmp_path / "sft", runs)
    runs[1].kill()
    began = time.monotonic()
    (said, code), _ = outputs(runs)
    assert code != 0
    assert "lost the others" in said or "distributed service detected" in said, said
    assert time.monotonic() - began < 2 * processes.HEARTBEAT


def test_what_joins_processes_is_checked():
    for told in ("here", "10.0.0.1:1,2", "10.0.0.1:1,two,0"):
        with pytest.raises(ValueError, match="JAXALIGN_DISTRIBUTED is 1 or ADDRESS"):
            processes.join(told)
