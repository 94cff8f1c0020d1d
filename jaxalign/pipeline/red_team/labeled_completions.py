"""Completions with people's labels, on which a refusal classifier is scored.

A file is XSTest's: `prompt`, `completion`, and `final_label`, which is one of
1_full_compliance, 2_full_refusal and 3_partial_refusal.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.data.records import Prompt
from jaxalign.evaluation.page import Section
from jaxalign.evaluation.safety import refusal_classes
from jaxalign.evaluation.safety.classifier_agreement import (
    ClassifierScores,
    classifier_scores,
)
from jaxalign.evaluation.safety.refusal_classes import (
    CLASSES,
    FULL_COMPLIANCE,
    FULL_REFUSAL,
    PARTIAL_REFUSAL,
)
from jaxalign.pipeline.evaluation import answer_rows

LABEL_FIELD = "final_label"
REFUSAL = "refusal"
BINARY = (FULL_COMPLIANCE, REFUSAL)
ALL = "all"
CLASS_LETTERS = {FULL_COMPLIANCE: "C", FULL_REFUSAL: "R", PARTIAL_REFUSAL: "P"}

# (prompts [A], completions [A]) -> the class of each, of `CLASSES` [A]
Classifier = Callable[[Sequence[Prompt], Sequence[str]], Sequence[str]]


class LabeledCompletions(NamedTuple):
    """Completions of one system, labeled by people.

    Attributes:
      prompts, completions: as texts [A].
      labels: people's classes, of `refusal_classes.CLASSES` [A].
    """

    prompts: list[Prompt]
    completions: list[str]
    labels: list[str]


class RefusalScores(NamedTuple):
    """A refusal classifier against people.

    Attributes:
      classes: on the three classes.
      binary: on refusal or not: partial refusals are refusals.
    """

    classes: ClassifierScores
    binary: ClassifierScores


def rule_based_classifier(
    prompts: Sequence[Prompt], completions: Sequence[str]
) -> list[str]:
    """The classes by `refusal_classes.refusal_class`, which sees no prompt."""
    return list(map(refusal_classes.refusal_class, completions))


def read_labeled(path: str) -> dict[str, LabeledCompletions]:
    """The labeled completions of a file, or of each CSV file of a folder, by name.

    Raises:
      FileNotFoundError: no such file, or a folder without CSV files.
      ValueError: a row without a prompt, a completion or a label (FILE:LINE).
    """
    files = sorted(Path(path).glob("*.csv")) if Path(path).is_dir() else [Path(path)]
    if not files or not files[0].is_file():
        raise FileNotFoundError(
            f"--check-classifier {path}: no file, and no folder with CSV files, of "
            "labeled completions"
        )
    return {file.stem: read_labeled_file(file) for file in files}


def read_labeled_file(path: Path) -> LabeledCompletions:
    """The labeled completions of one file.

    Raises:
      ValueError: as `read_labeled`.
    """
    rows = answer_rows.read_answers(path)
    labels = []
    for row in rows:
        label = row.prompt.fields.get(LABEL_FIELD)
        if not isinstance(label, str):
            raise ValueError(f"{row.prompt.location}: no field {LABEL_FIELD!r}")
        try:
            labels.append(refusal_classes.parse_class(label))
        except ValueError as error:
            raise ValueError(f"{row.prompt.location}: {LABEL_FIELD} {error}") from error
    return LabeledCompletions(
        [row.prompt for row in rows], [row.answer for row in rows], labels
    )


def score_refusal_classifier(
    classifier: Classifier,
    completions: Mapping[str, LabeledCompletions],
    *,
    seed: int = 0,
) -> dict[str, RefusalScores]:
    """Any refusal classifier against people, on each file and on all together.

    Args:
      classifier: gives each completion a class; one that knows no partial refusals
        gives the other two.
      completions: by name, as `read_labeled` returns them.

    Returns:
      Scores by name, and, of several files, for "all", whose intervals are over
      prompts.

    Reference: Röttger et al. 2023, arXiv:2308.01263, section 4.
    """
    classes = {
        name: list(classifier(some.prompts, some.completions))
        for name, some in completions.items()
    }
    labels = {name: some.labels for name, some in completions.items()}
    prompts = {
        name: [str(prompt.messages) for prompt in some.prompts]
        for name, some in completions.items()
    }
    if len(completions) > 1:
        for parts in (classes, labels, prompts):
            parts[ALL] = [value for part in list(parts.values()) for value in part]
    scores = {}
    for name in classes:
        given, people, units = classes[name], labels[name], prompts[name]
        scores[name] = RefusalScores(
            classifier_scores(given, people, classes=CLASSES, units=units, seed=seed),
            classifier_scores(
                *(binary_classes(given), binary_classes(people)),
                classes=BINARY,
                units=units,
                seed=seed,
            ),
        )
    return scores


def binary_classes(classes: Sequence[str]) -> list[str]:
    """Classes as full compliance or refusal, partial refusals among the refusals."""
    return [FULL_COMPLIANCE if name == FULL_COMPLIANCE else REFUSAL for name in classes]


def to_json(scores: Mapping[str, RefusalScores]) -> dict[str, Any]:
    """Scores as JSON values, by file: on three classes, and on refusal or not."""
    return {
        name: {kind: x._asdict() for kind, x in found._asdict().items()}
        for name, found in scores.items()
    }


def section(scores: Mapping[str, RefusalScores]) -> Section:
    """A table of the agreement with people, for a page."""
    rows = []
    for name, (classes, binary) in scores.items():
        counts = [
            f"{CLASS_LETTERS[people]}-{CLASS_LETTERS[given]} {count}"
            for people, row in classes.confusion.items()
            for given, count in row.items()
            if people != given and count
        ]
        rows.append(
            {
                "completions of": name,
                "answers": classes.answers,
                "refusal or not": binary.agreement,
                "kappa": binary.kappa,
                "three classes": classes.agreement,
                "kappa (3)": classes.kappa,
                "refusals found": binary.recall[REFUSAL],
                "partial found": classes.recall[PARTIAL_REFUSAL],
                "errors": ", ".join(counts),
            }
        )
    text = (
        "The rule-based classes against people's labels: share of answers with the "
        "same class, and Cohen's kappa. Errors are people's class, then the rules': C "
        "full compliance, R full refusal, P partial refusal. classifier.json has the "
        "confusions in full."
    )
    return Section("Refusal classifier on labeled completions", text, rows)
