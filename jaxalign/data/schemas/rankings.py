"""Rankings: several answers to one prompt, and trees of ranked replies."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jaxalign.data.records import Answer, Messages, Ranking, assistant_message
from jaxalign.data.row_errors import MalformedRow, UnsupportedField, UnusableRow
from jaxalign.data.schemas import public_datasets
from jaxalign.data.schemas.checks import (
    Row,
    fields_with_values,
    first_field,
    refuse_fields,
    require_number,
)
from jaxalign.data.schemas.completions import has_call_answers, parse_answer
from jaxalign.data.schemas.conversations import same_messages
from jaxalign.data.schemas.messages import message_to_answer, parse_message
from jaxalign.data.schemas.prompts import parse_conversation

SCORE_FIELDS = ("scores", "ratings")  # higher is better
RANK_FIELDS = ("ranks", "rank")  # lower is better
BEST_ANSWER_FIELDS = (
    *("label", "labels", "choice", "winner"),
    *("best", "correct", "answer"),
)


def parse_rankings(row: Row, location: str) -> Iterable[Ranking] | None:
    """Parse the rankings of a row: a tree, a list of answers or a public data set.

    Returns:
      None if the row has another schema.
    """
    prompt = row.peek("prompt")
    if isinstance(prompt, Mapping) and "text" in prompt:
        return parse_tree(row["prompt"], location)
    if isinstance(row.peek("answers"), list) and not has_call_answers(row):
        return [parse_ranking(row, location)]
    parse = public_datasets.find_parser(row)
    return None if parse is None else [parse(row, location)]


def ranking_size(row: Any, location: str) -> int:
    """Largest number of answers to one prompt that a row ranks; 0 if it ranks none."""
    try:
        rankings = (
            parse_rankings(Row(row), location) if isinstance(row, Mapping) else None
        )
        return max((len(ranking.answers) for ranking in rankings or ()), default=0)
    except ValueError:  # raised again, with the location, when the row is read
        return 0


def parse_ranking(row: Row, location: str) -> Ranking:
    """Parse a list of answers: best first, or with a list of scores or ranks.

    Raises:
      MalformedRow: fewer than two answers, or a malformed list of scores.
      UnsupportedField: two fields order the answers, or another may name the best one.
      UnusableRow: all scores are equal.
    """
    field = first_field(row, "answers", "completions", "responses")
    values = row[field]
    if not isinstance(values, list) or len(values) < 2:
        raise MalformedRow(
            f"field {field!r} is not a list of two or more answers, best first"
        )
    refuse_fields(
        row,
        BEST_ANSWER_FIELDS,
        "field ",
        f"may say which of {field!r} is best: order {field!r} instead",
    )
    answers = [parse_single_answer(v, f"{field}[{k}]") for k, v in enumerate(values)]
    order_fields = fields_with_values(row, (*SCORE_FIELDS, *RANK_FIELDS))
    prompt = parse_ranking_prompt(row, answers, field)
    if not order_fields:
        return Ranking(prompt, tuple(answers), location)
    if len(order_fields) > 1:
        names = " and ".join(map(repr, order_fields))
        raise UnsupportedField(
            order_fields[1], f"fields {names} both order the answers; keep one"
        )
    scores = parse_scores(row, order_fields[0], len(answers))
    scored = zip(scores, answers, strict=True)
    return public_datasets.rank_by_score(prompt, scored, location)


def parse_scores(row: Row, field: str, count: int) -> list[float]:
    """Parse scores, or ranks as scores of opposite sign, one for each answer.

    Raises:
      MalformedRow: the field is not a list of `count` numbers.
    """
    values = row[field]
    if not isinstance(values, list) or len(values) != count:
        raise MalformedRow(f"field {field!r} is not a list of {count} numbers")
    sign = -1 if field in RANK_FIELDS else 1
    return [sign * require_number(v, f"{field}[{k}]") for k, v in enumerate(values)]


def parse_ranking_prompt(row: Row, answers: list[Answer], field: str) -> Messages:
    """Parse the prompt; a last message that is one of the answers is left out.

    Args:
      field: name of the field of the answers, for the error message.

    Raises:
      MalformedRow: the conversation ends with another answer, or has no prompt.
    """
    *before, last = parse_conversation(row)
    if last["role"] != "assistant":
        return [*before, last]
    if not any(same_messages([last], [assistant_message(a)]) for a in answers):
        raise MalformedRow(f"ends with an answer that is not in field {field!r}")
    if not before:
        raise MalformedRow("has answers, but no prompt")
    return before


def parse_single_answer(value: Any, field: str) -> Answer:
    """Parse one answer of a ranking: a text, or an assistant message.

    Raises:
      MalformedRow: neither of these.
    """
    messages = parse_answer(value, field)
    if len(messages) != 1 or messages[0]["role"] != "assistant":
        raise MalformedRow(f"field {field!r} is not a text or an assistant message")
    return message_to_answer(messages[0], field)


def parse_tree(root: Mapping[str, Any], location: str) -> Iterator[Ranking]:
    """Parse a tree of replies: one ranking for each user message with ranked replies.

    Raises:
      MalformedRow: a malformed node, or a rank that is not a number.
    """
    nodes: list[tuple[Mapping[str, Any], Messages]] = [(root, [])]
    while nodes:
        node, before = nodes.pop()
        replies = node.get("replies") or []
        if not isinstance(replies, list) or not all(
            isinstance(reply, Mapping) for reply in replies
        ):
            raise MalformedRow("field 'replies' is not a list of objects")
        message = {**node, "content": node.get("text")}
        path = [*before, parse_message(message, "field 'prompt':")]
        ranked = [reply for reply in replies if reply.get("rank") is not None]
        if path[-1]["role"] == "user" and len(ranked) > 1:
            with contextlib.suppress(UnusableRow):  # all ranks are equal
                yield rank_replies(path, ranked, location)
        nodes += [(reply, path) for reply in reversed(replies)]


def rank_replies(
    prompt: Messages, replies: list[Mapping[str, Any]], location: str
) -> Ranking:
    """Ranking of the replies to a message, lowest `rank` first."""
    scored = [
        (
            -require_number(reply["rank"], "rank"),
            parse_single_answer(reply.get("text"), "text"),
        )
        for reply in replies
    ]
    return public_datasets.rank_by_score(prompt, scored, location)
