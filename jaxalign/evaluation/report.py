"""What people look at: a table, a plot, answers before and after."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import rich
from rich.table import Table

from jaxalign.evaluation.intervals import Interval

matplotlib.use("Agg")
from matplotlib import pyplot  # noqa: E402  after the backend is chosen

Row = Mapping[str, Any]


def cell(value: Any) -> str:
    """A value as a table shows it; what is not known is a dash.

    >>> cell(0.12345), cell(None), cell("dpo")
    ('0.123', '-', 'dpo')
    """
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table, columns as in the first row."""
    names = list(rows[0])
    lines = [names, ["---"] * len(names)]
    lines += [[cell(row.get(name)) for name in names] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def show(rows: Sequence[Row], title: str) -> None:
    """Prints the rows as a table."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(cell(row.get(name)) for name in rows[0]))
    rich.print(table)


def plot_reward_kl(
    path: Path,
    points: Mapping[str, Sequence[tuple[float, Interval]]],
    *,
    reward: str = "true reward",
) -> Path:
    """Reward against the square root of KL from the reference, a series a method.

    Args:
      points: by method, (KL in nats, reward with its interval).

    Reference: Gao et al. 2022, arXiv:2210.10760, figure 1.
    """
    figure, axes = pyplot.subplots(figsize=(6.4, 4.2), layout="constrained")
    for (name, series), marker in zip(points.items(), "os^Dv*Px<>", strict=False):
        kl = np.sqrt(np.maximum([k for k, _ in series], 0.0))
        mean = np.array([r.mean for _, r in series])
        bounds = np.array([(r.mean - r.low, r.high - r.mean) for _, r in series]).T
        style = "-" if len(series) > 1 else ""
        axes.errorbar(
            kl, mean, bounds, marker=marker, linestyle=style, capsize=3, label=name
        )
    axes.set_xlabel("sqrt of KL from the SFT model (nats)")
    axes.set_ylabel(f"{reward}, with 95 % interval")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
    return path


def write_samples(
    path: Path, prompts: Sequence[str], answers: Mapping[str, Sequence[str]]
) -> Path:
    """Prompts with each model's answer, as Markdown."""
    lines = ["# Answers, before and after\n"]
    for i, prompt in enumerate(prompts):
        lines.append(f"## {i + 1}\n")
        lines.append("```text")
        lines.append(f"{prompt}\n```\n")
        for name, texts in answers.items():
            lines.append(f"**{name}**\n\n```text\n{texts[i]}\n```\n")
    path.write_text("\n".join(lines))
    return path
