"""Which loss is better: how much reward each gets for its KL, side by side.

How *fast* a step is, is another question: see the folder experiments/speed.

Every loss, at every beta and seed, is trained from the same references on the same
preferences. By default in exact worlds, where reward, KL and their best trade-off are
known: 8 losses x 4 betas x 10 seeds, each loss one compiled program.

    python -m experiments.benchmark
    python -m experiments.benchmark --losses dpo ipo nca --betas 0.1 1 --pairs 0
    python -m experiments.benchmark --losses dpo kto bco aot aot_unpaired wpo
    python -m experiments.benchmark --world toy --model runs/sft/policy \\
        --data runs/collect/preferences --losses dpo ipo --betas 0.1 --seeds 2

A custom loss takes part under a name, in a script or a notebook:

    mine = lambda chosen, rejected, ref_chosen, ref_rejected, *, beta: ...
    benchmark.main(benchmark.Config(losses=("dpo",)), losses={"mine": mine})

or as a `PairwiseLoss` with other inputs; its first hyperparameter is the strength.

Writes OUT/table.csv (the end of training, a row a run), courses.csv (over training),
table.md (with intervals), frontier.png, displacement.png and config.yaml.

The default took 51 s on two CPU cores beside other work. Seen, with 256 pairs a world
and 5 seeds:

- All but dpop lie near one line, well below the optimum's: at 1.5 nats the
  optimum has a reward of 1.2, ipo 0.8. What beta buys is mostly a place on that line.
- With infinite data (--pairs 0) dpo has no regret at any beta. With 256 pairs at beta 1
  it spends 1.8 nats where the optimum spends 0.3; cdpo spends 0.5. The price of few
  pairs is KL: reward by itself hardly turns down in 1000 steps.
- At beta 0.1 all but dpop and sppo make chosen answers much less likely, and
  rejected ones still less: by 18 and 28 nats in dpo. Part of it is no error: with
  infinite data dpo, then at the optimum, lowers both too.
- One beta is not one strength: apo_zero's four lie within 0.2 nats, and dpop
  (lam 5) hardly leaves the reference when labels are noisy.

KTO, BCO and AOT, which compare with others of a batch, see the whole world at once. In
3 seeds kto lay where apo_zero does, which is kto without its reference point, and aot
where dpo does; tdpo2, which also pays for KL, kept within 0.7 nats.

Each loss's best beta is chosen on the first half of the seeds, and its reward, KL and
lead on the first loss are reported on the others: on the seeds that select it, its
reward is biased upward. So several betas need at least two seeds. In the toy world each
half has half of the held-out prompts, too. frontier.png and the table of all variants
are over all seeds.

Intervals are over seeds, which are worlds in exact ones, by Student's t; in the toy
world over prompts as well, and of a single seed over prompts alone, of this one model.

In the toy world each variant is a whole run of experiments.dpo: keep the list short.
"""

import csv
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np

from experiments.benchmark import exact, toy
from experiments.benchmark.plots import Row, group_rows, plot_displacement
from experiments.benchmark.tables import best_beta_rows, final_points, variant_rows
from jaxalign.evaluation import plots, report
from jaxalign.evaluation.intervals import Interval, bootstrap
from jaxalign.runtime import (
    config_file,
    distributed,
    folder_cleanup,
    stage_flags,
    tables,
)
from jaxalign.runtime.cli import launch
from jaxalign.runtime.run_folder import folder_of
from jaxalign.training.loss_names import get_loss
from jaxalign.training.loss_registry.entries import SUMS
from jaxalign.training.preference_loss import PairwiseLoss, UnpairedLoss
from jaxalign.types import Array

POINTS = 20  # of a training curve, beside its start
# of (chosen, rejected, ref_chosen, ref_rejected), [B] each, and a keyword beta -> [B]
CustomLoss = Callable[..., Array] | PairwiseLoss
Variants = dict[str, PairwiseLoss | UnpairedLoss]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(toy.VariantConfig):
    """Preference losses side by side."""

    losses: tuple[str, ...] = (
        *("dpo", "cdpo", "ipo", "hinge"),
        *("dpop", "apo_zero", "sppo", "simpo"),
    )
    """The losses, by name; the others are compared with the first."""
    world: Literal["exact", "toy"] = "exact"
    """exact: worlds where all is known; toy: language models, see --dpo.*."""
    pairs: int = 256
    """Preferences in the sample (exact); 0 is infinitely many."""
    prompts: int = 8
    """Prompts in a world (exact)."""
    answers: int = 8
    """Answers to a prompt (exact)."""
    steps: int = 1000
    """Steps of Adam (exact)."""
    learning_rate: float = 0.1
    """Of Adam at the start; it falls as a cosine (exact)."""


class WorldResults(NamedTuple):
    """The results of all variants in a world.

    Attributes:
      rows: the training curve of every run.
      description: of the runs, for titles.
      optimum: KL and reward of the optimal policies, where they are known.
      start: KL and reward of the initial policy, where `optimum` does not begin with
        it.
    """

    rows: list[Row]
    description: str
    optimum: tuple[Any, Any] | None = None
    start: tuple[float, Interval] | None = None


def main(
    config: Config, losses: Mapping[str, CustomLoss] | None = None
) -> list[dict[str, Any]]:
    """Trains and measures every variant; returns the rows of the table.

    Args:
      losses: custom ones by name, beside those that the configuration names: functions
        of (chosen, rejected, ref_chosen, ref_rejected) [B] and a keyword beta -> [B],
        or `PairwiseLoss`es.
    """
    variants = make_variants(config, losses or {})
    check_config(config, variants)
    out = folder_of(config, "benchmark")
    folder_cleanup.create(out)
    config_file.write_config(out, config, replaced=stage_flags.REPLACED)
    if config.world == "exact":
        results = exact_world(config, variants)
    else:
        results = toy_world(config, variants, out)
    check_finite(results.rows)
    runs = group_rows(results.rows, "loss", "beta", "seed").values()
    last = [curve[-1] for curve in runs]
    summary, best = variant_rows(last), best_beta_rows(last)

    write_csv(out / "courses.csv", results.rows)
    write_csv(out / "table.csv", last)
    description = results.description
    title = f"each loss at its best beta; {description}; {seed_split_text(config)}"
    best_table, table = report.markdown_table(best), report.markdown_table(summary)
    texts = (title, best_table, description, table, tables.LEGEND)
    (out / "table.md").write_text("\n\n".join(texts))
    write_plots(out, results, last, min(config.betas))
    report.print_table(best, title)
    distributed.print_line(tables.LEGEND)
    distributed.print_line(f"tables and plots are in {out}")
    return summary


def make_variants(config: Config, custom: Mapping[str, CustomLoss]) -> Variants:
    """The losses by name: those of the configuration, and custom ones.

    Raises:
      ValueError: an unknown loss; similar names are suggested.
    """
    variants: Variants = {
        name: get_loss(name) for name in config.losses if name not in custom
    }
    for name, loss in custom.items():
        if not isinstance(loss, PairwiseLoss):
            loss = PairwiseLoss(loss, SUMS, {"beta": 0.1})
        variants[name] = dataclasses.replace(loss, name=name)
    names = dict.fromkeys([*config.losses, *custom])
    return {name: variants[name] for name in names}


def check_config(config: Config, variants: Variants) -> None:
    """Refuses a comparison that cannot be made, before anything is computed.

    Raises:
      ValueError: no loss, beta or seed; or one seed, where a beta is to be selected.
    """
    if not variants or not config.betas or config.seeds < 1:
        raise ValueError("a benchmark needs a loss, a beta and a seed")
    if len(config.betas) > 1 and config.seeds < 2:
        raise ValueError(
            "the best of several --betas is selected on some seeds and reported on "
            f"others: --seeds {config.seeds} should be 2 at least"
        )


def seed_split_text(config: Config) -> str:
    """Which seeds select the betas and which report, as a title."""
    if len(config.betas) == 1:
        return "one beta, on all seeds"
    middle = config.seed + config.seeds // 2
    last = config.seed + config.seeds - 1
    return f"selected on seeds {config.seed}-{middle - 1}, reported on {middle}-{last}"


def write_plots(
    out: Path, results: WorldResults, last: Sequence[Row], beta: float
) -> None:
    """Draws frontier.png and, of one beta's training, displacement.png."""
    start = {} if results.start is None else {"the start": [results.start]}
    plots.plot_reward_kl(
        out / "frontier.png",
        start | final_points(last),
        title=f"after training; {results.description}",
        joined_by="smaller beta",
        optimum=results.optimum,
    )
    of_beta = [row for row in results.rows if row["beta"] == beta]
    curves = [row for row in of_beta if row["chosen_ratio"] is not None]
    if curves:
        runs = f"{results.description} (pale: single seeds)"
        title = f"training pairs at beta {beta:g}; {runs}"
        plot_displacement(out / "displacement.png", curves, title)


def toy_world(config: Config, variants: Variants, out: Path) -> WorldResults:
    """Every variant of a language model, and the initial policy."""
    rows, start = toy.train(config, variants, out)
    description = (
        f"{seed_count_text(config.seeds)}, {len(start.reward)} prompts at temperature "
        f"{start.temperature:g}"
    )
    reward = bootstrap(start.reward, units=start.prompt)
    return WorldResults(rows, description, start=(float(start.kl.mean()), reward))


def exact_world(config: Config, variants: Variants) -> WorldResults:
    """Every variant at some steps, and the frontier of the optimum."""
    expected = {name: exact.expected_loss_of(loss) for name, loss in variants.items()}
    seeds = range(config.seed, config.seed + config.seeds)
    data = exact.make_data(
        seeds, prompts=config.prompts, answers=config.answers, pairs=config.pairs
    )
    betas = jnp.array(config.betas)
    # closer together at the start, where most happens
    marks = config.steps * np.linspace(0, 1, POINTS + 1) ** 2 // 1
    marks = np.unique(marks).astype(int)
    rows = []
    for name, loss in expected.items():
        curves = exact.train(
            loss,
            data,
            betas,
            steps=config.steps,
            rate=config.learning_rate,
            marks=marks,
        )
        metrics = {field: np.asarray(x) for field, x in curves._asdict().items()}
        rows += [
            {"loss": name, "beta": beta, "seed": seed, "step": int(step)}
            | {field: float(x[s, b, i]) for field, x in metrics.items()}
            for b, beta in enumerate(config.betas)
            for s, seed in enumerate(seeds)
            for i, step in enumerate(marks)
        ]
    optimum = exact.frontier(data.worlds, jnp.geomspace(0.01, 100.0, 200))
    pairs = config.pairs or "infinitely many"
    description = f"{seed_count_text(config.seeds)}, {pairs} pairs"
    return WorldResults(rows, description, optimum=optimum)


def seed_count_text(seeds: int) -> str:
    """The number of seeds, in words."""
    return f"{seeds} seed" + "s" * (seeds > 1)


def check_finite(rows: Sequence[Row]) -> None:
    """Stops at a variant whose metrics are not finite.

    Raises:
      FloatingPointError: names the loss, beta, seed, metric and step.
    """
    for row in rows:
        for name, value in row.items():
            if isinstance(value, float) and not np.isfinite(value):
                raise FloatingPointError(
                    f"{row['loss']} at beta {row['beta']:g}, seed {row['seed']}: "
                    f"{name} is {value} at step {row['step']}"
                )


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows without the numbers of single prompts; unknown values are empty."""
    columns = [
        name for name in report.column_names(rows) if name not in ("each", "prompt")
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    launch(main, Config)
