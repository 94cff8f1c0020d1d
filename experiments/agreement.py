"""Agreement of annotators, and the best accuracy that a model can have on their labels.

    python -m experiments.agreement --annotations votes.csv
    python -m experiments.agreement --annotations FILE --labels 'rater*' --level ordinal
    python -m experiments.agreement --annotations runs/judge_a,runs/judge_b

Reads CSV, JSON, JSON lines and the other formats of data, in these layouts, which are
recognized by the names of fields or named by flags:

    a row is a label        --item --annotator --label (id, worker, winner)
    a row is an item        --labels annotator1,annotator2 or 'human_score_*'
    a row has all votes     --labels votes: a list, or an object of counts
    judgements.jsonl        of `experiments.compare`: the judge is the annotator, and
                            several judges of the same pairs are compared

Labels are votes (left, tie, right), other words, or numbers, which are taken as an
ordinal scale; --level and --order say otherwise, and the report says what was taken.
Of an item that an annotator labels twice the first label counts, and how often the
second is equal is reported. An empty label is missing.

Reported, with 95 % intervals over items: Krippendorff's alpha, Fleiss' kappa, Gwet's
AC1; Cohen's kappa of every two annotators (of scales linear, quadratic, and Kendall's
tau-b); each annotator against the majority of the others; Kendall's W; the share of
triples of votes without a cycle; and the best accuracy that a reward model can have on
such labels, between bounds (`jaxalign.evaluation.agreement.label_ceiling`).

Writes OUT/agreement.json, report.md and report.html with a plot.
"""

import collections
import dataclasses
from typing import Any, ClassVar, Literal

import numpy as np

from jaxalign.evaluation import by_field, interval_plot
from jaxalign.evaluation.intervals import Interval
from jaxalign.evaluation.page import Page
from jaxalign.pipeline.annotations import agreement_numbers, agreement_report, split
from jaxalign.pipeline.annotations.layouts import Fields
from jaxalign.pipeline.annotations.reading import Annotations, read_annotations
from jaxalign.pipeline.evaluation import row_fields
from jaxalign.runtime import flags
from jaxalign.runtime.cli import launch
from jaxalign.runtime.command_lines import config_command
from jaxalign.runtime.report_config import ReportConfig
from jaxalign.runtime.report_run import ReportRun
from jaxalign.runtime.split_flags import SplitFlags


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(SplitFlags, ReportConfig):
    """Agreement of annotators, and the best accuracy on their labels."""

    RANGES: ClassVar = {"min_common": flags.FROM_2}
    annotations: str
    """Files or folders, with commas between them."""
    item: str | None = None
    """The field that names what was labeled, or several with commas between them."""
    annotator: str | None = None
    """The field that names the annotator, where a row is one label."""
    label: str | None = None
    """The field of the label, where a row is one label."""
    labels: str | None = None
    """The fields of the labels, where a row is one item: with commas between them, a
    pattern such as 'rater*', or one field with a list of labels or counts by label."""
    group: str | None = None
    """The field of the prompt, within which items are ranked and votes are compared."""
    level: Literal["auto", "nominal", "ordinal", "interval", "ratio"] = "auto"
    """How labels differ; auto: words by name, numbers by order."""
    order: str = ""
    """Labels that are words, from lowest to highest, with commas between them."""
    missing: str = ""
    """Words that stand for a missing label, with commas between them."""
    min_common: int = 10
    """Items that two annotators both labeled, below which the pair is left out."""


def main(config: Config) -> dict[str, Any]:
    """Reads annotations, measures their agreement, writes the report.

    Returns:
      The main numbers.

    Raises:
      OSError, ValueError: no such file, a malformed row, labels that are no basis for
        agreement.
    """
    annotations = read_annotations(
        split_names(config.annotations),
        Fields(
            config.item, config.annotator, config.label, config.labels, config.group
        ),
        level=config.level,
        order=split_names(config.order),
        missing=split_names(config.missing),
    )
    groups = split.item_groups(annotations, config.split_by)
    with ReportRun(config, "agreement") as run:
        run.note(f"{annotations.layout}; {annotations.scale.text}")
        found, reasons = agreement_numbers.coefficients(annotations, seed=config.seed)
        pairs, left_out = agreement_numbers.pair_rows(
            annotations, least=config.min_common, seed=config.seed
        )
        if left_out:
            run.note(
                f"{left_out} pairs of annotators have fewer than {config.min_common} "
                "common items (--min-common) and are left out"
            )
        annotators = agreement_numbers.annotator_rows(annotations, seed=config.seed)
        best, reward_model, no_best = agreement_numbers.best_accuracies(
            annotations, seed=config.seed
        )
        ranks, no_ranks = agreement_numbers.ranking_numbers(
            annotations, seed=config.seed
        )
        reasons |= no_best | no_ranks
        for name, reason in reasons.items():
            run.note(f"{name} is not reported: {reason}")
        facts = describe(annotations, config.seed)
        tables = split.split_tables(annotations, groups, seed=config.seed)
        numbers = {
            **facts,
            "coefficients": found,
            "rankings": ranks,
            "best_accuracy": best,
            "best_accuracy_of_a_reward_model": reward_model,
            "pairs": pairs,
            "each_annotator": annotators,
            "not_reported": reasons,
            "split": tables,
        }
        run.write_json("agreement.json", numbers)
        plot = interval_plot.plot_intervals(
            run.folder / "agreement.png",
            agreement_report.plot_lines(found, best),
            label="agreement, or accuracy, with 95 % interval over items",
        )
        sections = agreement_report.sections(numbers, plot)
        sections += row_fields.split_sections(tables)
        command = config_command(config, "experiments.agreement")
        run.publish(Page("Agreement of annotators", sections, command))
        main = main_numbers(facts, found, annotations, reward_model)
        return run.finish(main | by_field.named_numbers(tables))


def split_names(text: str) -> list[str]:
    """The parts of a flag with commas in it.

    >>> split_names("left, tie,right"), split_names("")
    (['left', 'tie', 'right'], [])
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def describe(annotations: Annotations, seed: int) -> dict[str, Any]:
    """Counts of items, annotators and labels, and how often repeated labels agree."""
    names = annotations.scale.names
    labels = np.bincount(annotations.label, minlength=len(names)).tolist()
    per_item = np.bincount(annotations.item)
    facts: dict[str, Any] = {
        "items": len(annotations.items),
        "annotators": len(annotations.annotators) or None,
        "annotations": len(annotations.label),
        "missing": annotations.missing,
        "labels": dict(zip(names, labels, strict=True)),
        "labels_per_item": {
            str(n): k for n, k in sorted(collections.Counter(per_item.tolist()).items())
        },
        "level": annotations.scale.level,
        "layout": annotations.layout,
        "scale": annotations.scale.text,
    }
    if annotations.repeats:
        repeats = np.array(annotations.repeats, np.float64)
        facts["repeated_labels"] = len(repeats)
        facts["repeated_labels_equal"] = agreement_numbers.mean_interval(
            repeats, seed, share=True
        )
    return facts


def main_numbers(
    facts: dict[str, Any],
    found: dict[str, Interval],
    annotations: Annotations,
    reward_model: Interval,
) -> dict[str, Any]:
    """The numbers of numbers.json; of ratings the best accuracy has a bound alone."""
    level = annotations.scale.level
    return {
        "items": facts["items"],
        "annotators": facts["annotators"],
        "annotations": facts["annotations"],
        "agreement": found["observed agreement"],
        f"alpha_{level}": found[f"Krippendorff's alpha, {level}"],
        "best_accuracy"
        if level == "nominal"
        else "best_accuracy_at_least": reward_model,
    }


if __name__ == "__main__":
    launch(main, Config)
