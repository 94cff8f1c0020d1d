"""Growth of a step's cost with length, batch, vocabulary and samples per prompt.

    python -m experiments.speed.scaling --out scaling.png

Nothing is run: operations are counted in the traced step and temporaries in the
compiled one, of a small Llama on one device (see `jaxalign.planning`). Along each axis
all other sizes are fixed, and cost is relative to the first point. The legend has the
exponents between the last two points: 1 is expected of batch and vocabulary, and up to
2, attention's, of length. Samples share one copy of their prompt in a row, as in
training on rankings, each a quarter as long: they cost less than in proportion while
the prompt dominates. Attention between samples is masked, yet computed, so that many
long ones would cost more.
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
from jax.sharding import Mesh

from jaxalign import lazy, sharding
from jaxalign.batches import AnswerBatch
from jaxalign.evaluation.plots import COLORS
from jaxalign.planning import abstract, measure, programs
from jaxalign.planning.shapes import llama
from jaxalign.runtime import cli, config_file, flags
from jaxalign.training import objectives

if TYPE_CHECKING:
    from matplotlib import figure as figures
else:
    figures = lazy.module("matplotlib.figure")

SHAPE = llama(
    *(256, 1024, 4, 4, 4), dtype="float32", remat="full", tied=False, context=1 << 16
)
FIRST = {"length": 256, "batch": 4, "vocabulary": 4096, "samples": 2}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(flags.ValidatedConfig):
    """The plot and its points."""

    out: Path = Path("scaling.png")
    """File of the plot; FILE.config.yaml beside it has the flags."""
    points: int = 5
    """Points per axis, each twice the one before."""


class Cost(NamedTuple):
    """The cost of a step: operations, and bytes of temporaries."""

    flops: float
    temporaries: float


def step(axis: str, size: int, mesh: Mesh) -> Any:
    """The traced step with this size along an axis, the first size along others.

    It is SFT or, along samples, a reward model on rankings.
    """
    sizes = FIRST | {axis: size}
    shape = dataclasses.replace(SHAPE, vocab_size=sizes["vocabulary"])
    work = programs.PlannedStep(batch=sizes["batch"], length=sizes["length"])
    models = programs.StepModels(work, shape, mesh)
    if axis != "samples":
        return programs.update(models)
    rows, prompt, answers = sizes["batch"], sizes["length"], sizes["samples"]
    batch = AnswerBatch(
        sequences=abstract.token_batch(mesh, rows, prompt + answers * prompt // 4),
        mask=abstract.rows(mesh, rows, answers, kind=jnp.bool_),
        margin=abstract.rows(mesh, rows, kind=jnp.float32),
        row=abstract.rows(mesh, rows),
    )
    work = dataclasses.replace(work, algorithm="reward")
    objective = objectives.ranking(models.scalar)
    return programs.trace_step(programs.StepModels(work, shape, mesh), objective, batch)


def cost(axis: str, size: int) -> Cost:
    """The cost of the step with this size along an axis."""
    mesh = sharding.make_mesh({"data": 1})
    program = measure.compile_and_measure(lambda: step(axis, size, mesh), mesh)
    return Cost(program.flops, program.temporaries)


def exponent(sizes: list[int], costs: list[float]) -> float:
    """The exponent with which cost grows between the last two sizes.

    >>> exponent([1, 2, 4], [1.0, 3.0, 12.0])
    2.0
    """
    return math.log(costs[-1] / costs[-2]) / math.log(sizes[-1] / sizes[-2])


def plot(path: Path, costs_by_axis: dict[str, tuple[list[int], list[Cost]]]) -> Path:
    """Operations and temporaries along each axis, with lines of exponent 1 and 2."""
    figure = figures.Figure(figsize=(9.6, 4.6), layout="constrained")
    names = {"flops": "operations", "temporaries": "temporaries"}
    for axes, (field, title) in zip(figure.subplots(1, 2), names.items(), strict=True):
        for (axis, (sizes, costs)), color in zip(
            costs_by_axis.items(), COLORS, strict=False
        ):
            values = [getattr(one, field) for one in costs]
            times = [size / sizes[0] for size in sizes]
            label = f"{axis} from {sizes[0]}: exponent {exponent(sizes, values):.2f}"
            relative = [value / values[0] for value in values]
            axes.plot(times, relative, "o-", color=color, label=label)
        for power in (1, 2):
            line = [time**power for time in times]
            axes.plot(times, line, ":", color="0.6", zorder=0)
        axes.set(xscale="log", yscale="log", title=title)
        axes.set_xlabel("size, relative to the first")
        axes.set_ylabel("cost, relative to the first")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)
    return path


def main(config: Config) -> dict[str, tuple[list[int], list[Cost]]]:
    """Computes the costs along every axis and plots them."""
    costs_by_axis = {}
    for axis, first in FIRST.items():
        sizes = [first << k for k in range(config.points)]
        costs_by_axis[axis] = (sizes, [cost(axis, size) for size in sizes])
    plot(config.out, costs_by_axis)
    config_file.write_sidecar(config.out, config)
    return costs_by_axis


if __name__ == "__main__":
    cli.run_command(main, Config)
