"""Several real processes on this machine are one run, and end together."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from jaxalign.runtime import distributed
from jaxalign.training import metrics
from tests.support import kill, small_runs

OTHERS = "reward_model,grpo,online_dpo,ppo,collect,rlhf"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launched")
    small_runs.prepare(folder)
    return folder


def outputs(runs, seconds=500):
    """What each process said, and how it ended."""
    try:
        return [(run.communicate(timeout=seconds)[0], run.returncode) for run in runs]
    finally:
        for run in runs:
            run.kill()


def together(
    base: Path,
    out: Path,
    names: str,
    count: int,
    mesh: str,
    *,
    fail_at: str = "",
    **told: object,
):
    """Starts a run; the mesh has as many devices on each process."""
    line = small_runs.command_line(base, out, names, mesh=mesh, **told)
    devices = np.prod([int(axis.partition("=")[2]) for axis in mesh.split(",")])
    return small_runs.start_processes(
        line,
        count,
        base,
        JAX_NUM_CPU_DEVICES=str(devices // count),
        FAIL_AT=fail_at,
    )


def ran(base: Path, out: Path, names: str, count: int, mesh: str, **told: object):
    """Runs to the end; gives what each process said."""
    found = outputs(together(base, out, names, count, mesh, steps=3, **told))
    assert [code for _, code in found] == [0] * count, found
    return [said for said, _ in found]


@pytest.fixture(scope="module")
def alone(base):
    ran(base, base / "1", "sft,dpo,ppo", 1, "data=1")
    return base / "1"


def same(one: Path, other: Path) -> None:
    """Both ran the same steps, with the same numbers to float32 rounding."""
    lines = [metrics.read_log(at) for at in (one, other)]
    evaluations = [[x for x in log if not metrics.is_training(x)] for log in lines]
    assert [x["step"] for x in evaluations[0]] == [0, 3]
    for ours, theirs in zip(*evaluations, strict=True):
        for name, x in ours.items():
            np.testing.assert_allclose(theirs[name], x, 1e-3, 1e-4, err_msg=name)
    lines = [list(filter(metrics.is_training, log)) for log in lines]
    assert [x["step"] for x in lines[0]] == [x["step"] for x in lines[1]] == [0, 1, 2]
    for ours, theirs in zip(*lines, strict=True):
        for name in ("loss", "grad_norm", "weight", "reward", "kl", "length"):
            if name in ours:
                # sums in another order, through a few updates of Adam
                np.testing.assert_allclose(theirs[name], ours[name], 1e-3, 1e-4, name)
    for file in ("policy/model.safetensors", "reward/model.safetensors"):
        assert (one / file).exists() == (other / file).exists()
        ours, theirs = (
            load_file(at / file) if (at / file).exists() else {} for at in (one, other)
        )
        for name, x in ours.items():
            np.testing.assert_allclose(theirs[name], x, 0, 1e-4, err_msg=name)
    assert kill.saved_steps(one) == kill.saved_steps(other)


def without_last_step(one: Path, other: Path) -> None:
    """Copies a run of three steps as it was after two of them."""
    shutil.copytree(one, other)
    *_, last = kill.saved_steps(other)  # of ppo it counts the updates of the policy
    shutil.rmtree(other / "checkpoints" / str(last))
    shutil.rmtree(other / "policy")


@pytest.mark.slow
def test_processes_of_several_devices_equal_one(base, alone):
    """And one that goes on with what one device began, the same curve."""
    out = base / "2"
    without_last_step(alone / "dpo", out / "dpo")
    said = ran(base, out, "sft,dpo,ppo", 2, "data=2,fsdp=2", resume=True)
    # the first alone speaks
    assert "loss" in said[0] and "loss" not in said[1]
    for name in ("sft", "dpo", "ppo"):
        same(alone / name, out / name)


@pytest.mark.slow
@pytest.mark.parametrize("count, mesh", [(2, "fsdp=2"), (4, "fsdp=2,tensor=2")])
def test_one_device_each(base, alone, count, mesh):
    out = base / f"{count} of one"
    names = "sft,dpo,ppo:again,ppo" if count == 2 else "sft,dpo,ppo:again"
    without_last_step(alone / "ppo", out / "again")
    ran(base, out, names, count, mesh, resume=True, token_cache=base / f"kept {count}")
    for name in ("sft", "dpo", "ppo", "again"):
        if (out / name).exists():
            same(alone / name.replace("again", "ppo"), out / name)
    if count == 4:
        return
    # what two began, four devices of two, and one alone, go on with
    for fewer, other in ((2, "data=4"), (1, "data=1")):
        there = base / f"from 2 to {fewer}"
        without_last_step(out / "dpo", there / "dpo")
        without_last_step(out / "ppo", there / "ppo")
        ran(base, there, "dpo,ppo", fewer, other, resume=True)
        for name in ("dpo", "ppo"):
            same(alone / name, there / name)


@pytest.mark.slow
def test_other_experiments_equal_one(base):
    one, two = base / "others 1", base / "others 2"
    ran(base, one, OTHERS, 1, "data=1", normalize="reference")
    ran(base, two, OTHERS, 2, "data=2,fsdp=2", normalize="reference")
    for name in ("reward_model", "grpo", "online_dpo", "ppo"):
        same(one / name, two / name)
    for name in ("reward_model", "collect"):
        ours, theirs = (
            json.loads((at / name / "numbers.json").read_text()) for at in (one, two)
        )
        assert ours.keys() == theirs.keys()
        for key, x in ours.items():
            np.testing.assert_allclose(theirs[key], x, 1e-3, 1e-4, err_msg=key)
    # none of these draws lies so near to the edge of a token that rounding moves it
    for file in ("preferences/train.jsonl", "rankings/test.jsonl"):
        assert (one / "collect" / file).read_text() == (
            two / "collect" / file
        ).read_text()
    tables = [json.loads((at / "rlhf" / "table.json").read_text()) for at in (one, two)]
    for ours, theirs in zip(*tables, strict=True):
        assert ours["method"] == theirs["method"]
        for key in ("KL (nats)", "length", "RM score"):
            np.testing.assert_allclose(theirs[key], ours[key], 1e-2, 1e-3, err_msg=key)
    for file in ("samples.md", "reward_kl.png"):
        assert (two / "rlhf" / file).exists()


def until_saved(folder: Path, runs, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not kill.saved_steps(folder) and time.monotonic() < end:
        assert all(run.poll() is None for run in runs), outputs(runs)
        time.sleep(0.01)


@pytest.mark.slow
def test_preempted_on_two_goes_on_alone(base, tmp_path):
    """One of them is told to end: both save after the same step, and exit with 0."""
    told = {"steps": 200, "save_every": 1}
    runs = together(base, tmp_path, "sft", 2, "fsdp=2", **told)
    until_saved(tmp_path / "sft", runs)
    runs[1].send_signal(signal.SIGTERM)
    found = outputs(runs)
    assert [code for _, code in found] == [0, 0], found
    assert "continue with --resume" in found[0][0]
    last = kill.saved_steps(tmp_path / "sft")[-1]
    assert last < 200
    told |= {"steps": last + 2, "resume": True, "extend": True}
    ((said, code),) = outputs(together(base, tmp_path, "sft", 1, "data=1", **told))
    assert code == 0, said
    steps = [line["step"] for line in metrics.read_steps(tmp_path / "sft")]
    assert steps == list(range(last + 2))


def lost(runs, victim: int, reason: str) -> None:
    """The other process names the victim, and ends within 10 s, without a C++ stack."""
    began = time.monotonic()
    found = outputs(runs)
    assert time.monotonic() - began < 10
    said, code = found[1 - victim]
    assert code == 1, found
    sentence = f"error: process {victim} of 2 was lost ({reason}"
    assert said.splitlines()[-1].startswith(sentence), said
    assert said.endswith("; start all of them again with --resume\n")
    assert "Traceback" not in said and "stack trace" not in said, said
    assert found[victim][1] != 0


def child_of(process) -> int:
    """The process id of the run, whose parent is its supervisor."""
    path = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return int(path.read_text().split()[0])


def wait_for(condition, runs, seconds: float = 150) -> None:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        assert all(run.poll() is None for run in runs), outputs(runs)
        time.sleep(0.002)
    assert condition()


BEGUN = {
    "start": lambda folder: folder.exists(),
    "step": lambda folder: bool(kill.saved_steps(folder)),
    "save": lambda folder: (
        len(kill.saved_steps(folder)) > 1
        and any(folder.glob("checkpoints/*.orbax-checkpoint-tmp"))
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("moment", BEGUN)
def test_a_killed_process_ends_the_other(base, tmp_path, victim, moment):
    save_every = 1 if moment == "save" else 1000
    told = {"steps": 2000, "save_every": save_every if moment != "step" else 2}
    runs = together(base, tmp_path, "sft", 2, "fsdp=2", **told)
    folder = tmp_path / "sft"
    wait_for(lambda: BEGUN[moment](folder), runs)
    os.kill(child_of(runs[victim]), signal.SIGKILL)
    lost(runs, victim, "killed by SIGKILL")


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_supervisor_ends_its_run_and_the_other(tmp_path, victim):
    runs = together(tmp_path, tmp_path, "meetings", 2, "data=2")
    wait_for((tmp_path / "meetings").exists, runs)
    child = child_of(runs[victim])
    runs[victim].kill()
    lost(runs, victim, "killed, or its host cannot be reached")
    with pytest.raises(ProcessLookupError):
        while True:
            os.kill(child, 0)
            time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("step", ["", ",2"])
def test_an_error_on_one_is_the_reason_on_the_other(base, tmp_path, victim, step):
    """At the start, or in a step."""
    place = f"{victim}{step}"
    runs = together(base, tmp_path, "sft", 2, "fsdp=2", fail_at=place, steps=9)
    end = time.monotonic() + 150
    while all(run.poll() is None for run in runs) and time.monotonic() < end:
        time.sleep(0.01)
    lost(runs, victim, "error: this process alone fails")


@pytest.mark.parametrize("devices", [1, 2, 64])
def test_a_thread_is_left_for_each_device_beside_those_that_wait(devices):
    assert distributed.thread_count(devices) > 2 * devices


def test_what_joins_processes_is_checked():
    for told in ("here", "10.0.0.1:1,2", "10.0.0.1:1,two,0"):
        with pytest.raises(ValueError, match="JAXALIGN_DISTRIBUTED is 1 or ADDRESS"):
            distributed.join(told)
