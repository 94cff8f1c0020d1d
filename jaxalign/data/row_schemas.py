"""Rows as records: the layouts that people have, told apart by their fields.

prompt + completion         {"prompt": text or messages, "completion": text or messages}
messages                    {"messages": [{"role": ..., "content": ...}, ...]}
instructions                {"instruction", "input" or "context", "output", "history"}
questions                   {"question": ..., "answer": ...}, {"query", "response"}, ...
problems                    {"problem", "solution", "answer" (what it comes to)}
conversations               {"conversations": [{"from": "human", "value": ...}]}
turns                       {"conversation": [{"input": ..., "output": ...}]}
calls                       {"query", "tools", "answers": calls of these, as JSON}
preference pair             {"prompt", "chosen", "rejected", "margin" (may lack)}
pair of conversations       {"chosen": messages, "rejected": messages}
dialogues                   {"chosen": "\\n\\nHuman: ...", "rejected": ...}
ranking of K                {"prompt": ..., "answers": [best, ..., worst]}
tree of ranked replies      {"prompt": {"text", "role", "replies": [... "rank"]}}
unpaired label              {"prompt": ..., "completion": ..., "label": true}
prompt with references      {"prompt": ..., "reference": text} ("references": [...])
plain text                  {"text": ...}, for SFT alone
published sets              see `public_datasets`

Any of them may have a system prompt, tools and other fields (see `columns`), and
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

from jaxalign.data import columns, hh_dialogue, public_datasets, rankings
from jaxalign.data.messages import answer_of
from jaxalign.data.pairs import is_pair, preference, refuse_thoughts
from jaxalign.data.questions import (
    ANSWERS,
    ASKED,
    REFERENCES,
    THUMBS,
    answer_field,
    answer_messages,
    answered_conversation,
    conversation,
    ends_with_answer,
    label_of,
    stated,
)
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
    answer_text,
    said,
)
from jaxalign.data.row_checks import (
    Malformed,
    Refused,
    Row,
    first_field,
    preview,
    refuse,
    text_of,
)


def records(row: Any, kind: type[Record], where: str) -> Iterator[Record]:
    """The records of one row: mostly one; a tree holds a ranking per question.

    Of rankings and of published sets whatever follows is made: all pairs, the best
    answer to imitate, the prompt.

    Raises:
      Malformed: says which field lacks what.
      Refused: names a field that would matter and cannot be honoured.
      dialogues.Odd: a row that is left out for a reason that is counted.
    """
    if not isinstance(row, Mapping):
        raise Malformed("is not a JSON object")
    row = Row(row)
    columns.check_columns(row)
    system, declared = columns.system_of(row), columns.tools_of(row)
    for record in parse(row, kind, where):
        yield columns.add_columns(record, row, system, declared)


def parse(row: Row, kind: type[Record], where: str) -> Iterator[Record]:
    """The records of a row, without what its whole row says."""
    if is_text(row):
        check_text(row, kind)
    ranked = rankings.row_rankings(row, where)
    if ranked is None:
        yield PARSERS[kind](row, where)
        return
    refuse_thoughts(row, "a ranking")
    for ranking in ranked:
        yield from public_datasets.derived(ranking, kind)


def demonstration(row: Row, where: str) -> Demonstration:
    """A row to imitate; of a pair, the chosen answer.

    Raises:
      dialogues.Odd: an answer that is labelled false.
    """
    if is_text(row):
        return plain_text(row, where)
    if is_pair(row) and not ends_with_answer(row):
        pair = preference(row, where)
        return Demonstration([*pair.prompt, said(pair.chosen)], where)
    messages = answered_conversation(row)
    if label_of(row) is False:
        raise hh_dialogue.Odd("with an answer labelled false")
    return Demonstration(messages, where)


def is_text(row: Row) -> bool:
    """Whether a row is a plain text: no other field asks or answers."""
    others = (*ASKED, *ANSWERS, "chosen", "rejected")
    return "text" in row and not stated(row, others)


def check_text(row: Row, kind: type[Record]) -> None:
    """Refuses a text that is not plain, or that no SFT is wanted of.

    Raises:
      Refused: a message of some conversation, or a kind of record that needs more.
    """
    if kind is not Demonstration:
        raise Refused(
            "text",
            "field 'text' alone is plain text, on which only SFT can train; "
            f"{NEEDED[kind]} missing",
        )
    refuse(row, ["role"], "field ", "beside 'text' is a message's: put it in messages")


def plain_text(row: Row, where: str) -> Demonstration:
    """A text that is trained as a whole."""
    text = text_of(row["text"], "text")
    if not text.strip():
        raise Malformed("field 'text' is empty")
    if label_of(row) is False:
        raise hh_dialogue.Odd("with an answer labelled false")
    return Demonstration([said(text)], where, plain=True)


def unpaired(row: Row, where: str) -> Unpaired:
    """An answer with a thumb up or down."""
    name = first_field(row, *THUMBS)
    desirable = label_of(row)
    if desirable is None:
        told = preview(row[name])
        raise Malformed(f"field {name!r} should be true or false, not {told}")
    *prompt, answer = answered_conversation(row)
    return Unpaired(prompt, answer_of(answer, name), desirable, where)


def prompt(row: Row, where: str) -> Prompt:
    """A prompt; an assistant's message at its end is the answer, and left out."""
    if is_pair(row):
        pair = preference(row, where)
        return Prompt(
            pair.prompt, where, stated_references(row) or texts_of(pair.chosen)
        )
    messages = conversation(row)
    has_answer = messages[-1]["role"] == "assistant"
    if has_answer and len(messages) == 1:
        raise Malformed("has an answer, and no prompt")
    answer = messages[-1] if has_answer else ""
    found = stated_references(row) or references(row, answer)
    return Prompt(messages[:-1] if has_answer else messages, where, found)


def stated_references(row: Row) -> tuple[str, ...]:
    """The references that a row gives as such."""
    fields = stated(row, REFERENCES)
    told = {f: row[f] if isinstance(row[f], list) else [row[f]] for f in fields}
    if any(found != told[fields[0]] for found in told.values()):
        names = " and ".join(map(repr, fields))
        raise Refused(fields[1], f"fields {names} differ: keep one")
    return tuple(text_of(answer, f) for f in fields[:1] for answer in told[f])


def references(row: Row, answer: Any) -> tuple[str, ...]:
    """The answer of a row that a prompt's answers may be compared with, if any.

    Args:
      answer: the last message of its conversation, where that is an answer.
    """
    field = answer_field(row, final=True)
    found = answer
    if field is not None and row[field] is not None:
        found = answer_messages(row[field], field)[-1]
    if not found or label_of(row) is False or said(found).get("train") is False:
        return ()
    return texts_of(found)


def texts_of(answer: Any) -> tuple[str, ...]:
    """The text of an answer that has one; one that is a call alone has none."""
    text = answer_text(answer)
    return (text,) if text else ()


NEEDED: dict[Any, str] = {
    Preference: "'prompt', 'chosen' and 'rejected' are",
    Ranking: "'prompt' and 'answers' are",
    Unpaired: "'prompt', 'completion' and 'label' are",
    Prompt: "'prompt' is",
}
PARSERS: dict[Any, Callable[[Row, str], Record]] = {
    Demonstration: demonstration,
    Preference: preference,
    Ranking: rankings.ranking,
    Unpaired: unpaired,
    Prompt: prompt,
}
