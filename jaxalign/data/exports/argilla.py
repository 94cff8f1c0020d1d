"""Argilla's exports: a record with the responses of several people.

nested     {"id", "fields": {"prompt", "response1", "response2"}, "metadata": {...},
            "responses": {"preference": [{"value", "user_id", "status"}]}}
flattened  {"prompt", "response1", "response2", "preference.responses": [...],
            "preference.responses.users": [...], "preference.responses.status": [...]}
version 1  {"prompt", ..., "preference": [{"user_id", "value", "status"}]}

Values of a ranking question: names of fields, best first, or {"value": name, "rank":
1}, equal ranks for ties; of a label question: the name of a field, or left, B, 2, ...
Rating questions of each answer (`response1_rating`) rank the answers.

Reference: https://docs.argilla.io, "Query and export records".
"""

import collections
from collections.abc import Iterator, Mapping
from typing import Any

from jaxalign.data.exports import compared
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas.checks import preview

SUFFIX = ".responses"
SUBMITTED = (None, "submitted", "ResponseStatus.submitted")
TOOL_FIELDS = ("_server_id", "vectors", "suggestions", "inserted_at", "updated_at")

# question -> responses of (value, annotator, status)
Responses = dict[str, list[tuple[Any, str, Any]]]


def is_export(row: Mapping[str, Any]) -> bool:
    """Whether a row is a record of Argilla, nested or flattened."""
    if isinstance(row.get("fields"), Mapping):
        return isinstance(row.get("responses"), Mapping)
    flat = any(k.endswith(SUFFIX) and isinstance(v, list) for k, v in row.items())
    return flat or bool(response_lists(row))


def response_lists(row: Mapping[str, Any]) -> list[str]:
    """Names of the fields that are lists of responses, as version 1 wrote them."""
    return [
        name
        for name, value in row.items()
        if isinstance(value, list)
        and value
        and all(
            isinstance(v, Mapping) and {"user_id", "value"} <= set(v) for v in value
        )
    ]


def parse_record(row: Mapping[str, Any]) -> tuple[dict[str, Any], Responses]:
    """The fields of a record with its metadata, and its responses by question."""
    if isinstance(row.get("fields"), Mapping):
        data = {**(row.get("metadata") or {}), **row["fields"]}
        questions = row["responses"]
    else:
        questions = {name: row[name] for name in response_lists(row)}
        data = {
            name: value
            for name, value in row.items()
            if name not in (*questions, *TOOL_FIELDS, "id", "status", "external_id")
            and SUFFIX not in name
            and not name.endswith("-suggestion")
            and ".suggestion" not in name
        }
    responses: Responses = {}
    for question, given in questions.items():
        responses[question] = [
            (each.get("value"), str(each.get("user_id")), each.get("status"))
            for each in given or []
            if isinstance(each, Mapping)
        ]
    for name, values in row.items():
        if name.endswith(SUFFIX) and isinstance(values, list):
            users = row.get(f"{name}.users") or [None] * len(values)
            status = row.get(f"{name}.status") or [None] * len(values)
            given = list(zip(values, map(str, users), status, strict=False))
            responses[name.removesuffix(SUFFIX)] = given
    return data, responses


def judgements(row: Mapping[str, Any]) -> Iterator[Any]:
    """A row of our layouts for each response to a record.

    Raises:
      MalformedRow: a response that cannot be read, or several questions that compare.
    """
    data, responses = parse_record(row)
    answers, field = compared.answers_of(data)
    ratings = rating_questions(responses, list(answers))
    more = {"item": str(row.get("id", ""))}
    if ratings:
        yield from rated_rows(data, answers, field, ratings, responses, more)
        return
    comparing = [q for q in responses if is_comparison(responses[q], list(answers))]
    if len(comparing) > 1:
        raise MalformedRow(
            f"the questions {', '.join(comparing)} all compare: leave one in"
        )
    for question in comparing:
        for value, user, status in responses[question]:
            try:
                if status not in SUBMITTED:
                    raise UnusableRow(f"with a response that is {status}")
                ranks = value_ranks(value, list(answers))
                named = more | {"annotator": user}
                yield compared.judged_row(data, answers, ranks, field, named)
            except UnusableRow as reason:
                yield reason


def is_comparison(given: list[tuple[Any, str, Any]], names: list[str]) -> bool:
    """Whether a question's responses say which answer is better."""
    try:
        for value, _, _ in given:
            value_ranks(value, names)
    except UnusableRow:
        return True
    except MalformedRow:
        return False
    return bool(given)


def value_ranks(value: Any, names: list[str]) -> dict[str, float]:
    """The rank of each answer by a response's value.

    Raises:
      UnusableRow: a tie.
      MalformedRow: it names no answer.
    """
    if isinstance(value, list):
        ranks = {}
        for place, each in enumerate(value):
            name, rank = each, place + 1.0
            if isinstance(each, Mapping):
                name, rank = each.get("value"), each.get("rank", place + 1.0)
            ranks[names[compared.choice_index(name, names)]] = float(rank)
        if len(ranks) < 2:
            raise MalformedRow(f"the ranking is {preview(value)}; expected two or more")
        return ranks
    if not isinstance(value, str):
        raise MalformedRow(f"the response is {preview(value)}; expected an answer")
    best = compared.choice_index(value, names)
    return {name: 1.0 if i == best else 2.0 for i, name in enumerate(names)}


def rating_questions(responses: Responses, names: list[str]) -> dict[str, str]:
    """The rating question of each answer by its name; {} where one lacks."""
    found = {}
    for name in names:
        for ending in ("_rating", "-rating", "_quality", "_score"):
            if name + ending in responses:
                found[name] = name + ending
    return found if len(found) == len(names) else {}


def rated_rows(
    data: Mapping[str, Any],
    answers: Mapping[str, str],
    field: str | None,
    ratings: Mapping[str, str],
    responses: Responses,
    more: Mapping[str, Any],
) -> Iterator[Any]:
    """A row for each annotator who rated the answers, higher is better."""
    by_user: dict[str, dict[str, float]] = collections.defaultdict(dict)
    for name, question in ratings.items():
        for value, user, status in responses[question]:
            if status in SUBMITTED and isinstance(value, int | float | str):
                by_user[user][name] = -float(value)
    for user, ranks in by_user.items():
        try:
            named = {**more, "annotator": user}
            yield compared.judged_row(data, answers, ranks, field, named)
        except UnusableRow as reason:
            yield reason
