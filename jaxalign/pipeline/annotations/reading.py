"""Annotations: labels of items by annotators, read from files in any layout."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxalign.data.formats import files
from jaxalign.evaluation.agreement.coefficients import Level, label_counts
from jaxalign.feedback import store
from jaxalign.pipeline.annotations.layouts import Fields, RawLabel, detect_layout
from jaxalign.pipeline.annotations.scale import (
    PANDALM,
    Scale,
    clean_label,
    label_name,
    make_scale,
)
from jaxalign.pipeline.annotations.study_labels import study_labels


class Annotations(NamedTuple):
    """Labels of items by annotators.

    Attributes:
      scale: of the labels.
      items, annotators: names; no annotators where rows have lists of labels.
      item, annotator, label: indices of each annotation [R]; annotator -1 where
        unknown.
      groups: the group of each item, such as its prompt; empty for none [U].
      sides: the two compared answers of each item, where known [U].
      missing: labels that are missing.
      repeats: for each second label of an item by one annotator, whether it is the
        first one; these are not among the annotations.
      layout: a sentence that says how the files were read.
      rows: the first row of each item [U].
    """

    scale: Scale
    items: list[str]
    annotators: list[str]
    item: np.ndarray
    annotator: np.ndarray
    label: np.ndarray
    groups: list[str]
    sides: list[tuple[str, str] | None]
    missing: int
    repeats: list[bool]
    layout: str
    rows: list[Mapping[str, Any]]

    def counts(self) -> np.ndarray:
        """How many annotators gave each label to each item [U K]."""
        shape = len(self.items), len(self.scale.names)
        return label_counts(self.item, self.label, shape=shape)

    def matrix(self) -> np.ndarray:
        """The index of each annotator's label of each item, NaN where missing [U A]."""
        matrix = np.full((len(self.items), len(self.annotators)), np.nan)
        known = self.annotator >= 0
        matrix[self.item[known], self.annotator[known]] = self.label[known]
        return matrix


def read_annotations(
    paths: Sequence[str],
    fields: Fields,
    *,
    level: Level | Literal["auto"] = "auto",
    order: Sequence[str] = (),
    missing: Sequence[str] = (),
) -> Annotations:
    """Reads the annotations of one or several files or folders.

    Args:
      level: of the labels; auto goes by what they are.
      order: the labels from lowest to highest, of labels that are words.
      missing: words that stand for a missing label.

    Raises:
      OSError: no such file.
      ValueError: a row is malformed, a field is not there, or labels are no basis for
        agreement; one sentence that names the file and line.
    """
    name = files.describe_paths(list(paths))
    raw: list[RawLabel] = []
    absent, text, known = 0, "", frozenset[str]()
    empty = {word.casefold() for word in missing}
    for labels, layout, fields_of_row in read_labels(paths, fields):
        text, known = layout, fields_of_row
        for one in labels:
            blank = one.label is None or str(one.label).strip().casefold() in empty
            absent += blank or one.label == ""
            if not blank and one.label != "":
                raw.append(one)
    if not raw:
        raise ValueError(f"{name} holds no labels")
    values = [clean_label(one) for one in raw]
    scale = make_scale(raw, values, level, order, PANDALM <= known)
    return index_annotations(name, raw, values, scale, absent, text)


def read_labels(
    paths: Sequence[str], fields: Fields
) -> Iterator[tuple[list[RawLabel], str, frozenset[str]]]:
    """The labels of each row, the sentence of the layout, and the file's fields.

    The layout of a file is recognized by the fields of all its rows: an empty cell of a
    CSV file is no field of its row.
    """
    for study in filter(store.is_study, paths):
        labels, text = study_labels(study, fields)
        yield labels, text, frozenset()
    others = [path for path in paths if not store.is_study(path)]
    for path in files.list_all_files(others):
        rows: list[tuple[str, Mapping[str, Any]]] = []
        example: dict[str, Any] = {}
        for where, row in files.read_rows(path):
            if isinstance(row, Exception):
                raise ValueError(f"{where}: {row}")
            if not isinstance(row, Mapping):
                raise ValueError(f"{where}: the row is not an object with fields")
            rows.append((where, row))
            for name, value in row.items():
                if example.get(name) is None:
                    example[name] = value
        if rows:
            layout = detect_layout(example, path, fields)
            for where, row in rows:
                labels = [one._replace(row=row) for one in layout.read(where, row)]
                yield labels, layout.text, frozenset(example)


def index_annotations(
    name: str,
    raw: Sequence[RawLabel],
    values: Sequence[str | float],
    scale: Scale,
    missing: int,
    layout: str,
) -> Annotations:
    """Annotations by indices, without repeated labels.

    Raises:
      ValueError: there is one annotator only, all labels are equal, or no item has two.
    """
    code = {label: k for k, label in enumerate(scale.names)}
    items: dict[str, int] = {}
    annotators: dict[str, int] = {}
    seen: dict[tuple[int, int], int] = {}
    rows: list[tuple[int, int, int]] = []
    repeats: list[bool] = []
    groups: list[str] = []
    first_rows: list[Mapping[str, Any]] = []
    sides: list[tuple[str, str] | None] = []
    for one, value in zip(raw, values, strict=True):
        item = items.setdefault(one.item, len(items))
        if item == len(groups):
            groups.append(one.group)
            first_rows.append(one.row)
            sides.append(one.sides)
        label, annotator = code[label_name(value)], -1
        if one.sides != sides[item]:
            label = turned_label(one, label, sides[item], scale)
        if one.annotator is not None:
            annotator = annotators.setdefault(one.annotator, len(annotators))
            first = seen.setdefault((item, annotator), len(rows))
            if first < len(rows):
                repeats.append(rows[first][2] == label)
                continue
        rows.append((item, annotator, label))
    if len(annotators) == 1:
        raise ValueError(
            f"{name} has one annotator only, {next(iter(annotators))!r}; agreement "
            "needs two or more"
        )
    if len({label for _, _, label in rows}) == 1:
        only = scale.names[rows[0][2]]
        raise ValueError(
            f"{name}: all {len(rows)} labels are {only!r}, so that agreement "
            "by chance is certain and no coefficient is defined"
        )
    most = collections.Counter(item for item, _, _ in rows)
    if max(most.values()) < 2:
        raise ValueError(
            f"{name}: no item has two labels; agreement needs items that "
            "several annotators labeled"
        )
    item, annotator, label = np.array(rows).T
    return Annotations(
        scale,
        list(items),
        list(annotators),
        item,
        annotator,
        label,
        groups,
        sides,
        missing,
        repeats,
        layout,
        first_rows,
    )


def turned_label(
    raw: RawLabel, label: int, sides: tuple[str, str] | None, scale: Scale
) -> int:
    """The index of the label of an item whose answers were shown in the other order.

    Args:
      sides: the answers in the order in which the item was first shown.

    Raises:
      ValueError: they are other answers, or the label is not a vote.
    """
    swapped = raw.sides is not None and raw.sides[::-1] == sides
    if not swapped or not scale.votes:
        raise ValueError(
            f"{raw.location}: item {raw.item!r} compares {raw.sides}, and {sides} "
            "before; items need one pair of answers: name the item's fields in --item"
        )
    return len(scale.names) - 1 - label
