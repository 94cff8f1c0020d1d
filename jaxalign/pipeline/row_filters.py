"""Filters of rows: conditions such as `category=helpful` or `tokens(chosen)<=512`.

FIELD=VALUE, FIELD!=VALUE          equal, as text, number or true/false
FIELD<NUMBER, <=, >, >=            compared as numbers
FIELD~REGEX, FIELD!~REGEX          found somewhere in the field's text (Python's `re`)
chars(TEXT), words(TEXT), tokens(TEXT)
                                   a length, compared with a number; tokens are of the
                                   tokenizer of --model, without a chat template

TEXT, which a FIELD may be too: prompt (all messages before the answer), answer (each
answer of the row must fulfill the condition), an answer by its kind (chosen, rejected,
desirable, ...), all (prompt and answers). A FIELD is also margin, label_prob, label or
turns (number of messages of the prompt), or any other field of the row, inner ones as
`info.category`. A row without the field fulfills != and !~ alone.
"""

import dataclasses
import operator
import re
from collections.abc import Callable, Sequence
from typing import Any

from jaxalign import messages
from jaxalign.data import record_rows
from jaxalign.data.records import Preference, Record, Unpaired
from jaxalign.data.splits import prompt_messages

NEGATED = ("!=", "!~")
COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
FILTER = re.compile(
    r"(?P<subject>[^=<>~!]+?)\s*(?P<op><=|>=|!=|!~|=|<|>|~)(?P<value>.*)", re.DOTALL
)
LENGTH = re.compile(r"(?P<unit>chars|words|tokens)\((?P<text>[^()]+)\)")
EXAMPLES = "category=helpful, margin>=0.5, chars(chosen)<=2000 or source~^reddit"
TEXTS = ("prompt", "answer", "all")
PROPERTIES = ("margin", "label_prob", "label", "turns")


@dataclasses.dataclass(frozen=True)
class Filter:
    """A condition on rows.

    Attributes:
      source: as it was written.
      subject: the field, or the text whose length counts.
      unit: of a length: chars, words or tokens; else "".
      op: the comparison.
      value: what is compared with.
    """

    source: str
    subject: str
    unit: str
    op: str
    value: str


def parse_filter(source: str) -> Filter:
    """Parse a condition.

    Raises:
      ValueError: names the part at fault.

    >>> parse_filter("tokens(chosen) <= 512")  # doctest: +NORMALIZE_WHITESPACE
    Filter(source='tokens(chosen) <= 512', subject='chosen', unit='tokens', op='<=',
           value='512')
    """
    match = FILTER.fullmatch(source.strip())
    if match is None:
        raise ValueError(
            f"--filter {source!r} is no condition: expected such as {EXAMPLES}"
        )
    subject, op, value = match["subject"].strip(), match["op"], match["value"].strip()
    length = LENGTH.fullmatch(subject)
    if "(" in subject and length is None:
        raise ValueError(
            f"--filter {source!r}: {subject!r} is no length; expected chars(TEXT), "
            "words(TEXT) or tokens(TEXT), such as tokens(chosen)<=512"
        )
    if length is not None and op in ("~", "!~"):
        raise ValueError(f"--filter {source!r}: a length is a number, not a text")
    if op in COMPARISONS or length is not None:
        require_number(source, value)
    if op in ("~", "!~"):
        try:
            re.compile(value)
        except re.error as error:
            raise ValueError(
                f"--filter {source!r}: {value!r} is no regular expression ({error})"
            ) from error
    subject, unit = (length["text"], length["unit"]) if length else (subject, "")
    return Filter(source, subject, unit, op, value)


def require_number(source: str, value: str) -> float:
    """The number of a condition.

    Raises:
      ValueError: it is none.
    """
    try:
        return float(value)
    except ValueError as error:
        raise ValueError(
            f"--filter {source!r}: {value!r} is no number, which <, <=, > and >= and "
            "lengths are compared with"
        ) from error


def check_filters(
    filters: Sequence[Filter], records: Sequence[Record], *, has_tokenizer: bool
) -> None:
    """Refuses a condition on a field that no record has, and tokens without a model.

    Raises:
      ValueError: names the condition, and near names.
    """
    for condition in filters:
        if condition.unit == "tokens" and not has_tokenizer:
            raise ValueError(
                f"--filter {condition.source!r}: tokens are those of a tokenizer: name "
                "its folder with --model, or count chars or words"
            )
        if any(values_of(record, condition.subject) for record in records):
            continue
        texts = text_names(records)
        known = [*texts, *(n for n in field_names(records) if n not in texts)]
        raise ValueError(
            f"--filter {condition.source!r}: no row has {condition.subject!r}; "
            f"{messages.did_you_mean(condition.subject, known)}there are "
            f"{', '.join(known[:40])}"
        )


def text_names(records: Sequence[Record]) -> list[str]:
    """The names of the texts of records, of which lengths are taken."""
    kinds = {kind for record in records for kind, _ in record_rows.answer_texts(record)}
    return list(dict.fromkeys([*TEXTS, *sorted(kinds)]))


def field_names(records: Sequence[Record]) -> list[str]:
    """The names of properties and of fields of records, with one level inside them."""
    properties = [
        name
        for name in PROPERTIES
        if any(values_of(record, name) for record in records)
    ]
    outer = {name for record in records for name in record.fields}
    inner = {
        f"{name}.{key}"
        for record in records
        for name, value in record.fields.items()
        if isinstance(value, dict)
        for key in value
    }
    return [*properties, *sorted(outer | inner)]


def values_of(record: Record, name: str) -> list[Any]:
    """The values of a text, a property or a field of a record; none if it has none."""
    if name == "prompt":
        return [record_rows.prompt_text(record)]
    answers = record_rows.answer_texts(record)
    if name == "all":
        return [record_rows.joined_text(record)]
    texts = [text for kind, text in answers if name in ("answer", kind)]
    if texts or name == "answer":
        return texts
    if name == "turns":
        return [len(prompt_messages(record))]
    if name in ("margin", "label_prob") and isinstance(record, Preference):
        return [getattr(record, name)]
    if name == "label" and isinstance(record, Unpaired):
        return [record.desirable]
    return [v for v in [field_value(record, name)] if v is not None]


def field_value(record: Record, name: str) -> Any:
    """A field of a record's row, inner ones with dots; None if it has none."""
    value: Any = record.fields
    if name in value:
        return value[name]
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def fulfills(
    record: Record, condition: Filter, count_tokens: Callable[[str], int] | None = None
) -> bool:
    """Whether a record fulfills a condition.

    Args:
      count_tokens: number of tokens of a text, for lengths in tokens.

    Raises:
      ValueError: a field that is compared as a number is none; names the row.
    """
    values = values_of(record, condition.subject)
    if not values:
        return condition.op in NEGATED
    lengths = {"chars": len, "words": lambda text: len(text.split())}
    measure = lengths.get(condition.unit) or (condition.unit and count_tokens)
    if measure:
        values = [measure(as_text(value)) for value in values]
    return all(compare(record, condition, value) for value in values)


def compare(record: Record, condition: Filter, value: Any) -> bool:
    """Whether one value fulfills a condition; see `fulfills`."""
    op, expected = condition.op, condition.value
    if op in ("~", "!~"):
        is_found = re.search(expected, as_text(value)) is not None
        return is_found == (op == "~")
    if op in ("=", "!="):
        return is_equal(value, expected) == (op == "=")
    try:
        return COMPARISONS[op](float(value), float(expected))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{record.location}: --filter {condition.source!r} compares numbers, and "
            f"field {condition.subject!r} is {messages.shorten(repr(value))}"
        ) from error


def as_text(value: Any) -> str:
    """A value as text, true and false as JSON has them."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_equal(value: Any, expected: str) -> bool:
    """Whether a value is what a condition names.

    >>> is_equal(3, "3.0"), is_equal(True, "true"), is_equal("a", "b")
    (True, True, False)
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(expected) == value
        except ValueError:
            return False
    return as_text(value) == expected
