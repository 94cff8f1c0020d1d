"""Seconds per step of one workload at the peers' size, as one JSON line.

    python -m experiments.speed.workload_time --workload dpo

`experiments.speed.peers` runs this in a process of its own, in turn with a peer's
script, which prints the same fields.
"""

import dataclasses
import json
import statistics

from jaxalign.messages import unknown_name
from jaxalign.planning.workloads import PEERS_MODEL, WORKLOADS, Size, seconds
from jaxalign.runtime import allocator, cli, flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """The workload to time."""

    workload: str = "sft"
    """Of sft, reward, reward_shared, dpo, dpo_cached, dpo_shared, generate, grpo."""


def main(config: Config) -> dict[str, float | str]:
    """Times the workload, prints the numbers and returns them."""
    if config.workload not in WORKLOADS:
        raise unknown_name("workload", config.workload, WORKLOADS)
    allocator.reuse_freed_memory()
    workload = WORKLOADS[config.workload](PEERS_MODEL, Size())
    steps = 6 if config.workload in ("generate", "grpo") else 10
    times = seconds(workload.run, steps=steps)
    numbers: dict[str, float | str] = {
        "work": config.workload,
        "seconds_per_step": statistics.median(times),
        "fastest": min(times),
        "flops": workload.flops,
    }
    print(json.dumps(numbers))
    return numbers


if __name__ == "__main__":
    cli.run_command(main, Config)
