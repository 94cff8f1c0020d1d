"""Fields of a row besides its prompt and answers: system prompt, tools, metadata.

system, system_prompt, system_message, system_instruction   system prompt
tools, functions                                            tools of the chat template
unused fields                                               kept in `record.fields`

Refused with the field's name: media, row weights other than 1, token masks, chat
template settings of single rows, and scores or ratings that are not finite numbers.
"""

import functools
import re
from typing import Any

from jaxalign.data.records import Demonstration, Prompt, Tools
from jaxalign.data.row_errors import MalformedRow, UnsupportedField
from jaxalign.data.schemas import tools
from jaxalign.data.schemas.checks import (
    Row,
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
# answers are not metadata, even for a kind of record that does not read them
PAIR_FIELDS = {"chosen", "rejected", "chosen_messages", "rejected_messages"}
SCORE_NAME = re.compile("score|rating|label|margin|reward|rank|helpfulness")


def check_row_fields(row: Row) -> None:
    """Refuse fields that change what is trained on and are not supported.

    Raises:
      UnsupportedField: names the field.
      MalformedRow: a score or a rating that is not a finite number.
    """
    if not CHECKED_FIELDS.isdisjoint(row):
        refuse_unsupported_fields(row)
    for name, value in row.items():
        if type(value) in (float, int, list) and is_score_field(name):
            values = value if isinstance(value, list) else [value]
            for invalid in filter(is_invalid_number, values):
                raise MalformedRow(
                    f"field {name!r} is {preview(invalid)}; expected a finite number"
                )


def refuse_unsupported_fields(row: Row) -> None:
    """Refuse media, token masks, template settings and weights, by field name."""
    prefix = "field "
    refuse_fields(row, MEDIA_FIELDS, prefix, "holds media; only text can be read")
    refuse_fields(
        row, TOKEN_FIELDS, prefix, "holds token ids or token masks; expected text rows"
    )
    refuse_fields(
        row,
        TEMPLATE_FIELDS,
        prefix,
        "is a chat template setting, which cannot differ by row",
    )
    for name in THINKING_FIELDS:
        if row.peek(name) is not None:
            raise UnsupportedField(name, f"field {name!r} cannot differ by row")
    for name in WEIGHT_FIELDS:
        weight = row.peek(name)
        if weight is not None and parse_bool(weight) is not True:
            raise UnsupportedField(
                name,
                f"field {name!r} is {preview(weight)}; expected 1: weights of rows are "
                "not supported, remove or repeat rows",
            )


@functools.cache
def is_score_field(name: str) -> bool:
    """Whether a field name suggests scores, ratings or labels."""
    return SCORE_NAME.search(name) is not None


def is_invalid_number(value: Any) -> bool:
    """Whether a value is a number that is NaN, infinite or outside of float32."""
    return type(value) in (int, float) and not is_number(value)


def system_prompt(row: Row) -> tuple[str, str]:
    """System prompt of a separate field of the row, and the name of that field.

    Returns:
      Two empty strings if there is none.

    Raises:
      UnsupportedField: two fields with different system prompts.
    """
    values = {name: row[name] for name in SYSTEM_FIELDS if name in row}
    if not values:
        return "", ""
    texts = {k: parse_system_text(v, k) for k, v in values.items() if not is_empty(v)}
    if len({text.strip() for text in texts.values()}) > 1:
        names = " and ".join(map(repr, texts))
        raise UnsupportedField(next(iter(texts)), f"fields {names} differ; keep one")
    return next(
        ((text, name) for name, text in texts.items() if text.strip()), ("", "")
    )


def parse_system_text(value: Any, field: str) -> str:
    """Parse a system prompt: a text, a message, or a list of one message."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, dict):
        value = parse_message(value, f"field {field!r}:", "system")["content"]
    return require_text(value, field)


def declared_tools(row: Row) -> Tools:
    """Tools that a row declares.

    Raises:
      UnsupportedField: two fields with different tools.
    """
    values = {name: row[name] for name in TOOL_FIELDS if name in row}
    if not values:
        return ()
    parsed = {k: tools.parse_tools(v, k) for k, v in values.items() if not is_empty(v)}
    if len(parsed) > 1 and parsed["tools"] != parsed["functions"]:
        raise UnsupportedField(
            "functions", "fields 'tools' and 'functions' differ; keep one"
        )
    return next(iter(parsed.values()), ())


def add_row_fields(
    record: Any, row: Row, system: tuple[str, str], declared: Tools
) -> Any:
    """Add the system prompt, the tools and the metadata of its row to a record.

    Args:
      system: the system prompt and the name of its field.
      declared: the tools.

    Raises:
      UnsupportedField: a system prompt or tools beside a plain text.
    """
    metadata = {k: v for k, v in row.unread().items() if k not in PAIR_FIELDS}
    fields = {**record.fields, **metadata}
    changes: dict[str, Any] = {"tools": declared, "fields": fields}
    text, field = system
    if isinstance(record, Demonstration) and record.plain:
        if text or declared:
            name = field or "tools"
            raise UnsupportedField(
                name, f"field {name!r} is not supported beside a plain 'text'"
            )
    elif text:
        is_conversation = isinstance(record, Prompt | Demonstration)
        name = "messages" if is_conversation else "prompt"
        changes[name] = add_system(getattr(record, name), text, field)
    # `dataclasses.replace` would take longer than parsing the row
    return type(record)(**(vars(record) | changes))
