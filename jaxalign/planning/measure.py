"""What compiled programs need: memory, operations, communication."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxalign.models.config import ModelConfig
from jaxalign.planning import hlo_counts
from jaxalign.planning.hlo_counts import Collective
from jaxalign.planning.programs import Program

# The stand-ins for a deep model whose layers are compiled one by one.
DEPTHS = (2, 4)
# A CPU multiplies bfloat16 as float32, and its compiler moves the conversions out of
# loops: whole stacks of saved activations, twice as large, that no accelerator makes.
# Of machine code only the least is made.
HOISTING = "while-loop-invariant-code-motion,while-loop-expensive-invariant-code-motion"
CPU_OPTIONS = {"xla_disable_hlo_passes": HOISTING, "xla_backend_optimization_level": 0}


class ProgramCost(NamedTuple):
    """What one run of a program needs.

    Attributes:
      flops: operations of the matrix products, on all devices together.
      temporaries: bytes on each device beside its arguments, new results included.
      touched: bytes of its arguments and results on each device.
      collectives: what each device sends.
    """

    flops: float
    temporaries: float
    touched: float
    collectives: list[Collective]

    def sent(self, kind: str | None = None) -> float:
        """Bytes that each device sends, in collectives of a kind or in all."""
        return sum(c.total for c in self.collectives if kind in (None, c.kind))

    def seconds(self, link: float, domain: int, network: float) -> float:
        """The time that sending takes at least, see `chips.Chip`."""
        slowest = lambda c: max(1 / link, c.outward(domain) / network)
        return sum(c.total * slowest(c) for c in self.collectives)


def program_cost(program: Program, shape: ModelConfig, mesh: Mesh) -> ProgramCost:
    """Compiles a program and reads what it needs.

    One that has its layers one by one is compiled with two depths that take less time,
    and what it needs is extended: every layer needs the same.
    """
    if not program.unrolled or shape.layers <= max(DEPTHS):
        return compile_and_measure(lambda: program.trace(shape), mesh)
    few, more = (
        compile_and_measure(lambda n=n: program.trace(with_layers(shape, n)), mesh)  # type: ignore[misc]
        for n in DEPTHS
    )
    steps = (shape.layers - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])
    line = lambda a, b: a + steps * (b - a)
    scaled = lambda found, by: [c._replace(times=c.times * by) for c in found]
    return ProgramCost(
        flops=line(few.flops, more.flops),
        temporaries=line(few.temporaries, more.temporaries),
        touched=line(few.touched, more.touched),
        collectives=[
            *scaled(few.collectives, 1 - steps),
            *scaled(more.collectives, steps),
        ],
    )


def with_layers(shape: ModelConfig, layers: int) -> ModelConfig:
    """The same model with fewer layers."""
    return dataclasses.replace(shape, layers=layers, sliding=shape.sliding[:layers])


def compile_and_measure(trace: Callable[[], Any], mesh: Mesh) -> ProgramCost:
    """What a program needs once it is traced and compiled with the mesh in context."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    with jax.set_mesh(mesh):
        traced = trace()
        done = traced.lower().compile(compiler_options=CPU_OPTIONS if on_cpu else None)
    memory = done.memory_analysis()
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return ProgramCost(
        flops=hlo_counts.matmul_flops(traced.jaxpr.jaxpr),
        temporaries=memory.temp_size_in_bytes + new,
        touched=memory.argument_size_in_bytes + memory.output_size_in_bytes,
        collectives=hlo_counts.collectives(done.as_text(), mesh.size),
    )
