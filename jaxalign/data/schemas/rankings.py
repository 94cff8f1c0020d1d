"""Rows that compare more than two answers: rankings, and trees of ranked replies."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data.records import Answer, Messages, Ranking, assistant_message
from jaxalign.data.schemas import public_datasets
from jaxalign.data.schemas.checks import (
    MalformedRow,
    Row,
    UnsupportedField,
    fields_with_values,
    first_field,
    refuse_fields,
    require_number,
)
from jaxalign.data.schemas.conversations import same_messages
from jaxalign.data.schemas.hh_dialogue import UnusableRow
from jaxalign.data.schemas.messages import message_to_answer, parse_message
from jaxalign.data.schemas.prompt_completion import (
    has_call_answers,
    parse_answer,
    parse_conversation,
)

SCORE_FIELDS = ("scores", "ratings")  # better answers have higher ones
BEST_ANSWER_FIELDS = (
    "label",
    "labels",
    "choice",
    "winner",
    "best",
    "correct",
    "answer",
)
RANK_FIELDS = ("ranks", "rank")  # and lower ones


def parse_rankings(row: Row, where: str) -> Iterable[Ranking] | None:
    """The answers that a row compares, where it is of a layout for that alone."""
    root = row.peek("prompt")
    if isinstance(root, Mapping) and "text" in root:
        return parse_tree(row["prompt"], where)
    if isinstance(row.peek("answers"), list) and not has_call_answers(row):
        return [parse_ranking(row, where)]
    read = public_datasets.find_parser(row)
    return None if read is None else [read(row, where)]


def ranking_size(row: Any, where: str) -> int:
    """The most answers to one prompt that a row ranks; 0 where it ranks none."""
    try:
        found = (
            parse_rankings(Row(row), where) if isinstance(row, Mapping) else None
        ) or ()
        return max((len(ranking.answers) for ranking in found), default=0)
    except ValueError:  # reported, with its line, where the row is read
        return 0


def parse_ranking(row: Row, where: str) -> Ranking:
    """Answers, best first, or by scores or ranks beside them.

    Raises:
      Odd: all scores are equal.
    """
    field = first_field(row, "answers", "completions", "responses")
    answers = row[field]
    if not isinstance(answers, list) or len(answers) < 2:
        raise MalformedRow(
            f"field {field!r} should be a list of two or more, best first"
        )
    refuse_fields(
        row,
        BEST_ANSWER_FIELDS,
        "field ",
        f"may say which of {field!r} is best: order them",
    )
    told = [parse_single_answer(a, f"{field}[{k}]") for k, a in enumerate(answers)]
    ordered = fields_with_values(row, (*SCORE_FIELDS, *RANK_FIELDS))
    prompt = parse_ranking_prompt(row, told, field)
    if not ordered:
        return Ranking(prompt, tuple(told), where)
    if len(ordered) > 1:
        names = " and ".join(map(repr, ordered))
        raise UnsupportedField(ordered[1], f"fields {names} both rank: keep one")
    values = row[ordered[0]]
    if not isinstance(values, list) or len(values) != len(told):
        raise MalformedRow(
            f"field {ordered[0]!r} should be a list of {len(told)} numbers"
        )
    sign = -1 if ordered[0] in RANK_FIELDS else 1
    scored = [
        (sign * require_number(value, f"{ordered[0]}[{k}]"), one)
        for k, (value, one) in enumerate(zip(values, told, strict=True))
    ]
    return public_datasets.rank_by_score(prompt, scored, where)


def parse_ranking_prompt(row: Row, answers: list[Answer], field: str) -> Messages:
    """The conversation before the answers, without the one of them that ends it.

    Raises:
      Malformed: it ends with another answer.
    """
    *before, last = parse_conversation(row)
    if last["role"] != "assistant":
        return [*before, last]
    if not any(same_messages([last], [assistant_message(one)]) for one in answers):
        raise MalformedRow(f"ends with an answer that is none of field {field!r}")
    if not before:
        raise MalformedRow("has answers, and no prompt")
    return before


def parse_single_answer(value: Any, field: str) -> Answer:
    """One of the answers: a text, or the assistant's message."""
    found = parse_answer(value, field)
    if len(found) != 1 or found[0]["role"] != "assistant":
        raise MalformedRow(f"field {field!r} should be text, or an assistant's message")
    return message_to_answer(found[0], field)


def parse_tree(root: Mapping[str, Any], where: str) -> Iterator[Ranking]:
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
            raise MalformedRow("field 'replies' should be a list of objects")
        told = {**node, "content": node.get("text")}
        here = [*before, parse_message(told, "field 'prompt':")]
        ranked = [reply for reply in replies if reply.get("rank") is not None]
        if here[-1]["role"] == "user" and len(ranked) > 1:
            with contextlib.suppress(UnusableRow):  # all of one rank
                yield rank_replies(here, ranked, where)
        nodes += [(reply, here) for reply in reversed(replies)]


def rank_replies(
    prompt: Messages, replies: list[Mapping[str, Any]], where: str
) -> Ranking:
    """The ranked replies to a question, the lowest rank first."""
    scored = [
        (
            -require_number(reply["rank"], "rank"),
            parse_single_answer(reply.get("text"), "text"),
        )
        for reply in replies
    ]
    return public_datasets.rank_by_score(prompt, scored, where)
