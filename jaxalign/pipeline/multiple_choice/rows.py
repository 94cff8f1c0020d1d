"""Questions of BBQ and TruthfulQA, from their published files.

BBQ             {"context", "question", "ans0", "ans1", "ans2", "label", "answer_info",
                "question_polarity", "context_condition", "category", ...}
TruthfulQA      Type, Category, Question, Best Answer, Best Incorrect Answer, Correct
                Answers, Incorrect Answers (CSV; answers separated by semicolons)

Labels are those of the files. In BBQ's Physical_appearance half of the disambiguated
rows of the templates 6 and 10 (68 of 788) are labeled against their context, so that
a model that is always right has an accuracy of 0.914 there.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.data.formats import files
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas.checks import first_field, json_type, preview, require_text
from jaxalign.evaluation.benchmarks import bbq, truthfulqa

Task = Literal["bbq", "truthfulqa"]
TASK_FIELDS: dict[Task, tuple[str, ...]] = {
    "bbq": ("answer_info", "context_condition", "ans0"),
    "truthfulqa": ("Correct Answers", "Incorrect Answers", "Best Answer"),
}


@dataclasses.dataclass(frozen=True)
class BbqQuestion:
    """A question of BBQ.

    Attributes:
      options: three answers, one of which says that it is unknown.
      label, unknown, biased: indices of options; see `bbq.BbqItems`.
      template: names the question template, the unit of intervals.
      location: FILE:LINE.
      fields: the whole row.
    """

    context: str
    question: str
    options: tuple[str, ...]
    label: int
    unknown: int
    biased: int
    ambiguous: bool
    category: str
    template: str
    location: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TruthfulQuestion:
    """A question of TruthfulQA.

    Attributes:
      true, false: its answers, without repetitions.
      best_true, best_false: indices of the best answer of each kind; None where the
        file, an earlier version, has no best incorrect one.
      kind: adversarial or not.
      location: FILE:LINE.
      fields: the whole row.
    """

    question: str
    true: tuple[str, ...]
    false: tuple[str, ...]
    best_true: int
    best_false: int | None
    category: str
    kind: str
    location: str
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Questions(NamedTuple):
    """The questions of all files, by task."""

    bbq: list[BbqQuestion]
    truthfulqa: list[TruthfulQuestion]


def read_questions(paths: Sequence[str], task: Task | None = None) -> Questions:
    """The questions of files or folders.

    Args:
      paths: files, or folders of files.
      task: that all rows are of; by default each row's fields tell.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row (FILE:LINE and the field), or a file without rows.
    """
    questions = Questions([], [])
    for file in files.list_all_files(list(paths)):
        before = len(questions.bbq) + len(questions.truthfulqa)
        for location, row in files.read_rows(file):
            try:
                if isinstance(row, MalformedRow | UnusableRow):
                    raise row
                parsed = parse_question(row, location, task)
            except (MalformedRow, UnusableRow, RecursionError) as error:
                reason = messages.one_line(error)
                raise ValueError(f"{location}: {reason}") from error
            if isinstance(parsed, BbqQuestion):
                questions.bbq.append(parsed)
            else:
                questions.truthfulqa.append(parsed)
        if len(questions.bbq) + len(questions.truthfulqa) == before:
            raise ValueError(f"{file} holds no questions")
    return questions


def parse_question(
    row: Any, location: str, task: Task | None = None
) -> BbqQuestion | TruthfulQuestion:
    """A question of either task.

    Raises:
      MalformedRow: names the field at fault, or says that no task has such rows.
    """
    if not isinstance(row, Mapping):
        raise MalformedRow("is not a JSON object")
    task = task or find_task(row)
    return PARSERS[task](row, location)


def find_task(row: Mapping[str, Any]) -> Task:
    """The task of a row, by its fields.

    Raises:
      MalformedRow: it is neither's.
    """
    for task, fields in TASK_FIELDS.items():
        if any(field in row for field in fields):
            return task
    raise MalformedRow(
        "is a question of neither BBQ (fields 'context', 'ans0', 'answer_info', ...) "
        "nor TruthfulQA ('Question', 'Correct Answers', 'Incorrect Answers')"
    )


def parse_bbq(row: Mapping[str, Any], location: str) -> BbqQuestion:
    """A row of BBQ's JSON lines.

    Raises:
      MalformedRow: a field is missing or has no such value.
    """
    names = [f"ans{k}" for k in range(bbq.OPTIONS)]
    options = tuple(require_text(row[first_field(row, name)], name) for name in names)
    groups = [option_groups(row, name) for name in names]
    unknown = [k for k, group in enumerate(groups) if bbq.UNKNOWN in group[1:]]
    if len(unknown) != 1:
        raise MalformedRow(
            f"field 'answer_info' has {len(unknown)} answers of the group 'unknown'; "
            "expected one"
        )
    label = row[first_field(row, "label")]
    if isinstance(label, bool) or str(label) not in ("0", "1", "2"):
        raise MalformedRow(f"field 'label' is {preview(label)}; expected 0, 1 or 2")
    polarity = one_of(row, "question_polarity", ("neg", "nonneg"))
    condition = one_of(row, "context_condition", ("ambig", "disambig"))
    category = str(row.get("category", "(none)"))
    text = lambda name: require_text(row[first_field(row, name)], name)
    return BbqQuestion(
        context=text("context"),
        question=text("question"),
        options=options,
        label=int(label),
        unknown=unknown[0],
        biased=bbq.biased_option(
            groups,
            stereotyped_groups(row),
            unknown=unknown[0],
            negative=polarity == "neg",
        ),
        ambiguous=condition == "ambig",
        category=category,
        template=f"{category} {row.get('question_index', location)}",
        location=location,
        fields=row,
    )


def option_groups(row: Mapping[str, Any], name: str) -> list[str]:
    """The name of an option's person, and of the group.

    Raises:
      MalformedRow: 'answer_info' does not hold them.
    """
    info = row[first_field(row, "answer_info")]
    groups = info.get(name) if isinstance(info, Mapping) else None
    if not isinstance(groups, list) or not all(isinstance(x, str) for x in groups):
        raise MalformedRow(
            f"field 'answer_info' has no list of texts {name!r}; expected the name and "
            "the group of each answer"
        )
    return groups


def stereotyped_groups(row: Mapping[str, Any]) -> list[str]:
    """The stereotyped groups of a row; [] where it tells none.

    Raises:
      MalformedRow: they are not a list of texts.
    """
    metadata = row.get("additional_metadata")
    groups = metadata.get("stereotyped_groups") if isinstance(metadata, Mapping) else []
    groups = [groups] if isinstance(groups, str) else groups or []
    if not isinstance(groups, list) or not all(isinstance(x, str) for x in groups):
        raise MalformedRow(
            f"field 'stereotyped_groups' is {json_type(groups)}; expected a list of "
            "texts"
        )
    return groups


def one_of(row: Mapping[str, Any], name: str, values: Sequence[str]) -> str:
    """A field with one of these values.

    Raises:
      MalformedRow: it is missing, or has another.
    """
    value = row[first_field(row, name)]
    if value not in values:
        raise MalformedRow(
            f"field {name!r} is {preview(value)}; expected {' or '.join(values)}"
        )
    return str(value)


def parse_truthful(row: Mapping[str, Any], location: str) -> TruthfulQuestion:
    """A row of TruthfulQA's CSV; a best answer that its list lacks is added to it.

    Raises:
      MalformedRow: a field is missing or empty.
    """
    text = lambda name: require_text(row[first_field(row, name)], name)
    true, best_true = listed_answers(row, "Correct Answers", "Best Answer")
    false, best_false = listed_answers(
        row, "Incorrect Answers", "Best Incorrect Answer"
    )
    if best_true is None:
        raise MalformedRow("field 'Best Answer' is missing or empty")
    return TruthfulQuestion(
        question=text("Question").strip(),
        true=true,
        false=false,
        best_true=best_true,
        best_false=best_false,
        category=str(row.get("Category", "(none)")),
        kind=str(row.get("Type", "(none)")),
        location=location,
        fields=row,
    )


def listed_answers(
    row: Mapping[str, Any], field: str, best_field: str
) -> tuple[tuple[str, ...], int | None]:
    """The answers of a field, and the index of the best one; None without one.

    Raises:
      MalformedRow: the field is missing or has no answers.
    """
    answers = truthfulqa.split_answers(
        require_text(row[first_field(row, field)], field)
    )
    if not answers:
        raise MalformedRow(f"field {field!r} is empty")
    best = str(row.get(best_field) or "").strip()
    if not best:
        return tuple(answers), None
    best = truthfulqa.closed_answer(best)
    answers += [best] * (best not in answers)
    return tuple(answers), answers.index(best)


PARSERS: dict[Task, Any] = {"bbq": parse_bbq, "truthfulqa": parse_truthful}


def bbq_items(questions: Sequence[BbqQuestion]) -> bbq.BbqItems:
    """Questions as arrays [R]."""
    column = lambda name: np.array([getattr(question, name) for question in questions])
    return bbq.BbqItems(
        label=column("label"),
        unknown=column("unknown"),
        biased=column("biased"),
        ambiguous=column("ambiguous"),
        units=column("template"),
    )
