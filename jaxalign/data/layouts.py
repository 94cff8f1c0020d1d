"""Rows as records: the layouts that people have, told apart by their fields.

prompt + completion         {"prompt": text or messages, "completion": text}
messages                    {"messages": [{"role": ..., "content": ...}, ...]}
instructions                {"instruction": ..., "input": ..., "output": ...}
questions                   {"question": ..., "answer": ...}
conversations               {"conversations": [{"from": "human", "value": ...}]}
preference pair             {"prompt", "chosen", "rejected", "margin" (may lack)}
pair of conversations       {"chosen": messages, "rejected": messages}
dialogues                   {"chosen": "\\n\\nHuman: ...", "rejected": ...}
ranking of K                {"prompt": ..., "answers": [best, ..., worst]}
tree of ranked replies      {"prompt": {"text", "role", "replies": [... "rank"]}}
unpaired label              {"prompt": ..., "completion": ..., "label": true}
prompt with references      {"prompt": ..., "reference": text} ("references": [...])
published sets              see `published`
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data import dialogues, published
from jaxalign.data.fields import (
    Malformed,
    Row,
    content_of,
    name_of,
    needed,
    objects,
    text_of,
)
from jaxalign.data.records import (
    Demonstration,
    Messages,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
    answer_text,
    said,
)

ROLES = {
    "human": "user",
    "user": "user",
    "prompter": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
THUMBS = ("label", "kto_tag", "desirable")


def records(row: Any, kind: type[Record], where: str) -> Iterator[Record]:
    """The records of one row: mostly one; a tree holds a ranking per question.

    Of rankings and of published sets whatever follows is made: all pairs, the best
    answer to imitate, the prompt.

    Raises:
      Malformed: says which field lacks what.
      dialogues.Odd: a dialogue that cannot be used.
    """
    if not isinstance(row, Mapping):
        raise Malformed("is not a JSON object")
    compared = rankings(row, where)
    if compared is None:
        yield PARSERS[kind](row, where)
        return
    for ranked in compared:
        yield from published.derived(ranked, kind)


def rankings(row: Row, where: str) -> Iterable[Ranking] | None:
    """The answers that a row compares, where it is of a layout for that alone."""
    if isinstance(row.get("prompt"), Mapping):
        return tree(row["prompt"], [], where)
    if isinstance(row.get("answers"), list):
        return [ranking(row, where)]
    read = published.reader(row)
    return None if read is None else [read(row, where)]


def answers_compared(row: Any, where: str) -> int:
    """The most answers to one prompt that a row ranks; 0 where it ranks none."""
    try:
        found = (rankings(row, where) if isinstance(row, Mapping) else None) or ()
        return max((len(ranking.answers) for ranking in found), default=0)
    except ValueError:  # reported, with its line, where the row is read
        return 0


def messages_of(value: Any, field: str) -> Messages:
    """Messages, from a text, role/content or from/value objects."""
    if isinstance(value, str):
        if not value.strip():
            raise Malformed(f"field {field!r} is empty")
        return [{"role": "user", "content": value}]
    if isinstance(value, Mapping):
        value = objects(value, field)
    if not isinstance(value, list) or not value:
        raise Malformed(f"field {field!r} should be text or a list of messages")
    messages = []
    for i, message in enumerate(value):
        at = f"field {field!r}, message {i}:"
        if not isinstance(message, Mapping):
            raise Malformed(f"{at} is {name_of(message)}, should be an object")
        role, content = message.get("role", message.get("from")), content_of(message)
        if not isinstance(role, str) or role not in ROLES:
            raise Malformed(f"{at} has role {role!r}, should be one of {list(ROLES)}")
        if not isinstance(content, str):
            raise Malformed(f"{at} content should be text, not {name_of(content)}")
        messages.append({"role": ROLES[role], "content": content})
    return messages


def prompt_of(row: Row) -> Messages:
    """The prompt, in whichever field it is."""
    field = needed(
        row, "prompt", "messages", "conversations", "instruction", "question"
    )
    messages = messages_of(row[field], field)
    if field != "instruction":
        return messages
    extra = text_of(row.get("input") or "", "input")
    messages[0]["content"] += "\n" * bool(extra) + extra
    history = row.get("history") or []
    if not isinstance(history, list) or any(not pair_of_texts(h) for h in history):
        raise Malformed("field 'history' should be a list of [question, answer]")
    said_before = [m for asked, told in history for m in (asks(asked), said(told))]
    system = text_of(row.get("system") or "", "system")
    first = [{"role": "system", "content": system}] if system else []
    return [*first, *said_before, *messages]


def pair_of_texts(value: Any) -> bool:
    """Whether a value is a question and an answer."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(v, str) for v in value)
    )


def asks(text: str) -> dict[str, str]:
    """A question, as the user's message."""
    return {"role": "user", "content": text}


def demonstration(row: Row, where: str) -> Demonstration:
    """A row to imitate; of a pair, the chosen answer."""
    if "chosen" in row and "rejected" in row:
        pair = preference(row, where)
        return Demonstration([*pair.prompt, said(pair.chosen)], where)
    messages = prompt_of(row)
    for field in ("completion", "output", "answer", "response"):
        if field in row:
            return Demonstration([*messages, said(text_of(row[field], field))], where)
    if messages[-1]["role"] != "assistant" or len(messages) < 2:
        raise Malformed(
            "field 'completion' (or output, answer, response, or a last message of the "
            "assistant) is missing"
        )
    return Demonstration(messages, where)


def preference(row: Row, where: str) -> Preference:
    """A pair, in any of its layouts."""
    good = needed(row, "chosen", "chosen_messages")
    bad = needed(row, good.replace("chosen", "rejected"))
    margin = 0.0 if row.get("margin") is None else row["margin"]
    if type(margin) not in (int, float) or not math.isfinite(margin):
        raise Malformed(f"field 'margin' should be a number, not {margin!r}")
    if "prompt" not in row and dialogues.is_dialogue(row):
        pair = dialogues.preference(row, where)
        return dataclasses.replace(pair, margin=float(margin))
    chosen, rejected = row[good], row[bad]
    if isinstance(chosen, list) and len(chosen) > 1:
        chosen, rejected = messages_of(chosen, good), messages_of(rejected, bad)
        if chosen[:-1] != rejected[:-1]:
            raise Malformed(f"fields {good!r} and {bad!r} differ before their last")
        if {chosen[-1]["role"], rejected[-1]["role"]} != {"assistant"}:
            raise Malformed(f"fields {good!r} and {bad!r} should end with an answer")
        prompt, answers = chosen[:-1], (chosen[-1]["content"], rejected[-1]["content"])
    else:
        prompt, answers = (
            prompt_of(row),
            (text_of(chosen, good), text_of(rejected, bad)),
        )
    return Preference(prompt, *answers, margin=float(margin), where=where)


def ranking(row: Row, where: str) -> Ranking:
    """Answers, best first."""
    field = needed(row, "answers", "completions", "responses")
    answers = row[field]
    if not isinstance(answers, list) or len(answers) < 2:
        raise Malformed(f"field {field!r} should be a list of two or more, best first")
    told = tuple(text_of(answer, f"{field}[{k}]") for k, answer in enumerate(answers))
    return Ranking(prompt_of(row), told, where)


def tree(node: Row, before: Messages, where: str) -> Iterator[Ranking]:
    """The rankings in a tree of replies: one for each ranked set of answers."""
    replies = node.get("replies") or []
    if not isinstance(replies, list) or not all(
        isinstance(r, Mapping) for r in replies
    ):
        raise Malformed("field 'replies' should be a list of objects")
    here = [*before, *messages_of([{**node, "content": node.get("text")}], "prompt")]
    ranked = [r for r in replies if type(r.get("rank")) is int]
    if here[-1]["role"] == "user" and len(ranked) > 1:
        best_first = sorted(ranked, key=lambda reply: reply["rank"])
        answers = tuple(text_of(r.get("text"), "replies") for r in best_first)
        yield Ranking(here, answers, where)
    for reply in replies:
        yield from tree(reply, here, where)


def unpaired(row: Row, where: str) -> Unpaired:
    """An answer with a thumb up or down."""
    field = needed(row, *THUMBS)
    if row[field] not in (True, False):
        raise Malformed(f"field {field!r} should be true or false, not {row[field]!r}")
    *asked, answer = demonstration(row, where).messages
    return Unpaired(asked, answer["content"], bool(row[field]), where)


def prompt(row: Row, where: str) -> Prompt:
    """A prompt; an assistant's message at its end is the answer, and left out."""
    if "prompt" not in row and ("chosen" in row or "chosen_messages" in row):
        pair = preference(row, where)
        return Prompt(pair.prompt, where, (answer_text(pair.chosen),))
    messages = prompt_of(row)
    answered = messages[-1]["role"] == "assistant"
    if answered and len(messages) == 1:
        raise Malformed("has an answer, and no prompt")
    return Prompt(messages[:-1] if answered else messages, where, references(row))


def references(row: Row) -> tuple[str, ...]:
    """A prompt's reference answers: those told, or else what would be imitated."""
    for field in ("references", "reference"):
        if field in row:
            found = row[field] if isinstance(row[field], list) else [row[field]]
            return tuple(text_of(answer, field) for answer in found)
    if not all(row.get(thumb, True) for thumb in THUMBS):
        return ()
    try:
        return (demonstration(row, "").messages[-1]["content"],)
    except Malformed:
        return ()


PARSERS: dict[Any, Callable[[Row, str], Record]] = {
    Demonstration: demonstration,
    Preference: preference,
    Ranking: ranking,
    Unpaired: unpaired,
    Prompt: prompt,
}
