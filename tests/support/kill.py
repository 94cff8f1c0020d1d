"""Kills runs at random moments, resumes them, and compares with one never killed.

    python -m tests.support.kill FOLDER sft 20 [SEED]

kills sft (or another of `small_runs.experiment_config`) with SIGKILL 20 times, each at
a random moment after the start of a random checkpoint, some during a save, and lets
it end: the checkpoint (every role, optimizer, key, position), the written models and
rows, the log and the numbers of every stage must equal those of an uninterrupted run,
to the bit. FOLDER keeps the model, the data and the compiled programs for the next
call.
"""

import collections
import itertools
import random
import re
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from tests.support import small_runs

SPAN = 0.3  # longest delay of a kill after the start of a save, in seconds: 3 steps


def saved_steps(folder: Path) -> list[int]:
    """The steps of the complete checkpoints, in rising order."""
    found = folder.glob("checkpoints/*/_CHECKPOINT_METADATA")
    return sorted(int(p.parent.name) for p in found if p.parent.name.isdigit())


def last_begun_step(folder: Path) -> int:
    """The step of the latest checkpoint, complete or not, summed over all stages."""
    last = collections.Counter()
    depths = ("", "*/", "*/*/")  # no deeper: what is within is renamed meanwhile
    found = (folder.glob(f"{depth}checkpoints/[0-9]*") for depth in depths)
    for path in itertools.chain.from_iterable(found):
        step = int(re.match(r"\d+", path.name)[0])
        last[path.parent] = max(last[path.parent], step)
    return last.total()


def run_until_killed(
    line: list[str], base: Path, folder: Path, draw: random.Random
) -> str:
    """Starts a run and kills it.

    Returns:
      A description of the moment; empty if the run ended before.
    """
    least = last_begun_step(folder) + draw.randint(0, 1)
    delay = draw.uniform(0, SPAN)
    run = subprocess.Popen(
        line,
        env=small_runs.environment(base),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    log = folder / "metrics.jsonl"
    lines = lambda: log.read_text().count("\n") if log.exists() else 0
    while run.poll() is None and (last_begun_step(folder) <= least):
        time.sleep(0.002)
    time.sleep(delay)
    run.send_signal(signal.SIGKILL)
    output = run.communicate()[0]
    assert run.returncode in (0, -signal.SIGKILL), output
    if run.returncode == 0:
        return ""
    unfinished = [p.name for p in folder.glob("**/checkpoints/*tmp*")]
    saved = saved_steps(folder)
    return f"at {lines()} logged steps, saved {saved}, unfinished {unfinished}"


def checkpoint_arrays(checkpoint: Path) -> dict[str, np.ndarray]:
    """Every array in a checkpoint, by name."""
    found = {}
    with warnings.catch_warnings(), ocp.StandardCheckpointer() as reader:
        warnings.simplefilter("ignore")  # that it is read as it was written
        items = [p for p in checkpoint.iterdir() if (p / "_METADATA").exists()]
        for item in sorted(items):
            for path, x in jax.tree_util.tree_leaves_with_path(reader.restore(item)):
                found[item.name + jax.tree_util.keystr(path)] = np.asarray(x)
    return found


def contents(folder: Path) -> dict[str, bytes]:
    """The files and checkpointed arrays of a run and its stages, by name.

    Records of when, where and how often a run was started are left out, and so is the
    folder's own path in data.json, plan.json and model cards.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.name == "checkpoints" and saved_steps(path.parent):
            last = path / str(saved_steps(path.parent)[-1])
            for name, x in checkpoint_arrays(last).items():
                found[f"{inside}/{name}"] = x.tobytes()
            name = "data/metadata"
            found[f"{inside}/{name}"] = (last / name).read_bytes()
        elif path.is_file() and "checkpoints" not in inside.parts:
            found[str(inside)] = path.read_bytes()
        # these name the run's own stages
        if path.name in ("data.json", "plan.json", "README.md"):
            here = str(folder).encode()
            found[str(inside)] = path.read_bytes().replace(here, b"OUT")
    of_the_start = ("events.out", "config.json", "config.yaml", ".lock")
    of_the_start += ("timing.jsonl",)
    models = ("policy", "reward", "adapter")  # whose config.json is part of them
    return {
        name: content
        for name, content in found.items()
        if not Path(name).name.startswith(of_the_start)
        or Path(name).parent.name in models
    }


def differing_files(one: Path, other: Path) -> list[str]:
    """The names of the files and arrays of two runs that are not equal to the bit."""
    ours, theirs = contents(one), contents(other)
    return sorted(n for n in {*ours, *theirs} if ours.get(n) != theirs.get(n))


def compare_with_uninterrupted(
    base: Path, name: str, kills: int, seed: int
) -> list[str]:
    """Compares an uninterrupted run with one that is killed several times.

    Returns:
      The moments of the kills.
    """
    flags = {"steps": 2 * kills + 3, "mesh": "data=1"}
    whole, parts = base / "whole", base / f"killed-{seed}"
    run = lambda line: subprocess.run(
        line, env=small_runs.environment(base), capture_output=True, text=True
    )
    if not (whole / name / "numbers.json").exists():
        done = run(small_runs.command_line(base, whole, name, **flags))
        assert done.returncode == 0, done.stderr
    draw, moments = random.Random(seed), []
    line = small_runs.command_line(base, parts, name, resume=True, **flags)
    while len(moments) < kills:
        moment = run_until_killed(line, base, parts / name, draw)
        assert moment, f"the run ended after {len(moments)} kills: give it more steps"
        moments.append(moment)
    left = [p.name for p in (parts / name).rglob("checkpoints/*tmp*")]
    saved = saved_steps(parts / name)
    done = run(line)
    assert done.returncode == 0, done.stderr
    assert all(part in done.stdout.replace("\n", "") for part in left), done.stdout
    first = next(iter(saved[-1:]), 0)
    print(f"resumed after {first}; half-written and named: {left}")
    found = differing_files(whole / name, parts / name)
    assert not found, f"not the same: {found}"
    return moments


if __name__ == "__main__":
    folder, experiment, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    if not (folder / "policy").exists():
        small_runs.prepare(folder)
    chance = int((sys.argv[4:] or ["0"])[0])
    print(*compare_with_uninterrupted(folder, experiment, count, chance), sep="\n")
