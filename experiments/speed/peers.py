"""Our step against a peer's, on the same work, in turn: A B A B.

Each side runs in a process of its own; the table gives the median over rounds, the
ratio, and which share of this machine's float32 matmul rate our step reaches.

    python -m experiments.speed.peers --scripts PEERS --python PEERS_VENV/bin/...

`--scripts` is a folder with trl_dpo.py, trl_sft.py, trl_reward.py, trl_grpo.py and
hf_generate.py, each printing a JSON line with `seconds_per_step`; `--python` an
interpreter that has what they need (torch, trl). `dpo` runs the reference's forward
pass in each step, as TRL does; in `dpo_kept` it is computed once; `dpo_shared` is what
our experiments do: that, and a pair's prompt is there once. So with `reward` and
`reward_shared`.
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

from experiments.speed.workloads import seconds
from jaxalign.runtime import cli, flags

SCRIPTS = {
    "dpo": "trl_dpo.py",
    "dpo_kept": "trl_dpo.py",
    "dpo_shared": "trl_dpo.py",
    "sft": "trl_sft.py",
    "reward": "trl_reward.py",
    "reward_shared": "trl_reward.py",
    "generate": "hf_generate.py",
    "grpo": "trl_grpo.py",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """A comparison with the peers."""

    scripts: Path
    """The folder of the peers' scripts."""
    python: Path
    """The interpreter that has the peers."""
    works: tuple[str, ...] = tuple(SCRIPTS)
    """Which works to time."""
    rounds: int = 2
    """How many times each side runs, in turn."""
    out: Path | None = None
    """A file for the rows, as JSON."""


def last_line(command: list[str], folder: Path) -> dict[str, float]:
    """Runs a program that ends with a JSON line, and reads that.

    Raises:
      ValueError: the program failed; with the end of what it said.
    """
    done = subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise ValueError(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
    found: dict[str, float] = json.loads(lines[-1])
    return found


def matmul_rate(size: int = 2048) -> float:
    """Operations per second of this machine's float32 matrix product, at its best."""
    x = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    return 2 * size**3 / min(seconds(lambda: product(x), steps=8))


def compare(config: Config) -> list[dict[str, float | str]]:
    """One row a work: seconds of ours and theirs, the ratio, and our share."""
    rate = matmul_rate()
    rows: list[dict[str, float | str]] = []
    here = Path.cwd()
    for work in config.works:
        ours, theirs = [], []
        for _ in range(config.rounds):
            module = "experiments.speed.workloads"
            ours.append(last_line([sys.executable, "-m", module, work], here))
            peer = [str(config.python.absolute()), SCRIPTS[work]]
            theirs.append(last_line(peer, config.scripts))
        mine = statistics.median(run["seconds_per_step"] for run in ours)
        other = statistics.median(run["seconds_per_step"] for run in theirs)
        rows.append(
            {
                "work": work,
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
    return rows


if __name__ == "__main__":
    cli.run_command(main, Config)
