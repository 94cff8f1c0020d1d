"""Scores or pairs: why people are asked which answer is better, and not how good it is.

Claim: scores lose to pairs by what people do with a scale, not by what they see. With
the same eyes (one noise, whatever is asked) and the same time, a score on a steady
scale tells more than a pair. Raw scores fall below pairs where people's scales lie far
apart, and scores that are normalized by person do not; where each person's scale drifts
from answer to answer, no normalization helps, and pairs win. Rankings of 4 tell more
than pairs at every time.

    python -m experiments.studies.scores_or_pairs
    python -m experiments.studies.scores_or_pairs --quick

The world (`evaluation/linear_world`) has linear rewards, so that the accuracy of a
reward model is exact. A score takes --score-time of a pair's time, a ranking of 4
--ranking-time. Reward models are fitted by this library's losses: squared error of raw
and of normalized scores, Bradley-Terry of pairs, Plackett-Luce of rankings.

Takes half a minute on two CPU cores. Writes OUT/report.html,
numbers.json and accuracy.png.

Seen with 40 seeds at a time of 400 pairs: raw scores 0.920, normalized 0.929, pairs
0.905, rankings of 4 0.934 (each ± 0.004). With scales 3 points apart (of 7) raw scores
fall to 0.867 and normalized ones to 0.917; with a drift of 3 points both fall to 0.870.
So scores are cheap and good where a scale is steady, which a study must show first.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import losses, streams
from jaxalign.evaluation import line_plots, linear_world
from jaxalign.evaluation.intervals import Gain, Interval, bootstrap
from jaxalign.evaluation.line_plots import Panel
from jaxalign.evaluation.page import Page, Section
from jaxalign.runtime import distributed, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun

PRIOR_SD = 1.0  # of a weight; the same for all ways
TEXT = (
    "Accuracy: how often the reward model orders two new answers as the true reward "
    "does, exact in this world. Time is in pairs: what one comparison of two answers "
    "takes. Intervals are of 95 % over seeds, each with a world and people of its own; "
    "the last columns are differences to pairs, ▲ where they are above 0."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """Scores, pairs and rankings at equal time of annotators."""

    RANGES: ClassVar = {
        **flags.ranges_of(flags.COUNT, "features budgets"),
        **flags.ranges_of(flags.POSITIVE, "score_time ranking_time spread"),
        **flags.ranges_of(flags.NOT_NEGATIVE, "offset_sd gain_sd drift_sd shifts"),
    }
    seeds: int = 40
    """Number of worlds, of seeds --seed, --seed + 1, ..."""
    smoke: bool = False
    """Two small budgets and two seeds, to see that it runs."""
    quick: bool = False
    """Eight seeds."""
    budgets: tuple[int, ...] = (100, 200, 400, 800, 1600)
    """Time of all annotators together, in pairs."""
    features: int = 24
    """Of an answer."""
    spread: float = 1.5
    """Standard deviation of the reward, where the noise of a look has 1.28."""
    annotators: int = 20
    """People."""
    offset_sd: float = 1.0
    """Standard deviation over people of where their scale lies, in points of 7."""
    gain_sd: float = 0.4
    """Standard deviation over people of the logarithm of points per unit of reward."""
    drift_sd: float = 1.0
    """Standard deviation from score to score of where one person's scale lies, in
    points: it cancels where two answers are compared."""
    shifts: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)
    """The --offset-sd and --drift-sd of the other plots, at the middle budget."""
    score_time: float = 0.6
    """Time of a score, in pairs."""
    ranking_time: float = 2.2
    """Time of a ranking of 4, in pairs."""


def main(config: Config) -> dict[str, Any]:
    """Fits reward models of all ways and budgets; returns accuracies by way.

    Raises:
      ValueError: a budget that gives no ranking.
    """
    config = smaller(config)
    if min(config.budgets) < config.ranking_time:
        raise ValueError(
            f"--budgets {min(config.budgets)} is less time than a ranking takes "
            f"(--ranking-time {config.ranking_time:g})"
        )
    with ReportRun(config, "scores_or_pairs") as run:
        middle = config.budgets[len(config.budgets) // 2]
        own = config.offset_sd, config.drift_sd
        by_budget = {n: accuracies(config, n, *own) for n in config.budgets}
        shifts = config.shifts
        by_offset = {x: accuracies(config, middle, x, own[1]) for x in shifts}
        by_drift = {x: accuracies(config, middle, own[0], x) for x in shifts}
        tables: dict[str, Any] = {
            "accuracy by time of annotators, in pairs": by_budget,
            f"by how far people's scales differ, in points, at {middle}": by_offset,
            f"by how far a person's scale drifts, in points, at {middle}": by_drift,
        }
        sections = [
            Section(title, TEXT if values is by_budget else "", table(values))
            for title, values in tables.items()
        ]
        run.write_json("accuracies.json", {k: table(v) for k, v in tables.items()})
        if distributed.is_first():
            sections += plots(run.folder, by_budget, by_offset, by_drift)
        command = config_command(config, "experiments.studies.scores_or_pairs")
        run.publish(Page("Scores or pairs", sections, command))
        last = by_budget[middle]
        return run.finish({f"{way} at {middle}": interval(last[way]) for way in WAYS})


def smaller(config: Config) -> Config:
    """The configuration of --smoke and --quick."""
    if config.smoke:
        return dataclasses.replace(
            config, seeds=2, budgets=(40, 80), features=4, shifts=(0.0, 1.0)
        )
    return (
        dataclasses.replace(config, seeds=min(config.seeds, 8))
        if config.quick
        else config
    )


def score_terms(weights: jax.Array, x: jax.Array, target: jax.Array) -> jax.Array:
    """Squared errors of scores."""
    return losses.reward_regression(x @ weights, target)


def pair_terms(weights: jax.Array, chosen: jax.Array, rejected: jax.Array) -> jax.Array:
    """Bradley-Terry's terms of pairs."""
    return losses.bradley_terry(chosen @ weights, rejected @ weights)


def ranking_terms(weights: jax.Array, ranked: jax.Array) -> jax.Array:
    """Plackett-Luce's terms of rankings, best first."""
    scores = ranked @ weights
    return losses.plackett_luce(scores, jnp.ones(scores.shape, bool))


class Study:
    """One seed: a world, its people, and what they are asked within a budget."""

    def __init__(
        self, config: Config, seed: int, offset_sd: float, drift_sd: float
    ) -> None:
        self.config, self.drift_sd = config, drift_sd
        self.rng = streams.generator(seed, "scores or pairs")
        self.truth = linear_world.make_weights(self.rng, config.features, config.spread)
        self.raters = linear_world.make_raters(
            self.rng, config.annotators, offset_sd=offset_sd, gain_sd=config.gain_sd
        )

    def answers(self, *shape: int) -> tuple[np.ndarray, np.ndarray]:
        """Features of new answers, and what a person sees of each."""
        x = self.rng.normal(size=(*shape, self.config.features))
        return x, linear_world.look(self.rng, x @ self.truth)

    def scores(self, budget: int, *, normalized: bool) -> np.ndarray:
        """Weights from scores of single answers, each by one person."""
        count = int(budget / self.config.score_time)
        x, seen = self.answers(count)
        who = self.rng.integers(0, self.config.annotators, count)
        drift = self.drift_sd * self.rng.normal(size=count)
        scores = linear_world.give_scores(self.raters, who, seen, drift)
        target = scores - scores.mean()
        if normalized:
            target = linear_world.normalize_by_rater(scores, who)
        return linear_world.fit_weights(
            score_terms, x, target, size=self.config.features, prior_sd=PRIOR_SD
        )

    def pairs(self, budget: int) -> np.ndarray:
        """Weights from pairs."""
        x, seen = self.answers(budget, 2)
        better = np.argmax(seen, axis=1)
        rows = np.arange(budget)
        chosen, rejected = x[rows, better], x[rows, 1 - better]
        return linear_world.fit_weights(
            pair_terms, chosen, rejected, size=self.config.features, prior_sd=PRIOR_SD
        )

    def rankings(self, budget: int) -> np.ndarray:
        """Weights from rankings of 4."""
        count = int(budget / self.config.ranking_time)
        x, seen = self.answers(count, 4)
        order = np.argsort(-seen, axis=1)
        ranked = np.take_along_axis(x, order[:, :, None], axis=1)
        return linear_world.fit_weights(
            ranking_terms, ranked, size=self.config.features, prior_sd=PRIOR_SD
        )


WAYS: dict[str, Callable[[Study, int], np.ndarray]] = {
    "raw scores": lambda study, budget: study.scores(budget, normalized=False),
    "normalized scores": lambda study, budget: study.scores(budget, normalized=True),
    "pairs": Study.pairs,
    "rankings of 4": Study.rankings,
}


def accuracies(
    config: Config, budget: int, offset_sd: float, drift_sd: float
) -> dict[str, np.ndarray]:
    """The exact accuracy of each way's reward model in each seed [S]."""
    found: dict[str, list[float]] = {way: [] for way in WAYS}
    for seed in range(config.seed, config.seed + config.seeds):
        for way, fit in WAYS.items():
            study = Study(config, seed, offset_sd, drift_sd)  # the same for all ways
            weights = fit(study, budget)
            found[way].append(linear_world.accuracy(weights, study.truth))
    return {way: np.array(values) for way, values in found.items()}


def interval(values: np.ndarray) -> Interval:
    """A mean over seeds with its interval."""
    return bootstrap(values, units="each")


def table(by_setting: Mapping[float, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """A row for each setting: accuracies, and differences to pairs."""
    rows = []
    for setting, values in by_setting.items():
        row: dict[str, Any] = {"": f"{setting:g}"}
        row |= {way: interval(values[way]) for way in WAYS}
        for way in ("raw scores", "normalized scores", "rankings of 4"):
            difference = interval(values[way] - values["pairs"])
            row[f"{way} - pairs"] = Gain(*difference)
        rows.append(row)
    return rows


ACCURACY = "accuracy"


def plots(folder: Path, by_budget: Any, by_offset: Any, by_drift: Any) -> list[Section]:
    """The plots of accuracy along time, and along what people do with a scale."""
    time = line_plots.plot_lines(
        folder / "accuracy.png",
        [
            Panel(
                "by annotators' time",
                "time, in pairs",
                ACCURACY,
                lines(by_budget),
                "log",
            )
        ],
    )
    label = "standard deviation, in points of 7"
    panels = [
        Panel("by how far people's scales differ", label, ACCURACY, lines(by_offset)),
        Panel("by how far a person's scale drifts", label, ACCURACY, lines(by_drift)),
    ]
    scale = line_plots.plot_lines(folder / "scales.png", panels)
    return [Section("by time", image=time), Section("by scale", image=scale)]


def lines(by_setting: Mapping[float, dict[str, np.ndarray]]) -> dict[str, Any]:
    """The series of a plot: each way's accuracy along a setting."""
    return {
        way: [(float(x), interval(values[way])) for x, values in by_setting.items()]
        for way in WAYS
    }


if __name__ == "__main__":
    launch(main, Config)
