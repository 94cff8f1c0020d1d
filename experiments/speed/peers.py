"""Seconds per step of jaxalign and of a peer on the same workload, in turn: A B A B.

Each side runs in a process of its own. The table gives the median over rounds, the
ratio, and the fraction of this machine's float32 matmul rate that our step reaches.

    python -m experiments.speed.peers --scripts PEERS --python PEERS_VENV/bin/...

`--scripts` is a folder with trl_dpo.py, trl_sft.py, trl_reward.py, trl_grpo.py and
hf_generate.py, each printing a JSON line with `seconds_per_step`; `--python` an
interpreter that has what they need (torch, trl). `dpo` runs the reference's forward
pass in each step, as TRL does; `dpo_cached` computes it once beforehand; `dpo_shared`,
as our experiments do, also shares one copy of the prompt between both answers. The
same holds of `reward` and `reward_shared`.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import rich
from rich.table import Table

from jaxalign.planning.workloads import seconds
from jaxalign.runtime import cli, config_file, flags

SCRIPTS = {
    "dpo": "trl_dpo.py",
    "dpo_cached": "trl_dpo.py",
    "dpo_shared": "trl_dpo.py",
    "sft": "trl_sft.py",
    "reward": "trl_reward.py",
    "reward_shared": "trl_reward.py",
    "generate": "hf_generate.py",
    "grpo": "trl_grpo.py",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """The peers, and the workloads to compare."""

    scripts: Path = Path("peers")
    """The folder of the peers' scripts."""
    python: Path = Path("peers/venv/bin/python")
    """An interpreter with the packages of the peers."""
    workloads: tuple[str, ...] = tuple(SCRIPTS)
    """Workloads to time."""
    rounds: int = 2
    """Runs of each side, in turn."""
    out: Path | None = None
    """A file for the rows, as JSON; FILE.config.yaml beside it has the flags."""


def last_line(command: list[str], folder: Path) -> dict[str, float]:
    """Runs a program and parses its last JSON line.

    Raises:
      ValueError: the program failed; with the end of its error output.
    """
    process = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    lines = [line for line in process.stdout.splitlines() if line.startswith("{")]
    if process.returncode or not lines:
        raise ValueError(f"{' '.join(command)} failed: {process.stderr.strip()[-500:]}")
    numbers: dict[str, float] = json.loads(lines[-1])
    return numbers


def matmul_rate(size: int = 2048) -> float:
    """Operations per second of this machine's fastest float32 matrix product."""
    x = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    return 2 * size**3 / min(seconds(lambda: product(x), steps=8))


def compare(config: Config) -> list[dict[str, float | str]]:
    """One row per workload: seconds of both sides, and their ratio.

    Raises:
      ValueError: a peer's script or interpreter is missing, or a program failed.
    """
    for path in (config.scripts, config.python):
        if not path.exists():
            raise ValueError(f"{path} does not exist: give --scripts and --python")
    rate = matmul_rate()
    rows: list[dict[str, float | str]] = []
    folder = Path.cwd()
    for workload in config.workloads:
        ours, theirs = [], []
        for _ in range(config.rounds):
            module = "experiments.speed.workload_time"
            own = [sys.executable, "-m", module, "--workload", workload]
            ours.append(last_line(own, folder))
            peer = [str(config.python.absolute()), SCRIPTS[workload]]
            theirs.append(last_line(peer, config.scripts))
        mine = statistics.median(run["seconds_per_step"] for run in ours)
        other = statistics.median(run["seconds_per_step"] for run in theirs)
        rows.append(
            {
                "work": workload,
                "peer": str(theirs[0]["peer"]),
                "ours_s": mine,
                "theirs_s": other,
                "ratio": other / mine,
                "matmul_share": ours[0]["flops"] / mine / rate,
            }
        )
        rich.print(rows[-1])
    return rows


def main(config: Config) -> list[dict[str, float | str]]:
    """Prints the table, and writes it to `--out`."""
    rows = compare(config)
    table = Table("work", "peer", "ours (s)", "theirs (s)", "ratio", "of matmul rate")
    for row in rows:
        table.add_row(
            str(row["work"]),
            str(row["peer"]),
            f"{row['ours_s']:.3f}",
            f"{row['theirs_s']:.3f}",
            f"{row['ratio']:.2f}x",
            f"{row['matmul_share']:.0%}",
        )
    rich.print(table)
    if config.out is not None:
        config.out.write_text(json.dumps(rows, indent=2))
        config_file.write_sidecar(config.out, config)
    return rows


if __name__ == "__main__":
    cli.run_command(main, Config)
