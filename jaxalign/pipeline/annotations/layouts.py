"""Layouts of annotation files: which field is the item, the annotator, the label.

long      a row is one label: item, annotator, label
wide      a row is one item, with a field for each annotator: annotator1, annotator2
votes     a row is one item, with a list of labels, or an object of counts by label
judged    a row is a judged pair of answers (`judgements.jsonl`): the judge is the
          annotator; a pair in the other order is turned
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from jaxalign.messages import shorten, unknown_name

ITEM = (
    "item item_id id idx pair_id example_id question_id task_id unit battle_id".split()
)
ANNOTATOR = (
    "annotator annotator_id worker worker_id rater rater_id labeler user user_id voter "
    "coder judge"
).split()
LABEL = (
    "label winner vote rating score choice preference verdict annotation strength"
).split()
VOTES = "votes labels annotations ratings".split()
GROUP = "prompt_id prompt question_id".split()
SIDES = (("left", "right"), ("model_a", "model_b"))
NUMBERED = re.compile(r"(.*?)[ _-]?\d+")
NUMBERED_WORDS = frozenset(ANNOTATOR + LABEL + ["human", "expert"])
JUDGED = frozenset(("model_a", "model_b", "winner", "judge"))
OTHER_SIDE = {"model_a": "model_b", "model_b": "model_a"}

Row = Mapping[str, Any]


class RawLabel(NamedTuple):
    """A label as it stands in a file.

    Attributes:
      location: file and line.
      item: what was labeled.
      annotator: by whom; None where a row has a list or counts of labels.
      label: as read.
      group: of the item, such as its prompt; empty for none.
      sides: the names of the two compared answers, where rows have them.
      row: the whole row.
    """

    location: str
    item: str
    annotator: str | None
    label: Any
    group: str
    sides: tuple[str, str] | None
    row: Row = {}


class Fields(NamedTuple):
    """Names of fields, as given by flags; None where they are to be detected.

    Attributes:
      item, group: one field, or several with commas between them.
      annotator, label: of the long layout.
      labels: of the wide layout, several with commas between them or a pattern with an
        asterisk; or the one field with a list, or counts, of labels.
    """

    item: str | None = None
    annotator: str | None = None
    label: str | None = None
    labels: str | None = None
    group: str | None = None


class Layout(NamedTuple):
    """How a file is read.

    Attributes:
      text: a sentence that says so.
      read: the labels of a row at a location.
    """

    text: str
    read: Callable[[str, Row], Iterable[RawLabel]]


def detect_layout(row: Row, where: str, fields: Fields) -> Layout:
    """The layout of a file, by flags or by its fields.

    Args:
      row: all fields of the file, each with a value.
      where: the file, for messages.

    Raises:
      ValueError: a named field is not there, or no layout is recognized.
    """
    known = list(row)
    for field in (fields.item, fields.annotator, fields.label, fields.group):
        for name in (field or "").split(","):
            if name and name not in known:
                raise unknown_field(name, known, where)
    if fields.labels is not None:
        return layout_of_labels(fields.labels, known, where, fields)
    long = fields.annotator or fields.label
    if not long and JUDGED <= set(known):
        return judged_layout(known, fields)
    annotator = fields.annotator or first_of(ANNOTATOR, known)
    label = fields.label or first_of(LABEL, known)
    item = fields.item or first_of([*ITEM, *GROUP], known)
    if annotator and label and item:
        fields = fields._replace(annotator=annotator, label=label, item=item)
        return long_layout(fields, known)
    numbered = numbered_fields(known)
    if not long and len(numbered) > 1:
        return wide_layout(numbered, known, fields)
    votes = first_of(VOTES, known)
    if not long and votes and isinstance(row[votes], list | Mapping):
        return votes_layout(votes, known, fields)
    lacking = " and ".join(
        flag
        for flag, name in (
            ("--item", item),
            ("--annotator", annotator),
            ("--label", label),
        )
        if not name
    )
    raise ValueError(
        f"{where}: cannot tell which fields are annotations; name {lacking} for rows "
        "of one label, or --labels for rows with a field for each annotator; fields "
        f"are {shorten(', '.join(known), 200)}"
    )


def layout_of_labels(
    labels: str, known: Sequence[str], where: str, fields: Fields
) -> Layout:
    """The wide layout, or that of votes, of the fields in --labels.

    Raises:
      ValueError: a field is not there, or a pattern matches none.
    """
    names: list[str] = []
    for part in labels.split(","):
        pattern = ".*".join(map(re.escape, part.split("*")))
        matches = [name for name in known if re.fullmatch(pattern, name)]
        if not matches:
            raise unknown_field(part, known, where)
        names += matches
    if len(names) == 1:
        return votes_layout(names[0], known, fields)
    return wide_layout(names, known, fields)


def unknown_field(name: str, known: Iterable[str], where: str) -> ValueError:
    """The error for a field that a file does not have, with the nearest ones."""
    return ValueError(f"{where}: {unknown_name('field', name, known)}")


def first_of(names: Iterable[str], known: Iterable[str]) -> str | None:
    """The first of some names that is known."""
    known = set(known)
    return next((name for name in names if name in known), None)


def numbered_fields(known: Sequence[str]) -> list[str]:
    """Fields such as annotator1, annotator2, or human_score_1, ...; the most alike.

    >>> numbered_fields(["id", "response1", "response2", "rater_1", "rater_2"])
    ['rater_1', 'rater_2']
    """
    groups: dict[str, list[str]] = {}
    for name in known:
        match = NUMBERED.fullmatch(name)
        if match and re.split(r"[ _-]", match[1].lower())[-1] in NUMBERED_WORDS:
            groups.setdefault(match[1], []).append(name)
    return max(groups.values(), key=len, default=[])


def group_of(fields: Fields, known: Sequence[str], item: str | None) -> str:
    """The fields that name an item's group; empty for none."""
    found = fields.group or first_of(GROUP, known) or ""
    return "" if found == item else found


def sides_of(row: Row, fields: tuple[str, str] | None) -> tuple[str, str] | None:
    """The names of the two compared answers of a row."""
    if fields is None or any(row.get(field) is None for field in fields):
        return None
    return str(row[fields[0]]), str(row[fields[1]])


def key_of(row: Row, fields: str, where: str) -> str:
    """The values of one or several fields of a row, as text.

    Raises:
      ValueError: one is missing.
    """
    values = []
    for field in fields.split(","):
        if row.get(field) is None:
            raise ValueError(f"{where}: field {field!r} is missing or empty")
        values.append(str(row[field]))
    return " | ".join(values)


def long_layout(fields: Fields, known: Sequence[str]) -> Layout:
    """Rows of one label each."""
    item, annotator, label = fields.item, fields.annotator, fields.label
    assert item and annotator and label
    group = group_of(fields, known, item)
    sides = next((pair for pair in SIDES if set(pair) <= set(known)), None)

    def read(where: str, row: Row) -> Iterator[RawLabel]:
        yield RawLabel(
            where,
            key_of(row, item, where),
            key_of(row, annotator, where),
            row.get(label),
            key_of(row, group, where) if group else "",
            sides_of(row, sides),
        )

    text = f"a row is a label: item {item}, annotator {annotator}, label {label}"
    return Layout(text, read)


def wide_layout(names: Sequence[str], known: Sequence[str], fields: Fields) -> Layout:
    """Rows of one item, with a field for each annotator."""
    group = group_of(fields, known, fields.item)

    def read(where: str, row: Row) -> Iterator[RawLabel]:
        item = key_of(row, fields.item, where) if fields.item else where
        of = key_of(row, group, where) if group else ""
        for name in names:
            yield RawLabel(where, item, name, row.get(name), of, None)

    return Layout(f"a row is an item; annotators are {', '.join(names)}", read)


def votes_layout(name: str, known: Sequence[str], fields: Fields) -> Layout:
    """Rows of one item, with a list of labels or an object of counts by label."""
    group = group_of(fields, known, fields.item)

    def read(where: str, row: Row) -> Iterator[RawLabel]:
        item = key_of(row, fields.item, where) if fields.item else where
        of = key_of(row, group, where) if group else ""
        for label in votes_of(row.get(name), name, where):
            yield RawLabel(where, item, None, label, of, None)

    return Layout(f"a row is an item; its labels are in {name}", read)


def votes_of(votes: Any, name: str, where: str) -> list[Any]:
    """The labels in a list, or in an object of counts; none where it is missing.

    >>> votes_of({"a": 2, "b": 1}, "votes", "rows.jsonl:1")
    ['a', 'a', 'b']
    """
    if isinstance(votes, Mapping):
        labels = []
        for label, number in votes.items():
            whole = isinstance(number, int) and not isinstance(number, bool)
            if not whole or not 0 <= number <= 1_000_000:
                raise ValueError(
                    f"{where}: field {name!r} has {number!r} votes for {label!r}; "
                    "expected a whole number, 0 or more"
                )
            labels += [label] * number
        return labels
    if votes is None or isinstance(votes, list):
        return votes or []
    raise ValueError(
        f"{where}: field {name!r} is {shorten(repr(votes))}; expected a list of labels "
        "or an object of counts (for one field by annotator, name several in --labels)"
    )


def judged_layout(known: Sequence[str], fields: Fields) -> Layout:
    """Judged pairs: the item is the prompt with the two models, in either order."""
    prompt = fields.item or first_of(GROUP, known)

    def read(where: str, row: Row) -> Iterator[RawLabel]:
        names = key_of(row, "model_a", where), key_of(row, "model_b", where)
        of = key_of(row, prompt, where) if prompt else ""
        winner, sides = row.get("winner"), names
        if names[0] > names[1]:
            sides = names[1], names[0]
            winner = OTHER_SIDE.get(str(winner), winner)
        item = " | ".join((of, *sides))
        yield RawLabel(where, item, key_of(row, "judge", where), winner, of, sides)

    text = "a row is a judged pair: annotator judge, label winner"
    return Layout(text, read)
