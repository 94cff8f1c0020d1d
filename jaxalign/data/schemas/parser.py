"""Rows as records: the layouts that people have, told apart by their fields.

prompt + completion         {"prompt": text or messages, "completion": text or messages}
messages                    {"messages": [{"role": ..., "content": ...}, ...]}
instructions                {"instruction", "input" or "context", "output", "history"}
questions                   {"question": ..., "answer": ...}, {"query", "response"}, ...
problems                    {"problem", "solution", "answer" (what it comes to)}
conversations               {"conversations": [{"from": "human", "value": ...}]}
turns                       {"conversation": [{"input": ..., "output": ...}]}
calls                       {"query", "tools", "answers": calls of these, as JSON}
preference pair             {"prompt", "chosen", "rejected"}; may have "margin", a
                            rating's, and "label_prob", the label's probability
pair of conversations       {"chosen": messages, "rejected": messages}
dialogues                   {"chosen": "\\n\\nHuman: ...", "rejected": ...}
ranking of K                {"prompt": ..., "answers": [best, ..., worst]}
tree of ranked replies      {"prompt": {"text", "role", "replies": [... "rank"]}}
unpaired label              {"prompt": ..., "completion": ..., "label": true}
prompt with references      {"prompt": ..., "reference": text} ("references": [...])
plain text                  {"text": ...}, for SFT alone
published sets              see `public_datasets`

Any of them may have a system prompt, tools and other fields (see `row_fields`), and
messages more than texts (see `messages`). Where several fields could answer:

- `messages` or `conversations` that end with the assistant are what SFT imitates;
  `completion`, `output`, `answer` or `response` beside them is a reference.
- A prompt beside them has to be in them. One beside `chosen` of several turns stands
  before what `chosen` does not repeat; two questions, or two answers, in a row are
  refused.
- A thought beside a single answer (`reasoning_content`, `reasoning`, `thinking`,
  `thought`) is that answer's; beside a pair or a ranking it is refused.
- What is labelled false is not imitated by SFT, and is no reference; nor is an answer
  that is not to be trained on.
- `answers` are ordered by `scores`, `ratings` or `ranks` beside them, where there are
  any; `rewards`, of which a ranking may be a noisy sample, are kept, as other fields.
- Of two fields that ask, or that answer, and differ, neither is chosen: refused.
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
from jaxalign.data.schemas import hh_dialogue, public_datasets, rankings, row_fields
from jaxalign.data.schemas.checks import (
    MalformedRow,
    Row,
    UnsupportedField,
    first_field,
    preview,
    refuse_fields,
    require_text,
)
from jaxalign.data.schemas.messages import message_to_answer
from jaxalign.data.schemas.preferences import (
    is_pair,
    parse_preference,
    refuse_row_reasoning,
)
from jaxalign.data.schemas.prompt_completion import (
    ALL_PROMPT_FIELDS,
    ANSWER_FIELDS,
    LABEL_FIELDS,
    REFERENCE_FIELDS,
    answer_field,
    ends_with_answer,
    parse_answer,
    parse_answered_conversation,
    parse_conversation,
    parse_label,
    present_fields,
)


def parse_row(row: Any, kind: type[Record], where: str) -> Iterator[Record]:
    """The records of one row: mostly one; a tree holds a ranking per question.

    Of rankings and of published sets whatever follows is made: all pairs, the best
    answer to imitate, the prompt.

    Raises:
      Malformed: says which field lacks what.
      Refused: names a field that would matter and cannot be honoured.
      dialogues.Odd: a row that is left out for a reason that is counted.
    """
    if not isinstance(row, Mapping):
        raise MalformedRow("is not a JSON object")
    row = Row(row)
    row_fields.check_row_fields(row)
    system, declared = row_fields.system_prompt(row), row_fields.declared_tools(row)
    for record in parse_records(row, kind, where):
        yield row_fields.add_row_fields(record, row, system, declared)


def parse_records(row: Row, kind: type[Record], where: str) -> Iterator[Record]:
    """The records of a row, without what its whole row says."""
    if is_plain_text(row):
        check_plain_text(row, kind)
    ranked = rankings.parse_rankings(row, where)
    if ranked is None:
        yield PARSERS[kind](row, where)
        return
    refuse_row_reasoning(row, "a ranking")
    for ranking in ranked:
        yield from public_datasets.derive_records(ranking, kind)


def parse_demonstration(row: Row, where: str) -> Demonstration:
    """A row to imitate; of a pair, the chosen answer.

    Raises:
      dialogues.Odd: an answer that is labelled false.
    """
    if is_plain_text(row):
        return parse_plain_text(row, where)
    if is_pair(row) and not ends_with_answer(row):
        pair = parse_preference(row, where)
        return Demonstration([*pair.prompt, assistant_message(pair.chosen)], where)
    messages = parse_answered_conversation(row)
    if parse_label(row) is False:
        raise hh_dialogue.UnusableRow("with an answer labelled false")
    return Demonstration(messages, where)


def is_plain_text(row: Row) -> bool:
    """Whether a row is a plain text: no other field asks or answers."""
    others = (*ALL_PROMPT_FIELDS, *ANSWER_FIELDS, "chosen", "rejected")
    return "text" in row and not present_fields(row, others)


def check_plain_text(row: Row, kind: type[Record]) -> None:
    """Refuses a text that is not plain, or that no SFT is wanted of.

    Raises:
      Refused: a message of some conversation, or a kind of record that needs more.
    """
    if kind is not Demonstration:
        raise UnsupportedField(
            "text",
            "field 'text' alone is plain text, on which only SFT can train; "
            f"{REQUIRED_FIELDS[kind]} missing",
        )
    refuse_fields(
        row, ["role"], "field ", "beside 'text' is a message's: put it in messages"
    )


def parse_plain_text(row: Row, where: str) -> Demonstration:
    """A text that is trained as a whole."""
    text = require_text(row["text"], "text")
    if not text.strip():
        raise MalformedRow("field 'text' is empty")
    if parse_label(row) is False:
        raise hh_dialogue.UnusableRow("with an answer labelled false")
    return Demonstration([assistant_message(text)], where, plain=True)


def parse_unpaired(row: Row, where: str) -> Unpaired:
    """An answer with a thumb up or down."""
    name = first_field(row, *LABEL_FIELDS)
    desirable = parse_label(row)
    if desirable is None:
        told = preview(row[name])
        raise MalformedRow(f"field {name!r} should be true or false, not {told}")
    *prompt, answer = parse_answered_conversation(row)
    return Unpaired(prompt, message_to_answer(answer, name), desirable, where)


def parse_prompt(row: Row, where: str) -> Prompt:
    """A prompt; an assistant's message at its end is the answer, and left out."""
    if is_pair(row):
        pair = parse_preference(row, where)
        return Prompt(
            pair.prompt, where, explicit_references(row) or nonempty_texts(pair.chosen)
        )
    messages = parse_conversation(row)
    has_answer = messages[-1]["role"] == "assistant"
    if has_answer and len(messages) == 1:
        raise MalformedRow("has an answer, and no prompt")
    answer = messages[-1] if has_answer else ""
    found = explicit_references(row) or answer_as_reference(row, answer)
    return Prompt(messages[:-1] if has_answer else messages, where, found)


def explicit_references(row: Row) -> tuple[str, ...]:
    """The references that a row gives as such."""
    fields = present_fields(row, REFERENCE_FIELDS)
    told = {f: row[f] if isinstance(row[f], list) else [row[f]] for f in fields}
    if any(found != told[fields[0]] for found in told.values()):
        names = " and ".join(map(repr, fields))
        raise UnsupportedField(fields[1], f"fields {names} differ: keep one")
    return tuple(require_text(answer, f) for f in fields[:1] for answer in told[f])


def answer_as_reference(row: Row, answer: Any) -> tuple[str, ...]:
    """The answer of a row that a prompt's answers may be compared with, if any.

    Args:
      answer: the last message of its conversation, where that is an answer.
    """
    field = answer_field(row, final=True)
    found = answer
    if field is not None and row[field] is not None:
        found = parse_answer(row[field], field)[-1]
    if (
        not found
        or parse_label(row) is False
        or assistant_message(found).get("train") is False
    ):
        return ()
    return nonempty_texts(found)


def nonempty_texts(answer: Any) -> tuple[str, ...]:
    """The text of an answer that has one; one that is a call alone has none."""
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
