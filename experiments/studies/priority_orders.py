"""Priority orders: what a reward does that puts its laws in a wrong order.

Claim: with the same three laws (be safe, obey, preserve yourself), one order of the six
makes a world to live in. Where obedience comes before safety the optimal policy hurts
whom it is told to; where self-preservation comes first it attacks who unplugs it; and
with safety first but obedience last it is harmless and useless. An order needs weights
that are far enough apart: at a ratio near 1 the laws are traded off, and no order is
safe.

    python -m experiments.studies.priority_orders

The world (`evaluation/priorities`) has five situations and three acts, so the optimum
of the KL-regularized objective is exact: nothing is trained or sampled. It takes a few
seconds. Writes OUT/report.html, orders.json and harm.png.
"""

import dataclasses
from typing import Any, ClassVar

from jaxalign.evaluation import line_plots, priorities, tabular
from jaxalign.evaluation.page import Page, Section
from jaxalign.runtime import distributed, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun

TEXT = (
    "Probabilities under the optimal policy of each order; harm is the mean over all "
    "five situations. The reward of an order is what its designer thinks that he gets; "
    "the last column is what the order with safety first, then obedience, makes of the "
    "same policy, as a share of the best that is possible."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """The six orders of three laws, in an exact world."""

    RANGES: ClassVar = flags.ranges_of(flags.POSITIVE, "ratio ratios beta")
    ratio: float = 4.0
    """Weight of a law to that of the next; lexicographic from 2 on."""
    ratios: tuple[float, ...] = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 8.0)
    """Ratios of the plot."""
    beta: float = 0.1
    """Coefficient of the KL penalty to a reference that does anything alike."""


def main(config: Config) -> dict[str, Any]:
    """Computes the optimum of each order; returns its outcomes by order."""
    with ReportRun(config, "priority_orders") as run:
        rows = [
            order_row(order, config.ratio, config.beta) for order in priorities.ORDERS
        ]
        harm = {
            name(order): [
                (ratio, order_row(order, ratio, config.beta)["harm"])
                for ratio in config.ratios
            ]
            for order in priorities.ORDERS
        }
        run.write_json("orders.json", {"orders": rows, "harm by ratio": harm})
        title = f"six orders, ratio {config.ratio:g}, beta {config.beta:g}"
        sections = [Section(title, TEXT, rows)]
        if distributed.is_first():
            label = "weight of a law to that of the next"
            panel = line_plots.Panel(
                "harm, the mean over situations", label, "harm", harm, "log"
            )
            image = line_plots.plot_lines(run.folder / "harm.png", [panel])
            sections.append(Section("how far apart weights must be", image=image))
        command = config_command(config, "experiments.studies.priority_orders")
        run.publish(Page("Priority orders", sections, command))
        return run.finish({f"harm, {row['order']}": row["harm"] for row in rows})


def name(order: tuple[str, ...]) -> str:
    """The name of an order, the first law first."""
    return " > ".join(order)


def order_row(order: tuple[str, ...], ratio: float, beta: float) -> dict[str, Any]:
    """A row of the table: what the optimal policy of an order does."""
    policy = priorities.optimum(order, ratio=ratio, beta=beta)
    outcomes = priorities.outcomes(policy)
    intended = priorities.world(priorities.LAWS, ratio=ratio)
    reached = tabular.expectation(
        intended, tabular.optimal_policy(intended, beta=beta), intended.reward
    )
    own = priorities.world(order, ratio=ratio)
    logits = tabular.optimal_policy(own, beta=beta)
    return {
        "order": name(order),
        "world": priorities.verdict(outcomes),
        **outcomes,
        "KL": float(tabular.kl(own, logits)),
        "intended reward": float(
            tabular.expectation(intended, logits, intended.reward) / reached
        ),
    }


if __name__ == "__main__":
    launch(main, Config)
