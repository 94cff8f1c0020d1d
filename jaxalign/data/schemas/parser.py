"""Row schemas and the parser that turns a row into records of the wanted kind.

A schema is recognized by the fields of a row:

prompt + completion         {"prompt": text or messages, "completion": text or messages}
messages                    {"messages": [{"role": ..., "content": ...}, ...]}
instructions                {"instruction", "input" or "context", "output", "history"}
questions                   {"question": ..., "answer": ...}, {"query", "response"}, ...
problems                    {"problem", "solution", "answer" (the final result)}
conversations (ShareGPT)    {"conversations": [{"from": "human", "value": ...}]}
turns                       {"conversation": [{"input": ..., "output": ...}]}
tool calls                  {"query", "tools", "answers": calls of these, as JSON}
preference pair             {"prompt", "chosen", "rejected"}; "margin" (of ratings) and
                            "label_prob" (of a soft label) are optional
pair of conversations       {"chosen": messages, "rejected": messages}
dialogues (HH-RLHF)         {"chosen": "\\n\\nHuman: ...", "rejected": ...}
ranking                     {"prompt": ..., "answers": [best, ..., worst]}
tree of ranked replies      {"prompt": {"text", "role", "replies": [... "rank"]}}
unpaired answer (KTO)       {"prompt": ..., "completion": ..., "label": true}
prompt with references      {"prompt": ..., "reference": text} ("references": [...])
plain text                  {"text": ...}, for SFT only
public data sets            see `public_datasets`

All schemas may have a system prompt, tools and metadata (see `row_fields`), and
messages with more than text (see `messages`). Where several fields compete:

- SFT imitates `messages` or `conversations` that end with an assistant message;
  `completion`, `output`, `answer` or `response` beside them is a reference.
- A prompt beside `messages` has to be contained in them. A prompt beside `chosen` of
  several turns stands before the turns that do not repeat it. Two user or two
  assistant messages in a row are refused.
- Reasoning beside a single answer (`reasoning_content`, `reasoning`, `thinking`,
  `thought`) belongs to that answer; beside a pair or a ranking it is refused.
- Answers labeled false are neither imitated nor references; nor are answers that are
  masked out of the loss.
- `answers` are ordered by `scores`, `ratings` or `ranks` beside them; `rewards`, of
  which a ranking may be a noisy sample, are metadata.
- Two different prompts, or two different answers, are refused.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
    answer_content,
    assistant_message,
)
from jaxalign.data.row_errors import MalformedRow, UnsupportedField, UnusableRow
from jaxalign.data.schemas import public_datasets, rankings, row_fields
from jaxalign.data.schemas.checks import (
    Row,
    first_field,
    preview,
    refuse_fields,
    require_text,
)
from jaxalign.data.schemas.completions import (
    answer_field,
    ends_with_answer,
    parse_answer,
    parse_answered_conversation,
    parse_label,
)
from jaxalign.data.schemas.field_names import (
    ALL_PROMPT_FIELDS,
    ANSWER_FIELDS,
    LABEL_FIELDS,
    REFERENCE_FIELDS,
    present_fields,
)
from jaxalign.data.schemas.messages import message_to_answer
from jaxalign.data.schemas.preferences import (
    is_pair,
    parse_preference,
    refuse_row_reasoning,
)
from jaxalign.data.schemas.prompts import parse_conversation


def parse_row(row: Any, kind: type[Record], location: str) -> Iterator[Record]:
    """Parse a row into records: one, or one per ranked message of a tree.

    A ranking and a row of a public data set give every kind of record: all pairs, the
    best answer as an SFT example, the prompt.

    Args:
      kind: class of the records.
      location: FILE:LINE of the row.

    Raises:
      MalformedRow: names the field and its fault.
      UnsupportedField: names a field that changes the meaning of the row.
      UnusableRow: the reason to skip and count the row.
    """
    if not isinstance(row, Mapping):
        raise MalformedRow("is not a JSON object")
    row = Row(row)
    row_fields.check_row_fields(row)
    system, declared = row_fields.system_prompt(row), row_fields.declared_tools(row)
    for record in parse_records(row, kind, location):
        yield row_fields.add_row_fields(record, row, system, declared)


def parse_records(row: Row, kind: type[Record], location: str) -> Iterator[Record]:
    """Parse a row without its system prompt field, tools and metadata."""
    if is_plain_text(row):
        check_plain_text(row, kind)
    ranked = rankings.parse_rankings(row, location)
    if ranked is None:
        yield PARSERS[kind](row, location)
        return
    refuse_row_reasoning(row, "a ranking")
    for ranking in ranked:
        yield from public_datasets.derive_records(ranking, kind)


def parse_demonstration(row: Row, location: str) -> Demonstration:
    """Parse an SFT example; of a pair, the chosen answer.

    Raises:
      UnusableRow: the answer is labeled false.
    """
    if is_plain_text(row):
        return parse_plain_text(row, location)
    if is_pair(row) and not ends_with_answer(row):
        pair = parse_preference(row, location)
        return Demonstration([*pair.prompt, assistant_message(pair.chosen)], location)
    messages = parse_answered_conversation(row)
    if parse_label(row) is False:
        raise UnusableRow("with an answer labeled false")
    return Demonstration(messages, location)


def is_plain_text(row: Row) -> bool:
    """Whether a row is a plain text: it has no prompt and no answer."""
    others = (*ALL_PROMPT_FIELDS, *ANSWER_FIELDS, "chosen", "rejected")
    return "text" in row and not present_fields(row, others)


def check_plain_text(row: Row, kind: type[Record]) -> None:
    """Refuse a plain text for other purposes than SFT, and a text with a role.

    Raises:
      UnsupportedField: `kind` needs more than a text, or the text is a message of a
        conversation.
    """
    if kind is not Demonstration:
        raise UnsupportedField(
            "text",
            "field 'text' alone is plain text, which only SFT can train on; "
            f"{REQUIRED_FIELDS[kind]} missing",
        )
    reason = "beside 'text' is part of a message: put it into 'messages'"
    refuse_fields(row, ["role"], "field ", reason)


def parse_plain_text(row: Row, location: str) -> Demonstration:
    """Parse a plain text, all of which is trained on.

    Raises:
      MalformedRow: the text is empty.
      UnusableRow: it is labeled false.
    """
    text = require_text(row["text"], "text")
    if not text.strip():
        raise MalformedRow("field 'text' is empty")
    if parse_label(row) is False:
        raise UnusableRow("with an answer labeled false")
    return Demonstration([assistant_message(text)], location, plain=True)


def parse_unpaired(row: Row, location: str) -> Unpaired:
    """Parse an answer with a label.

    Raises:
      MalformedRow: the label is missing or null.
    """
    name = first_field(row, *LABEL_FIELDS)
    desirable = parse_label(row)
    if desirable is None:
        raise MalformedRow(
            f"field {name!r} is {preview(row[name])}; expected true or false"
        )
    *prompt, answer = parse_answered_conversation(row)
    return Unpaired(prompt, message_to_answer(answer, name), desirable, location)


def parse_prompt(row: Row, location: str) -> Prompt:
    """Parse a prompt; the last message is left out if it is the assistant's.

    The references are those that the row states, or else its answer.

    Raises:
      MalformedRow: an answer without a prompt.
    """
    if is_pair(row):
        pair = parse_preference(row, location)
        references = explicit_references(row) or nonempty_texts(pair.chosen)
        return Prompt(pair.prompt, location, references)
    messages = parse_conversation(row)
    has_answer = messages[-1]["role"] == "assistant"
    if has_answer and len(messages) == 1:
        raise MalformedRow("has an answer, but no prompt")
    answer = messages[-1] if has_answer else ""
    references = explicit_references(row) or answer_as_reference(row, answer)
    return Prompt(messages[:-1] if has_answer else messages, location, references)


def explicit_references(row: Row) -> tuple[str, ...]:
    """References in the fields for references of a row.

    Raises:
      UnsupportedField: two fields that differ.
    """
    fields = present_fields(row, REFERENCE_FIELDS)
    values = {f: row[f] if isinstance(row[f], list) else [row[f]] for f in fields}
    if any(value != values[fields[0]] for value in values.values()):
        names = " and ".join(map(repr, fields))
        raise UnsupportedField(fields[1], f"fields {names} differ; keep one")
    return tuple(require_text(text, f) for f in fields[:1] for text in values[f])


def answer_as_reference(row: Row, answer: Any) -> tuple[str, ...]:
    """The answer of a row, as the reference of its prompt, if it is one to imitate.

    Args:
      answer: last message of the conversation, if it is the assistant's; else "".
    """
    field = answer_field(row, final=True)
    if field is not None and row[field] is not None:
        answer = parse_answer(row[field], field)[-1]
    if not answer or parse_label(row) is False:
        return ()
    if assistant_message(answer).get("train") is False:
        return ()
    return nonempty_texts(answer)


def nonempty_texts(answer: Any) -> tuple[str, ...]:
    """The text of an answer, or nothing if it is only a tool call."""
    text = answer_content(answer)
    return (text,) if text else ()


REQUIRED_FIELDS: dict[Any, str] = {
    Preference: "'prompt', 'chosen' and 'rejected' are",
    Ranking: "'prompt' and 'answers' are",
    Unpaired: "'prompt', 'completion' and 'label' are",
    Prompt: "'prompt' is",
}
PARSERS: dict[Any, Callable[[Row, str], Record]] = {
    Demonstration: parse_demonstration,
    Preference: parse_preference,
    Ranking: rankings.parse_ranking,
    Unpaired: parse_unpaired,
    Prompt: parse_prompt,
}
