"""The next pair: does it pay to ask about the pair that tells most?

Claim: hardly. At equal labels, pairs that are chosen by expected information or by the
disagreement of an ensemble make a reward model at most a point better than random ones.
A mean over the labels of chosen pairs is wrong about all pairs by five points, unless
each is weighed by its probability, which costs precision.

    python -m experiments.studies.next_pair
    python -m experiments.studies.next_pair --quick

The world (`evaluation/linear_world`) has linear rewards, so that accuracy is exact. A
pool of pairs is judged one after the other, each once, as a study's queue does it
(`evaluation/pair_choice`): in proportion to the score, but for a random share. The
ensemble are draws from the posterior. After every --refit labels the reward model, the
posterior's mean, and the scores are renewed.

Takes a quarter of a minute on two CPU cores. Writes OUT/report.html, numbers.json and
accuracy.png.

Seen with 100 seeds: accuracy at 200 labels 0.866 at random, +0.010 ± 0.006 by
information, +0.006 ± 0.006 by disagreement; at 50 and at 100 labels no difference.
Means of the chosen pairs are off by -0.056 and -0.044, and with weights by 0.002 and
0.004 (± 0.007), at an RMS error of 0.037 against 0.021 of random choice.
"""

import dataclasses
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from jaxalign import streams
from jaxalign.evaluation import line_plots, linear_world, pair_choice
from jaxalign.evaluation.intervals import Gain, bootstrap
from jaxalign.evaluation.line_plots import Panel
from jaxalign.evaluation.page import Page, Section
from jaxalign.runtime import distributed, flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun

Rule = Literal["random", "information", "disagreement"]
RULES: tuple[Rule, ...] = ("random", "information", "disagreement")
PRIOR_SD = 1.0
MEMBERS = 8  # of the ensemble
TEXT = (
    "Accuracy: how often the reward model orders two new answers as the true reward "
    "does, exact in this world. Intervals are of 95 % over seeds, each with a world of "
    "its own; the last columns are differences to random choice at equal labels."
)
MEAN_TEXT = (
    "How often the first model of each world, made of the first labels, agrees with "
    "the label of a pair: its mean over the judged pairs, less that over all pairs of "
    "the pool. With the weights the mean error is 0 but for chance."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(ReportConfig):
    """Random and active choice of the next pair at equal labels."""

    RANGES: ClassVar = {
        **flags.ranges_of(flags.COUNT, "features pool refit labels"),
        "spread": flags.POSITIVE,
        "random_share": flags.Range(0, 1, above=True),
    }
    seeds: int = 100
    """Number of worlds, of seeds --seed, --seed + 1, ..."""
    smoke: bool = False
    """Two seeds and few labels, to see that it runs."""
    quick: bool = False
    """Ten seeds."""
    features: int = 24
    """Of an answer."""
    spread: float = 1.5
    """Standard deviation of the reward, where a label's noise has 1.8."""
    pool: int = 1000
    """Pairs that may be judged."""
    labels: tuple[int, ...] = (50, 100, 200, 400)
    """Labels at which accuracy is measured."""
    refit: int = 25
    """Labels after which the reward model is fitted again."""
    random_share: float = 0.2
    """Share of random choices."""


class Outcome(NamedTuple):
    """A rule's run in one world.

    Attributes:
      accuracy: at each number of labels.
      plain, weighted: errors of the mean over judged pairs, without and with weights.
    """

    accuracy: list[float]
    plain: float
    weighted: float


def main(config: Config) -> dict[str, Any]:
    """Judges pools by every rule; returns the last accuracies by rule."""
    if config.smoke:
        config = dataclasses.replace(config, seeds=2, pool=60, labels=(25, 50))
    if config.quick:
        config = dataclasses.replace(config, seeds=min(config.seeds, 10))
    if config.pool < max(config.labels):
        raise ValueError(
            f"--pool {config.pool} has fewer pairs than --labels {max(config.labels)}"
        )
    with ReportRun(config, "next_pair") as run:
        seeds = range(config.seed, config.seed + config.seeds)
        outcomes = {
            rule: [judge_pool(config, s, rule) for s in seeds] for rule in RULES
        }
        accuracy = {
            rule: np.array([one.accuracy for one in runs])
            for rule, runs in outcomes.items()
        }
        rows = accuracy_rows(config, accuracy)
        means = [mean_row(rule, outcomes[rule]) for rule in RULES]
        run.write_json("accuracies.json", {"accuracy": rows, "means": means})
        sections = [
            Section("accuracy at equal labels", TEXT, rows),
            Section("means over judged pairs", MEAN_TEXT, means),
        ]
        if distributed.is_first():
            series: dict[str, Any] = {
                rule: [
                    (float(n), bootstrap(accuracy[rule][:, i], units="each"))
                    for i, n in enumerate(config.labels)
                ]
                for rule in RULES
            }
            image = line_plots.plot_lines(
                run.folder / "accuracy.png",
                [Panel("accuracy by labels", "labels", "accuracy", series, "log")],
            )
            sections.append(Section("by labels", image=image))
        command = config_command(config, "experiments.studies.next_pair")
        run.publish(Page("The next pair", sections, command))
        last = {r: bootstrap(accuracy[r][:, -1], units="each") for r in RULES}
        return run.finish({f"{r} at {config.labels[-1]}": last[r] for r in RULES})


def judge_pool(config: Config, seed: int, rule: Rule) -> Outcome:
    """Judges pairs of one world by a rule; the worlds of all rules are the same."""
    rng = streams.generator(seed, "next pair")
    truth = linear_world.make_weights(rng, config.features, config.spread)
    x = rng.normal(size=(config.pool, 2, config.features))
    first_better = np.diff(linear_world.look(rng, x @ truth), axis=1)[:, 0] < 0
    difference = x[:, 0] - x[:, 1]
    choices = streams.generator(seed, f"next pair {rule}")
    judged: list[int] = []
    probability: list[float] = []
    accuracies: list[float] = []
    agrees = np.zeros(config.pool)
    score: np.ndarray | None = None
    open_pairs = np.ones(config.pool, bool)
    for count in range(1, max(config.labels) + 1):
        choice = pair_choice.choose_pair(
            score, open_pairs, choices, random_share=config.random_share
        )
        judged.append(choice.pair)
        probability.append(choice.probability)
        open_pairs[choice.pair] = False
        if count % config.refit and count not in config.labels:
            continue
        outcome = first_better[judged].astype(float)
        mean, covariance = pair_choice.score_posterior(
            difference[judged], outcome, prior_sd=PRIOR_SD
        )
        if score is None and not agrees.any():
            agrees = ((difference @ mean > 0) == first_better).astype(float)
        score = pair_scores(rule, difference, mean, covariance, choices)
        if count in config.labels:
            accuracies.append(linear_world.accuracy(mean, truth))
    later = judged[config.refit :]  # the first labels made the model that is measured
    rest = np.setdiff1d(np.arange(config.pool), judged[: config.refit])
    weights = pair_choice.leveled_weights(
        np.array(probability[config.refit :]), len(rest)
    )
    target = agrees[rest].mean()
    plain = agrees[later].mean() - target
    return Outcome(accuracies, plain, float(np.mean(weights * agrees[later]) - target))


def pair_scores(
    rule: Rule,
    difference: np.ndarray,
    mean: np.ndarray,
    covariance: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray | None:
    """How much a label of each pair would tell, by a rule [N]; None of random."""
    if rule == "information":
        return pair_choice.expected_information(difference, mean, covariance)
    if rule == "disagreement":
        members = rng.multivariate_normal(mean, covariance, MEMBERS)
        return pair_choice.ensemble_disagreement(members @ difference.T)
    return None


def accuracy_rows(
    config: Config, accuracy: dict[Rule, np.ndarray]
) -> list[dict[str, Any]]:
    """A row for each number of labels: accuracies, and differences to random."""
    rows = []
    for i, n in enumerate(config.labels):
        row: dict[str, Any] = {"labels": n}
        row |= {r: bootstrap(accuracy[r][:, i], units="each") for r in RULES}
        for rule in RULES[1:]:
            gain = accuracy[rule][:, i] - accuracy["random"][:, i]
            row[f"{rule} - random"] = Gain(*bootstrap(gain, units="each"))
        rows.append(row)
    return rows


def mean_row(rule: str, runs: list[Outcome]) -> dict[str, Any]:
    """Mean errors over seeds, without and with weights, and the weights' price."""
    plain = np.array([one.plain for one in runs])
    weighted = np.array([one.weighted for one in runs])
    return {
        "choice": rule,
        "plain mean": Gain(*bootstrap(plain, units="each")),
        "weighted mean": Gain(*bootstrap(weighted, units="each")),
        "RMS error, plain": float(np.sqrt(np.mean(plain**2))),
        "RMS error, weighted": float(np.sqrt(np.mean(weighted**2))),
    }


if __name__ == "__main__":
    launch(main, Config)
