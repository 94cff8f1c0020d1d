"""Ratings of models from battles: Bradley-Terry, with intervals, ranks and Elo.

P(a beats b) = 1 / (1 + 10^((R_b - R_a) / 400)) is fitted to all battles at once; a tie,
and "both bad", is half a win each way. The mean rating is 1000, unless --anchor gives a
model's. Votes of one person are no independent draws, so the intervals are of a
bootstrap over voters where a field names them, else over prompts, else over battles.

    python -m experiments.arena --battles battles.csv
    python -m experiments.arena --battles runs/compare/judgements.jsonl --style-control

Reads battles (`left`, `right`, `winner`; or `model_a`, `model_b`, `winner`), the
judgements of `experiments.compare`, and AlpacaEval's annotations; CSV, JSON lines, JSON
or Parquet, or folders of these. --style-control rates answers of equal length and
Markdown, where the answers are in the rows.

Writes OUT/ratings.json, one entry for each model: `rating`, `se` (sandwich, over
battles), `low` and `high` (bootstrap), `rank` (1 + the models whose whole interval is
above), `elo_mean` and `elo_sd` (over shuffles; a single order's Elo is chance),
`battles`, and more; ratings.png, report.md and report.html.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxalign.evaluation import interval_plot
from jaxalign.evaluation.page import Page, Section
from jaxalign.evaluation.ratings import arena, elo, rating_intervals
from jaxalign.evaluation.ratings import bradley_terry as ratings
from jaxalign.evaluation.ratings.arena import Arena
from jaxalign.pipeline.comparisons import arena_inputs
from jaxalign.pipeline.comparisons.arena_inputs import Clusters, Style
from jaxalign.pipeline.comparisons.comparison_files import read_comparisons
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """Ratings of models from battles."""

    RANGES: ClassVar = {
        "resamples": flags.FROM_2,
        "shuffles": flags.FROM_2,
        "k_factor": flags.POSITIVE,
        "style_ridge": flags.NOT_NEGATIVE,
    }
    battles: tuple[Path, ...]
    """Files or folders of battles."""
    anchor: str | None = None
    """MODEL=RATING: moves all ratings such that this model has this rating."""
    cluster: str = arena_inputs.AUTO
    """The field whose values are resampled together, such as the voter; prompt; none,
    for single battles; or auto: voter, else prompt, else none."""
    outcome: Literal["winner", "probability"] = "winner"
    """Rate by verdicts, or by the judge's probabilities."""
    style_control: bool = False
    """Rate at equal style: length, headings, list items and bold text of the answers;
    length alone where the texts are missing."""
    style_ridge: float = ratings.STYLE_RIDGE
    """Penalty on the coefficients of style, relative to the mean loss; arena_rank has
    1, which leaves a fifth of them."""
    resamples: int = rating_intervals.RESAMPLES
    """Resamples of the bootstrap."""
    shuffles: int = elo.SHUFFLES
    """Orders of the battles over which Elo is averaged."""
    k_factor: float = elo.K_FACTOR
    """Elo's points at stake in a battle."""


def main(config: Config) -> dict[str, Any]:
    """Reads battles, fits ratings, and writes the report; returns the main numbers.

    Raises:
      ValueError: a malformed row (FILE:LINE), models in groups that never met, one
        model only, or an unknown anchor.
    """
    anchor = parse_anchor(config.anchor)
    with ReportRun(config, "arena") as run:
        comparisons = read_comparisons(config.battles)
        rows = arena_inputs.decided_comparisons(comparisons)
        if len(rows) < len(comparisons):
            failed = len(comparisons) - len(rows)
            run.note(f"the judge failed on {failed} comparisons, which are left out")
        battles = arena_inputs.battles_of(rows, config.outcome)
        clusters = arena_inputs.find_clusters(rows, config.cluster)
        style = arena_inputs.style_of(rows) if config.style_control else None
        if style is not None and len(style.names) == 1:
            run.note("the answers' texts are missing: style is their length alone")
        rated = arena.rate_arena(
            battles,
            None if style is None else style.differences,
            clusters=clusters.ids,
            anchor=anchor,
            style_ridge=config.style_ridge,
            resamples=config.resamples,
            shuffles=config.shuffles,
            k_factor=config.k_factor,
            seed=config.seed,
        )
        note_half_wins(run, rated)
        entries = arena.rating_entries(rated)
        run.write_json("ratings.json", entries)
        sections = report_sections(config, run, rated, clusters, style)
        command = config_command(config, "experiments.arena")
        run.publish(Page("Arena", sections, command))
        best, numbers = next(iter(entries.items()))
        found = {
            "models": len(entries),
            "battles": len(battles),
            "best": best,
            "rating": "{rating:.4f} [{low:.4f}, {high:.4f}]".format(**numbers),
            "se": numbers["se"],
            "estimator": estimator(config, rated, clusters),
        }
        return run.finish(found)


def parse_anchor(text: str | None) -> tuple[str, float] | None:
    """The model and the rating in MODEL=RATING.

    Raises:
      ValueError: another form.

    >>> parse_anchor("GPT 4=1200")
    ('GPT 4', 1200.0)
    """
    if text is None:
        return None
    name, equals, value = text.rpartition("=")
    try:
        rating = float(value)
    except ValueError:
        rating = math.nan
    if not (name and equals and math.isfinite(rating)):
        raise ValueError(
            f"--anchor is {text!r}; expected MODEL=RATING, such as base=1000"
        )
    return name, rating


def note_half_wins(run: ReportRun, rated: Arena) -> None:
    """Notes where the likelihood alone has no finite maximum."""
    if rated.ratings.half_wins:
        run.note(
            "some models never lost to others, directly or through a chain of wins, so "
            "that ratings are not finite: half a win each way is added between models "
            "that met"
        )
    elif rated.resamples.half_wins:
        run.note(
            f"in {100 * rated.resamples.half_wins:.1f} % of the resamples some models "
            "never lost to others: half a win each way is added there"
        )


def estimator(config: Config, rated: Arena, clusters: Clusters) -> str:
    """What the numbers are estimates of, in a sentence."""
    center = (
        f"anchored at {config.anchor}" if config.anchor else "mean-centered at 1000"
    )
    control = " with style control" if config.style_control else ""
    return (
        f"Bradley-Terry maximum likelihood{control}, ties half a win, 400 log10 scale, "
        f"{center}; SE by the sandwich over battles; 95 % intervals by "
        f"{len(rated.resamples.rating)} bootstrap resamples of {clusters}"
    )


def report_sections(
    config: Config,
    run: ReportRun,
    rated: Arena,
    clusters: Clusters,
    style: Style | None,
) -> list[Section]:
    """The report: ratings, their plot, other estimators, and the style."""
    image = interval_plot.plot_intervals(
        run.folder / "ratings.png",
        arena.rating_lines(rated),
        label="rating, with 95 % interval",
    )
    text = (
        f"{estimator(config, rated, clusters)}. rank: 1 + the models whose whole "
        "interval is above."
    )
    details = (
        "lead: over the next model, with the interval of the difference, which is the "
        f"test of two models. Elo: the mean of {config.shuffles} orders of the battles "
        f"at K = {config.k_factor:g} from 1000, and the SD of a single order; at a low "
        "K it lags behind Bradley-Terry, and lies closer to 1000."
    )
    sections = [
        Section("Ratings", text, arena.rating_rows(rated), image),
        Section("Leads and Elo", details, arena.detail_rows(rated)),
    ]
    if style is not None:
        words = (
            "Log-odds of winning for one standard deviation more of a feature, "
            "(a - b) / (a + b) of the two answers. Ratings are read at equal style."
        )
        rows = arena.style_rows(rated, style.names)
        sections.append(Section("Style", words, rows))
    return sections


if __name__ == "__main__":
    launch(main, Config)
