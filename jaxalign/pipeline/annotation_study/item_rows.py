"""Items of a study from rows: pairs, lists of answers, single answers of models.

{"prompt", "answers": [...]}     a ranking or ratings; of pairs, two at a time
{"prompt", "chosen", "rejected"} a pair; which one was preferred is not shown
{"prompt", "answer", "model"}    the answers to one prompt make an item
a folder of experiments.collect  its rankings or pairs; of experiments.generate,
                                 its answers
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.data.records import conversation_key
from jaxalign.data.row_errors import MalformedRow
from jaxalign.feedback.judgements import Item
from jaxalign.pipeline.annotation_study.row_answers import (
    Answers,
    data_files,
    locate_errors,
    parse_row_answers,
    rows_of,
)
from jaxalign.pipeline.evaluation.answer_rows import parse_answer_row

KINDS = {"pairwise": "pair", "ranking": "ranking", "rating": "rating"}
FEWEST = {"pairwise": 2, "ranking": 2, "rating": 1}
MOST = 26  # answers, which letters name


class ItemsRead(NamedTuple):
    """The items of a file, and what was left out.

    Attributes:
      left_out: sentences with counts.
    """

    items: list[Item]
    left_out: list[str]


def read_items(path: Path | str, kind: str) -> ItemsRead:
    """The items of a file or folder.

    Args:
      kind: "pairwise", "ranking" or "rating".

    Raises:
      FileNotFoundError: no such file.
      ValueError: a row that is no item (FILE:LINE and the field), or none at all.
    """
    items, equal, twice, seen = [], 0, 0, set()
    for answers in read_answers(path, kind):
        if len(answers.answers) < FEWEST[kind]:
            raise ValueError(
                f"{answers.location}: one answer; --kind {kind} needs two or more to a "
                "prompt"
            )
        if len(answers.answers) > MOST:
            raise ValueError(
                f"{answers.location}: {len(answers.answers)} answers; a page shows at "
                f"most {MOST}"
            )
        for item in split_items(answers, kind):
            if len(set(item.answers)) < len(item.answers):
                equal += 1
            elif item.id in seen:
                twice += 1
            else:
                seen.add(item.id)
                items.append(item)
    if not items:
        reason = f": in {equal} of them the answers are equal" if equal else ""
        raise ValueError(f"{path} holds no items to judge{reason}")
    left_out = []
    if equal:
        left_out.append(f"{equal} items have equal answers and are left out")
    if twice:
        left_out.append(f"{twice} items come twice and are shown once")
    return ItemsRead(items, left_out)


def read_gold(path: Path | str, kind: str) -> list[Item]:
    """Items that test annotators: rows whose order is the expected judgement.

    A pair's `chosen` is the expected answer; `answers` are best first, or as their
    ranks say; of ratings, `ratings` has the expected ones, 1 to 7. A `reason` is told
    to annotators with --gold-feedback.

    Raises:
      FileNotFoundError, ValueError: as `read_items`.
    """
    items = []
    for location, row in rows_of(data_files(path, kind)):
        with locate_errors(location):
            items.append(parse_gold(row, location, kind))
    if not items:
        raise ValueError(f"{path} holds no gold items")
    return items


def parse_gold(row: Any, location: str, kind: str) -> Item:
    """The gold item in a row.

    Raises:
      MalformedRow, UnusableRow: it is none; says why.
    """
    gold: dict[str, Any]
    answers = parse_row_answers(row, location, keep_order=kind == "ranking")
    if answers is None:
        raise MalformedRow("has neither 'chosen' and 'rejected' nor 'answers'")
    if kind == "pairwise":
        if len(answers.answers) != 2:
            raise MalformedRow("a gold pair has two answers, the better one first")
        gold = {"best": 0}
    elif kind == "ranking":
        gold = {"ranks": list(range(1, len(answers.answers) + 1))}
    else:
        ratings = row.get("ratings")
        whole = lambda x: isinstance(x, int) and not isinstance(x, bool) and 1 <= x <= 7
        if (
            not isinstance(ratings, list)
            or len(ratings) != len(answers.answers)
            or not all(map(whole, ratings))
        ):
            raise MalformedRow("field 'ratings': expected 1 to 7 for each answer")
        gold = {"ratings": ratings}
    if isinstance(row.get("reason"), str):
        gold["reason"] = row["reason"]
    item = make_item(answers, kind)
    return item._replace(id=f"gold-{item.id}", gold=gold)


def read_answers(path: Path | str, kind: str) -> Iterator[Answers]:
    """The answers to each prompt, in the order of the prompts.

    Raises:
      FileNotFoundError, ValueError: as `read_items`.
    """
    groups: dict[Any, Answers] = {}
    for location, row in rows_of(data_files(path, kind)):
        with locate_errors(location):
            several = parse_row_answers(row, location)
            if several is not None:
                yield several
                continue
            one = parse_answer_row(row, location)
        messages = one.prompt.messages
        key = conversation_key(messages)
        fields = {"source": [], **one.prompt.fields}
        group = groups.setdefault(key, Answers(location, messages, [], fields))
        if one.answer in group.answers:
            continue  # as another sample
        group.answers.append(one.answer)
        group.fields["source"].append(one.model or None)
    yield from groups.values()


def split_items(answers: Answers, kind: str) -> Iterator[Item]:
    """The items of the answers to a prompt: one, or disjoint pairs.

    Pairs of more than two answers are drawn by a hash, as rankings come best first.
    """
    if kind != "pairwise" or len(answers.answers) == 2:
        yield make_item(answers, kind)
        return
    places = sorted(
        range(len(answers.answers)),
        key=lambda i: digest([answers.prompt, answers.answers[i]]),
    )
    for pair in zip(places[::2], places[1::2], strict=False):
        yield make_item(select(answers, pair), kind)


def select(answers: Answers, places: Sequence[int]) -> Answers:
    """Some of the answers, with their entries in fields that have one for each."""
    count = len(answers.answers)
    fields = {
        name: [value[i] for i in places]
        if isinstance(value, list) and len(value) == count
        else value
        for name, value in answers.fields.items()
    }
    texts = [answers.answers[i] for i in places]
    return answers._replace(answers=texts, fields=fields)


def make_item(answers: Answers, kind: str) -> Item:
    """An item, whose id depends on its texts alone."""
    name = digest([kind, answers.prompt, answers.answers])[:16]
    fields = {k: v for k, v in answers.fields.items() if k != "reason"}
    return Item(name, KINDS[kind], answers.prompt, tuple(answers.answers), fields)


def digest(value: Any) -> str:
    """A hash of a JSON value."""
    text = json.dumps(value, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
