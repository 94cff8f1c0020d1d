"""Label Studio's JSON export: a task with the annotations of several people.

{"id": 1, "data": {"prompt": ..., "answer1": ..., "answer2": ...},
 "annotations": [{"completed_by": 7, "was_cancelled": false, "lead_time": 4.2,
   "result": [{"type": "pairwise", "from_name": "pw", "to_name": "answer1,answer2",
               "value": {"selected": "left"}}]}]}

Results of the types pairwise, choices (that name an answer) and ranker (a list of the
items' ids, best first, or lists by bucket, of which the one named `rank` or a single
one is read).

Reference: https://labelstud.io/guide/task_format, and its tags Pairwise and Ranker.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxalign.data.exports import compared
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas.checks import preview

TYPES = ("pairwise", "choices", "ranker")


def is_export(row: Mapping[str, Any]) -> bool:
    """Whether a row is a task of Label Studio."""
    return isinstance(row.get("data"), Mapping) and isinstance(
        row.get("annotations"), list
    )


def judgements(row: Mapping[str, Any]) -> Iterator[Any]:
    """A row of our layouts for each annotation of a task.

    Raises:
      MalformedRow: an annotation that cannot be read.
    """
    for annotation in row["annotations"]:
        if not isinstance(annotation, Mapping):
            raise MalformedRow("field 'annotations' is not a list of objects")
        try:
            yield judgement(row, annotation)
        except UnusableRow as reason:
            yield reason


def judgement(row: Mapping[str, Any], annotation: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an annotation.

    Raises:
      UnusableRow: it was skipped, is a tie, or compares nothing.
      MalformedRow: it cannot be read.
    """
    if annotation.get("was_cancelled"):
        raise UnusableRow("skipped by the annotator")
    results = [
        result
        for result in annotation.get("result") or []
        if isinstance(result, Mapping) and result.get("type") in TYPES
    ]
    if not results:
        raise UnusableRow("without a comparison")
    if len(results) > 1:
        names = ", ".join(str(result.get("from_name")) for result in results)
        raise MalformedRow(
            f"an annotation has {len(results)} comparisons ({names}): leave one in"
        )
    (result,) = results
    data, value = row["data"], result.get("value")
    if not isinstance(value, Mapping):
        raise MalformedRow(f"the result's value is {preview(value)}, not an object")
    answers, field = compared.answers_of(data, named_fields(result.get("to_name")))
    more = {"annotator": annotator(annotation), "item": str(row.get("id", ""))}
    if annotation.get("lead_time") is not None:
        more["seconds"] = annotation["lead_time"]
    return compared.judged_row(data, answers, ranks_of(value, answers), field, more)


def named_fields(to_name: Any) -> list[str]:
    """The names in `to_name`, which is a text with commas or a list."""
    if isinstance(to_name, str):
        return to_name.split(",")
    return list(map(str, to_name)) if isinstance(to_name, list) else []


def annotator(annotation: Mapping[str, Any]) -> str:
    """The id or the address of who annotated."""
    by = annotation.get("completed_by")
    return str(by.get("email") or by.get("id")) if isinstance(by, Mapping) else str(by)


def ranks_of(value: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, float]:
    """The rank of each answer by a result's value, 1 the best.

    Raises:
      UnusableRow: a tie.
      MalformedRow: it names no answer, or an unknown one.
    """
    names = list(answers)
    if "ranker" in value:
        return ranker_ranks(value["ranker"], names)
    choice = value.get("selected", value.get("choices"))
    if isinstance(choice, list):
        if len(choice) != 1:
            raise MalformedRow(f"{len(choice)} choices; expected one")
        (choice,) = choice
    best = compared.choice_index(choice, names)
    return {name: 1.0 if i == best else 2.0 for i, name in enumerate(names)}


def ranker_ranks(order: Any, names: list[str]) -> dict[str, float]:
    """The ranks of a ranker's list of ids.

    Raises:
      MalformedRow: several buckets, or an id that is no answer's.
    """
    if isinstance(order, Mapping):
        buckets = {k: v for k, v in order.items() if k != "_" and v}
        named = {"rank": order["rank"]} if "rank" in order else buckets
        if len(named) != 1:
            raise MalformedRow(
                f"the ranker has the buckets {', '.join(map(str, buckets)) or 'none'}; "
                "expected one, or one named rank"
            )
        (order,) = named.values()
    if not isinstance(order, list) or not set(map(str, order)) <= set(names):
        raise MalformedRow(
            f"the ranker's order is {preview(order)}; expected {', '.join(names)}"
        )
    return {str(name): place + 1.0 for place, name in enumerate(order)}
