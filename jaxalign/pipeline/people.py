"""Pairs of sampled answers that people label: into a study, and back as rows.

The study is the folder that `experiments.annotate` serves; a page that is open shows
new pairs by itself. Items are named by their texts, so that a run that is stopped while
it waits adds nothing twice, and finds the labels that were given meanwhile.
"""

import dataclasses
import hashlib
import itertools
import json
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxalign.evaluation.agreement import label_ceiling
from jaxalign.feedback import store
from jaxalign.feedback.export import export_rows
from jaxalign.feedback.judgements import Item, signed_strength
from jaxalign.feedback.settings import Settings
from jaxalign.pipeline.answer_sources import SourcedAnswers, row_fields

POLL = 1.0  # s between looks at the study
REPORT = 30.0  # s between reports on it, at least


def pair_items(answers: SourcedAnswers) -> list[Item]:
    """Items of two consecutive different answers to a prompt, each answer once.

    Empty answers and repetitions of an answer are left out.
    """
    items = []
    rows = range(len(answers.texts))
    for _, group in itertools.groupby(rows, key=lambda i: id(answers.prompts[i])):
        texts: dict[str, int] = {}
        for row in group:
            if answers.texts[row]:
                texts.setdefault(answers.texts[row], row)
        places = list(texts.values())
        for first, second in zip(places[::2], places[1::2], strict=False):
            items.append(make_item(answers, first, second))
    return items


def make_item(answers: SourcedAnswers, first: int, second: int) -> Item:
    """The item of the answers in two rows."""
    fields = row_fields(answers.prompts[first])
    prompt = fields.pop("prompt")
    both = answers.texts[first], answers.texts[second]
    text = json.dumps([prompt, *both], sort_keys=True)
    name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    sources = [answers.sources[first], answers.sources[second]]
    return Item(name, "pair", prompt, both, fields | {"source": sources})


def ask(folder: Path, items: Sequence[Item], *, round: int) -> int:
    """Adds the items that are new to a study, which begins where there is none.

    Returns:
      The number of new items.

    Raises:
      ValueError: the study is not one of pairs.
    """
    create = None
    if store.is_study(folder):
        kind = store.settings(folder).get("kind", "pairwise")
        if kind != "pairwise":
            raise ValueError(
                f"--study {folder} is a study of kind {kind}; the pairs of sampled "
                "answers need one of kind pairwise, or a new folder"
            )
    else:
        create = Settings().to_json()
    with store.Store(folder, create=create) as study:
        return study.add_items(items, round=round)


def count_done(folder: Path, names: Collection[str], labels: int) -> int:
    """How many items that many people have judged or skipped."""
    people: dict[str, set[str]] = {name: set() for name in names}
    for judgement in store.judgements(folder):
        if judgement.item in people:
            people[judgement.item].add(judgement.annotator)
    return sum(len(who) >= labels for who in people.values())


def wait_for_labels(
    folder: Path,
    names: Collection[str],
    *,
    labels: int,
    report: Callable[[str], None],
    poll: float = POLL,
) -> None:
    """Returns once so many people have judged or skipped each item.

    Args:
      names: of the items.
      labels: people an item.
      report: shows how many are done, when it begins and now and then.
      poll: seconds between looks at the study.
    """
    reported, shown = -1, 0.0
    while (done := count_done(folder, names, labels)) < len(names):
        if done != reported and time.monotonic() - shown >= REPORT * (reported >= 0):
            each = "a label" if labels == 1 else f"labels of {labels} people"
            overlap = "" if labels == 1 else f" --overlap {labels}"
            report(
                f"{done} of {len(names)} pairs have {each}; the page: python -m "
                f"experiments.annotate --out {folder}{overlap}"
            )
            reported, shown = done, time.monotonic()
        time.sleep(poll)


def labeled_pairs(
    folder: Path, names: Collection[str]
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The rows of items, one for each judgement of a preference, and their numbers.

    Ties, skips and pairs of bad answers are no rows, and are counted. Where pairs have
    two labels or more, the best accuracy that a reward model can reach is estimated.
    """
    wanted = set(names)
    items = {k: v for k, v in store.items(folder).items() if k in wanted}
    said = [j for j in store.judgements(folder) if j.item in items]
    export = export_rows(items, said)
    pairs = export.rows["pairs"]
    people = {judgement.annotator for judgement in said}
    numbers = {"pairs": len(pairs), "items": len(items), "people": len(people)}
    if undecided := len(said) - len(pairs):
        numbers["undecided"] = undecided
    place = {name: i for i, name in enumerate(items)}
    counts = np.zeros((len(items), 2))
    for judgement in said:
        if not judgement.repeat and (strength := signed_strength(judgement)):
            counts[place[judgement.item], int(strength < 0)] += 1
    found: dict[str, float] = dict(numbers)
    if (counts.sum(axis=1) > 1).any():
        found["best_accuracy"] = label_ceiling.label_ceiling(counts).estimate.mean
    return pairs, found


def configure_collect(config: Any) -> Any:
    """The configuration of rounds with --label and --study given to `collect`.

    The study begins, where there is none, so that its page may be opened at once.

    Raises:
      ValueError: flags that do not fit together.
    """
    if (config.study is None) == (config.label == "people"):
        raise ValueError("--label people and --study FOLDER go together")
    if config.label == "people" and config.select_by == "reward":
        raise ValueError(
            "--label people trains a reward model on what they say: leave --select-by "
            "reward out"
        )
    if config.study is not None:
        ask(config.study, [], round=0)
    collect = dataclasses.replace(
        config.collect, label=config.label, study=config.study
    )
    return dataclasses.replace(config, collect=collect)
