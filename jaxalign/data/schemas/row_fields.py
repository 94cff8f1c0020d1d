"""What a whole row says beside its answers: a system prompt, tools, other fields.

system, system_prompt, system_message, system_instruction   begin the conversation
tools, functions                                            are declared by the template
whatever no reader used                                     is kept in `record.fields`

Refused by name are media, a row's weight that is not 1, masks of tokens, settings of
the chat template that differ by row, and scores or ratings that are no finite numbers.
"""

import functools
import re
from typing import Any

from jaxalign.data.records import Demonstration, Prompt, Tools
from jaxalign.data.schemas import tools
from jaxalign.data.schemas.checks import (
    MalformedRow,
    Row,
    UnsupportedField,
    is_empty,
    is_number,
    parse_bool,
    preview,
    refuse_fields,
    require_text,
)
from jaxalign.data.schemas.conversations import add_system
from jaxalign.data.schemas.messages import MEDIA_FIELDS, parse_message

SYSTEM_FIELDS = ("system", "system_prompt", "system_message", "system_instruction")
TOOL_FIELDS = ("tools", "functions")
WEIGHT_FIELDS = ("weight", "loss_weight", "sample_weight", "train", "mask")
TOKEN_FIELDS = ("loss_mask", "completion_mask", "assistant_masks", "input_ids")
TEMPLATE_FIELDS = ("chat_template", "chat_template_kwargs", "documents", "suffix")
THINKING_FIELDS = ("enable_thinking",)
CHECKED_FIELDS = {
    *MEDIA_FIELDS,
    *WEIGHT_FIELDS,
    *TOKEN_FIELDS,
    *TEMPLATE_FIELDS,
    *THINKING_FIELDS,
}
# whole answers, which are no row's other fields though one kind does not read them
PAIR_FIELDS = {"chosen", "rejected", "chosen_messages", "rejected_messages"}
SCORE_NAME = re.compile("score|rating|label|margin|reward|rank|helpfulness")


def check_row_fields(row: Row) -> None:
    """Refuses fields that would change what is trained and cannot be honoured.

    Raises:
      Refused: names the field.
      Malformed: a score or a rating that is no finite number.
    """
    if not CHECKED_FIELDS.isdisjoint(row):
        refuse_unsupported_fields(row)
    for name, value in row.items():
        if type(value) in (float, int, list) and is_score_field(name):
            values = value if isinstance(value, list) else [value]
            for bad in filter(is_invalid_number, values):
                raise MalformedRow(
                    f"field {name!r} should be a number, not {preview(bad)}"
                )


def refuse_unsupported_fields(row: Row) -> None:
    """Refuses the fields whose names say that they cannot be honoured."""
    at = "field "
    refuse_fields(row, MEDIA_FIELDS, at, "holds media, and only texts can be read")
    refuse_fields(
        row, TOKEN_FIELDS, at, "holds tokens or their masks; rows are texts here"
    )
    refuse_fields(
        row, TEMPLATE_FIELDS, at, "changes the text of this row alone, which cannot be"
    )
    for name in THINKING_FIELDS:
        if row.peek(name) is not None:
            raise UnsupportedField(name, f"field {name!r} cannot differ by row")
    for name in WEIGHT_FIELDS:
        weight = row.peek(name)
        if weight is not None and parse_bool(weight) is not True:
            raise UnsupportedField(
                name,
                f"field {name!r} should be 1, not {preview(weight)}: rows have no "
                "weights; leave rows out, or repeat them",
            )


@functools.cache
def is_score_field(name: str) -> bool:
    """Whether a field of this name holds scores, ratings or labels."""
    return SCORE_NAME.search(name) is not None


def is_invalid_number(value: Any) -> bool:
    """Whether a value is NaN, infinite, or out of float32's range."""
    return type(value) in (int, float) and not is_number(value)


def system_prompt(row: Row) -> tuple[str, str]:
    """The system prompt of a row's own field, and the field's name.

    Raises:
      Refused: two fields that differ.
    """
    told = {name: row[name] for name in SYSTEM_FIELDS if name in row}
    if not told:
        return "", ""
    found = {k: parse_system_text(v, k) for k, v in told.items() if not is_empty(v)}
    if len({text.strip() for text in found.values()}) > 1:
        names = " and ".join(map(repr, found))
        raise UnsupportedField(next(iter(found)), f"fields {names} differ: keep one")
    return next(
        ((text, name) for name, text in found.items() if text.strip()), ("", "")
    )


def parse_system_text(value: Any, field: str) -> str:
    """The text of a system field, which may be a message, or a list of one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = parse_message(value, f"field {field!r}:", "system")["content"]
    return require_text(value, field)


def declared_tools(row: Row) -> Tools:
    """The tools that a row declares.

    Raises:
      Refused: two fields that differ.
    """
    told = {name: row[name] for name in TOOL_FIELDS if name in row}
    if not told:
        return ()
    found = {k: tools.parse_tools(v, k) for k, v in told.items() if not is_empty(v)}
    if len(found) > 1 and found["tools"] != found["functions"]:
        raise UnsupportedField(
            "functions", "fields 'tools' and 'functions' differ: keep one"
        )
    return next(iter(found.values()), ())


def add_row_fields(
    record: Any, row: Row, system: tuple[str, str], declared: Tools
) -> Any:
    """A record with what its whole row says.

    Raises:
      Refused: a system prompt or tools beside a plain text.
    """
    others = {k: v for k, v in row.unread().items() if k not in PAIR_FIELDS}
    told: dict[str, Any] = {"tools": declared, "fields": {**record.fields, **others}}
    text, field = system
    if isinstance(record, Demonstration) and record.plain:
        if text or declared:
            raise UnsupportedField(
                field or "tools",
                f"field {field or 'tools'!r} cannot be honoured beside a plain 'text'",
            )
    elif text:
        where = "messages" if isinstance(record, Prompt | Demonstration) else "prompt"
        told[where] = add_system(getattr(record, where), text, field)
    # as `dataclasses.replace`, which would take longer than to read the row
    return type(record)(**(vars(record) | told))
