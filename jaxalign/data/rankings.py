"""Rows that compare more than two answers: rankings, and trees of ranked replies."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data import public_datasets
from jaxalign.data.conversations import same_messages
from jaxalign.data.hh_dialogue import Odd
from jaxalign.data.messages import answer_of, message_of
from jaxalign.data.questions import answer_messages, conversation, is_calls
from jaxalign.data.records import Answer, Messages, Ranking, said
from jaxalign.data.row_checks import (
    Malformed,
    Refused,
    Row,
    fields_with_values,
    first_field,
    number,
    refuse,
)

SCORES = ("scores", "ratings")  # better answers have higher ones
LABELS = ("label", "labels", "choice", "winner", "best", "correct", "answer")
RANKS = ("ranks", "rank")  # and lower ones


def row_rankings(row: Row, where: str) -> Iterable[Ranking] | None:
    """The answers that a row compares, where it is of a layout for that alone."""
    root = row.peek("prompt")
    if isinstance(root, Mapping) and "text" in root:
        return tree(row["prompt"], where)
    if isinstance(row.peek("answers"), list) and not is_calls(row):
        return [ranking(row, where)]
    read = public_datasets.reader(row)
    return None if read is None else [read(row, where)]


def answers_compared(row: Any, where: str) -> int:
    """The most answers to one prompt that a row ranks; 0 where it ranks none."""
    try:
        found = (
            row_rankings(Row(row), where) if isinstance(row, Mapping) else None
        ) or ()
        return max((len(ranking.answers) for ranking in found), default=0)
    except ValueError:  # reported, with its line, where the row is read
        return 0


def ranking(row: Row, where: str) -> Ranking:
    """Answers, best first, or by scores or ranks beside them.

    Raises:
      Odd: all scores are equal.
    """
    field = first_field(row, "answers", "completions", "responses")
    answers = row[field]
    if not isinstance(answers, list) or len(answers) < 2:
        raise Malformed(f"field {field!r} should be a list of two or more, best first")
    refuse(row, LABELS, "field ", f"may say which of {field!r} is best: order them")
    told = [answer(a, f"{field}[{k}]") for k, a in enumerate(answers)]
    ordered = fields_with_values(row, (*SCORES, *RANKS))
    prompt = ranking_prompt(row, told, field)
    if not ordered:
        return Ranking(prompt, tuple(told), where)
    if len(ordered) > 1:
        names = " and ".join(map(repr, ordered))
        raise Refused(ordered[1], f"fields {names} both rank: keep one")
    values = row[ordered[0]]
    if not isinstance(values, list) or len(values) != len(told):
        raise Malformed(f"field {ordered[0]!r} should be a list of {len(told)} numbers")
    sign = -1 if ordered[0] in RANKS else 1
    scored = [
        (sign * number(value, f"{ordered[0]}[{k}]"), one)
        for k, (value, one) in enumerate(zip(values, told, strict=True))
    ]
    return public_datasets.ranked(prompt, scored, where)


def ranking_prompt(row: Row, answers: list[Answer], field: str) -> Messages:
    """The conversation before the answers, without the one of them that ends it.

    Raises:
      Malformed: it ends with another answer.
    """
    *before, last = conversation(row)
    if last["role"] != "assistant":
        return [*before, last]
    if not any(same_messages([last], [said(one)]) for one in answers):
        raise Malformed(f"ends with an answer that is none of field {field!r}")
    if not before:
        raise Malformed("has answers, and no prompt")
    return before


def answer(value: Any, field: str) -> Answer:
    """One of the answers: a text, or the assistant's message."""
    found = answer_messages(value, field)
    if len(found) != 1 or found[0]["role"] != "assistant":
        raise Malformed(f"field {field!r} should be text, or an assistant's message")
    return answer_of(found[0], field)


def tree(root: Mapping[str, Any], where: str) -> Iterator[Ranking]:
    """The rankings in a tree of replies: one for each ranked set of answers.

    Raises:
      Malformed: a node that is none, or a rank that is no number.
    """
    nodes: list[tuple[Mapping[str, Any], Messages]] = [(root, [])]
    while nodes:
        node, before = nodes.pop()
        replies = node.get("replies") or []
        if not isinstance(replies, list) or not all(
            isinstance(reply, Mapping) for reply in replies
        ):
            raise Malformed("field 'replies' should be a list of objects")
        told = {**node, "content": node.get("text")}
        here = [*before, message_of(told, "field 'prompt':")]
        ranked = [reply for reply in replies if reply.get("rank") is not None]
        if here[-1]["role"] == "user" and len(ranked) > 1:
            with contextlib.suppress(Odd):  # all of one rank
                yield replies_ranking(here, ranked, where)
        nodes += [(reply, here) for reply in reversed(replies)]


def replies_ranking(
    prompt: Messages, replies: list[Mapping[str, Any]], where: str
) -> Ranking:
    """The ranked replies to a question, the lowest rank first."""
    scored = [
        (-number(reply["rank"], "rank"), answer(reply.get("text"), "text"))
        for reply in replies
    ]
    return public_datasets.ranked(prompt, scored, where)
