"""Seconds per step at Llama shapes on the present accelerator, and its lower bounds.

    python -m experiments.speed.device --models 0.5b,1b,8b

For each model and workload: seconds per step, tokens per second, the fraction of the
chip's peak matrix rate (MFU; causal attention counted half) or, for generation, of its
memory bandwidth, the peak memory, and the floor: the least time at the chip's published
rates. A workload that does not fit in memory is noted in its row. On a chip without
published rates (a CPU) the floor comes from a measured matrix product.
"""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Literal

import jax
import rich
from rich.table import Table

from experiments.speed.peers import matmul_rate
from jaxalign.messages import unknown_name
from jaxalign.planning import chips
from jaxalign.planning.shapes import SHAPES
from jaxalign.planning.workloads import WORKLOADS, Size, seconds
from jaxalign.runtime import cli, config_file, flags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """Models, workloads and their sizes."""

    models: tuple[str, ...] = ("0.5b", "1b", "8b")
    """Of tiny, 0.5b, 1b, 8b, 70b."""
    workloads: tuple[str, ...] = ("sft", "dpo_cached", "reward", "generate")
    """Of sft, reward, reward_shared, dpo, dpo_cached, dpo_shared, generate, grpo."""
    rows: int = 8
    """Sequences in a training step; half as many pairs."""
    length: int = 2048
    """Tokens of a training sequence."""
    prompts: int = 64
    """Prompts to generate from."""
    prompt: int = 512
    """Tokens of a prompt."""
    new_tokens: int = 256
    """Tokens to generate from each prompt."""
    attention: Literal["xla", "cudnn"] = "xla"
    """xla, or cudnn on an NVIDIA GPU."""
    steps: int = 5
    """Timed steps, of which the median is reported."""
    out: Path | None = None
    """A file for the rows, as JSON; FILE.config.yaml beside it has the flags."""


def peaks(device: jax.Device) -> tuple[float, float | None]:
    """FLOP/s and bytes/s of a chip; measured and None where it is not listed."""
    chip = chips.chip_of(device.device_kind)
    return (chip.flops, chip.bandwidth) if chip else (matmul_rate(1024), None)


def measure(model: str, workload: str, config: Config) -> dict[str, float | str | None]:
    """One row of the table."""
    row: dict[str, float | str | None] = {"model": model, "work": workload}
    device = jax.devices()[0]
    flops_rate, bytes_rate = peaks(device)
    size = Size(
        rows=config.rows,
        length=config.length,
        prompt=config.prompt,
        prompts=config.prompts,
        new_tokens=config.new_tokens,
    )
    shape = dataclasses.replace(SHAPES[model], attention=config.attention)
    try:
        job = WORKLOADS[workload](shape, size)
        measured = statistics.median(seconds(job.run, steps=config.steps))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return row | {"note": "does not fit in memory"}
    floor = job.flops / flops_rate
    if bytes_rate:
        floor = max(floor, job.floor_bytes / bytes_rate)
    memory = device.memory_stats() or {}
    return row | {
        "seconds": measured,
        "tokens_per_s": job.tokens / measured,
        "mfu": job.flops / measured / flops_rate,
        "bandwidth": job.floor_bytes / measured / bytes_rate if bytes_rate else None,
        "peak_gib": memory.get("peak_bytes_in_use", 0) / 2**30 or None,
        "floor_s": floor,
    }


def main(config: Config) -> list[dict[str, float | str | None]]:
    """Measures every workload of every model; prints and writes the table."""
    for model in config.models:
        if model not in SHAPES:
            raise unknown_name("model", model, SHAPES)
    for workload in config.workloads:
        if workload not in WORKLOADS:
            raise unknown_name("workload", workload, WORKLOADS)
    rows = []
    for model in config.models:
        for workload in config.workloads:
            rows.append(measure(model, workload, config))
            jax.clear_caches()
    names = ("seconds", "floor_s", "tokens_per_s", "mfu", "bandwidth", "peak_gib")
    table = Table("model", "work", *names, "note", title=jax.devices()[0].device_kind)
    for row in rows:
        cells = [row.get(name) for name in names]
        shown = [f"{x:.4g}" if isinstance(x, float) else "" for x in cells]
        labels = (str(row["model"]), str(row["work"]))
        table.add_row(*labels, *shown, str(row.get("note", "")))
    rich.print(table)
    if config.out is not None:
        config.out.write_text(json.dumps(rows, indent=2))
        config_file.write_sidecar(config.out, config)
    return rows


if __name__ == "__main__":
    cli.run_command(main, Config)
