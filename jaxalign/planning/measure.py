"""Memory, FLOPs and collectives of compiled programs."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxalign.models.config import ModelConfig
from jaxalign.planning import hlo_counts
from jaxalign.planning.hlo_counts import Collective
from jaxalign.planning.programs import Program

# Depths to extrapolate from, for a deep model whose layers are unrolled.
DEPTHS = (2, 4)
# A CPU multiplies bfloat16 as float32, and its compiler hoists the conversions out of
# loops: whole stacks of saved activations, twice as large, unlike any accelerator.
# Code generation is kept at its least, since the program never runs.
HOISTING = "while-loop-invariant-code-motion,while-loop-expensive-invariant-code-motion"
CPU_OPTIONS = {"xla_disable_hlo_passes": HOISTING, "xla_backend_optimization_level": 0}


class ProgramCost(NamedTuple):
    """The cost of one run of a program.

    Attributes:
      flops: operations of the matrix products, on all devices together.
      temporaries: bytes per device beside the arguments, new results included.
      accessed: bytes per device of its arguments and results.
      collectives: its communications.
    """

    flops: float
    temporaries: float
    accessed: float
    collectives: list[Collective]

    def sent(self, kind: str | None = None) -> float:
        """Bytes that each device sends, in collectives of a kind or in all."""
        return sum(c.total for c in self.collectives if kind in (None, c.kind))

    def seconds(self, link: float, domain: int, network: float) -> float:
        """Least seconds of communication, see `chips.Chip`."""
        slowest = lambda c: max(1 / link, c.cross_domain_fraction(domain) / network)
        return sum(c.total * slowest(c) for c in self.collectives)


def program_cost(program: Program, shape: ModelConfig, mesh: Mesh) -> ProgramCost:
    """Compiles a program and measures its cost.

    An unrolled program is compiled at two small depths, which takes less time, and its
    cost is extrapolated linearly: every layer costs the same.
    """
    if not program.unrolled or shape.layers <= max(DEPTHS):
        return compile_and_measure(lambda: program.trace(shape), mesh)
    few, more = (
        compile_and_measure(lambda n=n: program.trace(with_layers(shape, n)), mesh)  # type: ignore[misc]
        for n in DEPTHS
    )
    steps = (shape.layers - DEPTHS[0]) / (DEPTHS[1] - DEPTHS[0])
    line = lambda a, b: a + steps * (b - a)
    scaled = lambda some, by: [c._replace(times=c.times * by) for c in some]
    return ProgramCost(
        flops=line(few.flops, more.flops),
        temporaries=line(few.temporaries, more.temporaries),
        accessed=line(few.accessed, more.accessed),
        collectives=[
            *scaled(few.collectives, 1 - steps),
            *scaled(more.collectives, steps),
        ],
    )


def with_layers(shape: ModelConfig, layers: int) -> ModelConfig:
    """The same configuration with another number of layers."""
    return dataclasses.replace(shape, layers=layers, sliding=shape.sliding[:layers])


def compile_and_measure(trace: Callable[[], Any], mesh: Mesh) -> ProgramCost:
    """Traces and compiles a program with the mesh in context, and measures its cost."""
    on_cpu = mesh.devices.flat[0].platform == "cpu"
    with jax.set_mesh(mesh):
        traced = trace()
        compiled = traced.lower().compile(
            compiler_options=CPU_OPTIONS if on_cpu else None
        )
    memory = compiled.memory_analysis()
    new = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return ProgramCost(
        flops=hlo_counts.matmul_flops(traced.jaxpr.jaxpr),
        temporaries=memory.temp_size_in_bytes + new,
        accessed=memory.argument_size_in_bytes + memory.output_size_in_bytes,
        collectives=hlo_counts.collectives(compiled.as_text(), mesh.size),
    )
