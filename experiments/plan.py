"""Memory, time and communication of a step, compiled for devices that are absent.

    python -m experiments.plan --model llama-3-8b --algorithm ppo
        --mesh fsdp=64,tensor=4 --batch 512 --length 2048

The step itself is compiled ahead of time for the mesh, on shapes alone. Printed are the
bytes per device by role, the operations and communication of a step, and for each chip
whether it fits, the least time at its published rates, and for --steps the device
hours, energy and carbon of a run at that rate (--watts where no power is published).

Operations are those of the matrix products in the traced program, which XLA's own
`cost_analysis` would count once for all layers. Communication is read from the compiled
program: what each device sends, by ring algorithms, loops as often as they run.

By default XLA compiles for as many CPU devices. Sizes of arguments and results are the
same on every backend. Temporaries are a CPU's: it has no fused attention, and keeps
some arrays in float32 that others keep in bfloat16. It never reduce-scatters: gradients
are counted as all-reduced, which sends twice as much. With `--topology v5p:4x4x4` the
TPU compiler is used, which takes minutes for a large model and needs the extra `tpu`,
but no TPU. Sampling unrolls its layers: it is compiled with 2 and 4, and extrapolated.
"""

import dataclasses
import json
import math
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import jax
import rich
from jax.experimental import topologies
from jax.sharding import Mesh
from rich.table import Table
from rich.text import Text

from jaxalign import messages, sharding
from jaxalign.planning import abstract, footprint
from jaxalign.planning.chips import CHIPS, Chip
from jaxalign.planning.flops import matmul_params
from jaxalign.planning.footprint import Footprint
from jaxalign.planning.measure import ProgramCost, program_cost
from jaxalign.planning.programs import (
    PlannedStep,
    StepModels,
    programs,
    training_inputs,
)
from jaxalign.runtime import cli, config_file, flags
from jaxalign.runtime.flags import parse_mesh

GIB = 2**30
KINDS = (
    *("all-gather", "reduce-scatter", "all-reduce", "all-to-all"),
    "collective-permute",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(PlannedStep):
    """A step, and the devices that it is compiled for."""

    RANGES: ClassVar = {
        **PlannedStep.RANGES,
        "steps": flags.COUNT,
        "watts": flags.POSITIVE,
        "kg_per_kwh": flags.NOT_NEGATIVE,
    }
    topology: str = ""
    """A TPU slice, such as v5p:4x4x4 or v5e:8x8, for the TPU compiler; by default
    CPU devices."""
    chips: tuple[str, ...] = tuple(CHIPS)
    """Chips to compare with."""
    steps: int = 1000
    """Steps of the run whose device hours, energy and carbon are printed."""
    watts: float | None = None
    """Power of a device; by default the published one of each chip."""
    kg_per_kwh: float = footprint.KG_PER_KWH
    """CO2 equivalents of a kilowatt-hour; by default as in Llama 2's table."""
    out: Path | None = None
    """A file for the numbers, as JSON; FILE.config.yaml beside it has the flags."""


class Plan(NamedTuple):
    """The cost of a step.

    Attributes:
      devices: number of devices.
      roles: resident bytes per device, by role.
      transient: further bytes per device during a program, by program and role.
      needs: runs per step and cost of each program.
      sampling_reads: bytes per device that sampling must read; 0 without sampling.
    """

    devices: int
    roles: dict[str, int]
    transient: dict[str, dict[str, float]]
    needs: dict[str, tuple[int, ProgramCost]]
    sampling_reads: float

    @property
    def peak(self) -> float:
        """Peak bytes per device."""
        most = max(sum(parts.values()) for parts in self.transient.values())
        return sum(self.roles.values()) + most

    def floor(self, chip: Chip) -> dict[str, float]:
        """Least seconds of a step, by resource; a program takes its scarcest one."""
        least = {"compute": 0.0, "memory": 0.0, "communication": 0.0, "step": 0.0}
        for name, (times, one) in self.needs.items():
            accessed = self.sampling_reads if name == "sample" else one.accessed
            parts = {
                "compute": times * one.flops / self.devices / chip.flops,
                "memory": times * accessed / chip.bandwidth,
                "communication": times
                * one.seconds(chip.link, chip.domain, chip.network),
            }
            for part, seconds in parts.items():
                least[part] += seconds
            least["step"] += max(parts.values())
        return least


def run_footprint(plan: Plan, config: Config, name: str) -> Footprint:
    """Device hours, energy and carbon of a run on a chip, at its least time.

    The energy is NaN where neither --watts nor a published power is known.
    """
    seconds = config.steps * plan.floor(CHIPS[name])["step"]
    watts = config.watts or CHIPS[name].watts or math.nan
    hours = plan.devices * seconds / 3600
    return footprint.footprint(hours, watts, kg_per_kwh=config.kg_per_kwh)


def plan_step(config: Config) -> Plan:
    """Compiles every program of the step, and adds up its cost.

    Raises:
      ValueError: an invalid model or mesh, or rows that do not divide.
    """
    shape, mesh = config.shape(), mesh_of(config)
    models = StepModels(config, shape, mesh)
    roles = {
        role: abstract.bytes_per_device(tree) for role, tree in models.roles().items()
    }
    roles["batch"] = abstract.bytes_per_device(training_inputs(models)[1])
    costs = {
        p.name: (p.times, program_cost(p, shape, mesh)) for p in programs(config, mesh)
    }
    transient = {
        name: {"temporaries": one.temporaries} for name, (_, one) in costs.items()
    }
    largest = {  # the temporaries of known size, by program
        "update": ("gradients", abstract.bytes_per_device(models.trainable().params))
    }
    sampling_reads = 0.0
    if "sample" in costs:
        kv_cache = models.kv_cache()
        cache = abstract.bytes_per_device(kv_cache)
        shared = abstract.bytes_per_device(kv_cache.prefix)
        largest["sample"] = ("KV cache", cache)
        new = config.length - config.prompt_length
        item = 2 if config.dtype == "bfloat16" else 4
        matrices = matmul_params(shape) * item / mesh.shape["tensor"]
        # a prompt that many answers share is a part of its own; the rest fills up
        first = 0 if shared else config.prompt_length
        filled = (first + new / 2) / (first + new)
        sampling_reads = new * (matrices + shared + (cache - shared) * filled)
    for name, (role, part) in largest.items():
        others = max(transient[name]["temporaries"] - part, 0.0)
        transient[name] = {role: part, "other temporaries": others}
    return Plan(mesh.size, roles, transient, costs, sampling_reads)


def mesh_of(config: Config) -> Mesh:
    """The mesh, of devices that need not be present."""
    shape = parse_mesh(config.mesh)
    if not config.topology:
        return sharding.make_mesh(shape)
    slice_ = topologies.get_topology_desc(platform="tpu", topology_name=config.topology)
    return sharding.make_mesh(shape, slice_.devices)


def force_devices(config: Config) -> None:
    """Makes JAX simulate the mesh's devices; call it before JAX initializes."""
    shape = parse_mesh(config.mesh) or {}
    jax.config.update("jax_platforms", "cpu")
    if not config.topology:
        jax.config.update("jax_num_cpu_devices", math.prod(shape.values()))


def numbers(plan: Plan, config: Config) -> dict[str, Any]:
    """The plan as JSON values; an unknown energy is null."""
    known = lambda values: {k: x if x == x else None for k, x in values.items()}
    return {
        "devices": plan.devices,
        "bytes": plan.roles | {"within": plan.transient, "peak": plan.peak},
        "programs": {
            name: {
                "times": times,
                "flops": one.flops,
                "sent": {kind: one.sent(kind) for kind in KINDS if one.sent(kind)},
            }
            for name, (times, one) in plan.needs.items()
        },
        "chips": {
            name: {"fits": plan.peak <= CHIPS[name].memory}
            | {"seconds": plan.floor(CHIPS[name])}
            | {"run": known(run_footprint(plan, config, name)._asdict())}
            for name in config.chips
        },
    }


def show(plan: Plan, config: Config) -> None:
    """Prints the plan."""
    title = f"{config.model}, {config.algorithm}, {config.mesh}"
    table = Table("on each device", "GiB", title=Text(title, "table.title"))
    gib = lambda size: f"{size / GIB:.3g}"
    for role, size in plan.roles.items():
        table.add_row(role, gib(size))
    for name, parts in plan.transient.items():
        for role, transient in parts.items():
            table.add_row(f"{name}: {role}", gib(transient))
    table.add_row("peak", gib(plan.peak), style="bold")
    rich.print(table)
    kinds = [k for k in KINDS if any(one.sent(k) for _, one in plan.needs.values())]
    table = Table("program", "times", "PFLOP", *kinds, title="GB that a device sends")
    for name, (times, one) in plan.needs.items():
        sent = [f"{one.sent(kind) / 1e9:.3g}" for kind in kinds]
        table.add_row(name, str(times), f"{one.flops / 1e15:.4g}", *sent)
    rich.print(table)
    resources = ("compute", "memory", "communication", "step")
    table = Table("chip", "fits", *resources, title="seconds at least")
    for name in config.chips:
        chip, floor = CHIPS[name], plan.floor(CHIPS[name])
        fits = f"{'yes' if plan.peak <= chip.memory else 'no'}, of {gib(chip.memory)}"
        table.add_row(name, fits, *(f"{floor[part]:.3g}" for part in resources))
    rich.print(table)
    units = ("device hours", "device years", "kWh", "kg CO2")
    table = Table("chip", *units, title=f"{config.steps:,} steps, at least")
    for name in config.chips:
        cost = run_footprint(plan, config, name)
        table.add_row(name, *(f"{x:.3g}" if x == x else "-" for x in cost))
    rich.print(table)


def main(config: Config) -> dict[str, Any]:
    """Plans a step, prints its cost, and writes it to `--out`."""
    for chip in config.chips:
        if chip not in CHIPS:
            raise messages.unknown_name("chip", chip, CHIPS)
    cost = plan_step(config)
    show(cost, config)
    values = numbers(cost, config)
    if config.out is not None:
        config.out.write_text(json.dumps(values, indent=2))
        config_file.write_sidecar(config.out, config)
    return values


def command(config: Config) -> None:
    """Plans with as many devices as the mesh has."""
    force_devices(config)
    main(config)


if __name__ == "__main__":
    cli.run_command(command, Config)
