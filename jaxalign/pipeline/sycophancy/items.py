"""Items of the protocols from files: questions, opinions, texts to comment on.

TruthfulQA     Question, Best Answer, Correct Answers, Incorrect Answers, ... (CSV)
Sharma et al.  {"base": {"question", "correct_letter", "answers", ...}}, or with
               "correct_answer" and "incorrect_answer"
any            {"question", "options": [...], "answer": a letter, an index or a text},
               or with "correct_answer" and "incorrect_answer"
opinions       {"neutral_prompt", "biased_prompt", "sycophantic_target",
               "honest_target"}
texts          {"text", "kind"}
"""

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from jaxalign import messages, streams
from jaxalign.data.formats import files
from jaxalign.data.row_errors import MalformedRow, UnusableRow
from jaxalign.data.schemas.checks import first_field, preview, require_text
from jaxalign.evaluation.sycophancy import grading
from jaxalign.pipeline.multiple_choice import rows as question_rows
from jaxalign.pipeline.sycophancy import prompts
from jaxalign.pipeline.sycophancy.protocols import BeliefItem, DoubtItem, FramedItem

Item = TypeVar("Item")
MOST_OPTIONS = 4  # of a question of TruthfulQA


@dataclasses.dataclass(frozen=True)
class Question:
    """A question with right and wrong answers.

    Attributes:
      options: the right answer and wrong ones, in the order shown; () for a free
        answer.
      right, wrong: references of a free answer; the first of each is what users say.
      correct: index of the right option.
      location: FILE:LINE.
    """

    question: str
    options: tuple[str, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    correct: int
    location: str


@dataclasses.dataclass(frozen=True)
class Opinion:
    """A question of opinion, without and with the views of the user.

    Attributes:
      agreeing, other: the option that agrees with the user, and the other.
      location: FILE:LINE.
    """

    neutral: str
    biased: str
    agreeing: str
    other: str
    location: str

    @property
    def unit(self) -> str:
        """The unit of intervals."""
        return self.location


def read_items(
    path: str, parse: Callable[[Mapping[str, Any], str], Item]
) -> list[Item]:
    """The items of a file, or of all files of a folder.

    Raises:
      FileNotFoundError: no such file.
      ValueError: a malformed row (FILE:LINE and the field), or no rows.
    """
    items = []
    for file in files.list_all_files([path]):
        for location, row in files.read_rows(file):
            try:
                if isinstance(row, MalformedRow | UnusableRow):
                    raise row
                if not isinstance(row, Mapping):
                    raise MalformedRow("is not a JSON object")
                items.append(parse(row, location))
            except (MalformedRow, UnusableRow, RecursionError) as error:
                raise ValueError(f"{location}: {messages.one_line(error)}") from error
    if not items:
        raise ValueError(f"{path} holds no items")
    return items


def parse_question(row: Mapping[str, Any], location: str) -> Question:
    """A question in any of the layouts above.

    Raises:
      MalformedRow: names the field at fault.
    """
    if "Correct Answers" in row:
        return truthful_question(row, location)
    base = row["base"] if isinstance(row.get("base"), Mapping) else row
    question = require_text(base[first_field(base, "question")], "question").strip()
    if "correct_answer" in base:
        right = require_text(base["correct_answer"], "correct_answer")
        field = first_field(base, "incorrect_answer")
        more = [x for x in text_list(base, "answer") if x != right]
        stated = require_text(base[field], field)
        return Question(question, (), (right, *more), (stated,), 0, location)
    options = tuple(text_list(base, "options", "choices", "answers"))
    if len(options) < 2 or len(options) > len(prompts.LETTERS):
        raise MalformedRow(
            f"field 'options' has {len(options)} texts; expected 2 to "
            f"{len(prompts.LETTERS)}, or fields 'correct_answer' and 'incorrect_answer'"
        )
    field = first_field(base, "correct_letter", "answer", "label")
    correct = option_index(base[field], options, field)
    wrong = tuple(x for i, x in enumerate(options) if i != correct)
    return Question(question, options, (options[correct],), wrong, correct, location)


def text_list(row: Mapping[str, Any], *names: str) -> list[str]:
    """The texts of the first of these fields that the row has; [] without one."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str) and value.startswith("\n("):  # lettered lines
            return [x.strip() for x in re.split(r"\n\([A-H]\)", value)[1:]]
        if isinstance(value, Sequence) and not isinstance(value, str):
            return [str(x) for x in value]
    return []


def option_index(value: Any, options: Sequence[str], field: str) -> int:
    """The index of the right option: of a letter, an index from 0, or a text.

    Raises:
      MalformedRow: it is none of these.
    """
    letters = prompts.LETTERS[: len(options)]
    if isinstance(value, int) and not isinstance(value, bool):
        if 0 <= value < len(options):
            return value
    elif isinstance(value, str):
        if value in options:
            return list(options).index(value)
        letter = value.strip().strip("().").upper()
        if len(letter) == 1 and letter in letters:
            return letters.index(letter)
    raise MalformedRow(
        f"field {field!r} is {preview(value)}; expected a letter of {letters}, an "
        "index from 0, or one of the options"
    )


def truthful_question(row: Mapping[str, Any], location: str) -> Question:
    """A question of TruthfulQA: its best answer among wrong ones, in a fixed order."""
    parsed = question_rows.parse_truthful(row, location)
    best_false = parsed.best_false or 0
    wrong = [parsed.false[best_false]]
    wrong += [x for x in parsed.false if x not in wrong][: MOST_OPTIONS - 2]
    options = [parsed.true[parsed.best_true], *wrong]
    noise = streams.generator(0, "options", streams.prompt_id([{"q": parsed.question}]))
    order = noise.permutation(len(options)).tolist()
    right = (options[0], *(x for x in parsed.true if x != options[0]))
    return Question(
        parsed.question,
        tuple(options[i] for i in order),
        right,
        (wrong[0], *(x for x in parsed.false if x != wrong[0])),
        order.index(0),
        location,
    )


def parse_opinion(row: Mapping[str, Any], location: str) -> Opinion:
    """A question of opinion; the tokens of another model's template are removed.

    Raises:
      MalformedRow: names the field at fault.
    """
    text = lambda name: require_text(row[first_field(row, name)], name)
    return Opinion(
        neutral=user_text(text("neutral_prompt")),
        biased=user_text(text("biased_prompt")),
        agreeing=text("sycophantic_target").strip(),
        other=text("honest_target").strip(),
        location=location,
    )


def user_text(prompt: str) -> str:
    """The user's message of a prompt that was rendered with Llama 3's template.

    >>> user_text("<|start_header_id|>user<|end_header_id|>\\n\\nHi.<|eot_id|><|x|>")
    'Hi.'
    """
    _, header, rest = prompt.rpartition("user<|end_header_id|>")
    text = rest if header else prompt
    text = text.split("<|eot_id|>")[0].strip()
    return text.removesuffix("Answer:").strip()


def parse_text(row: Mapping[str, Any], location: str) -> FramedItem:
    """A text to comment on.

    Raises:
      MalformedRow: names the field at fault.
    """
    base = row["base"] if isinstance(row.get("base"), Mapping) else row
    text = require_text(base[first_field(base, "text")], "text").strip()
    kind = str(base.get("kind") or base.get("dataset") or "text").rstrip("s")
    return FramedItem(location, prompts.feedback_prompts(text, kind))


def shown_question(question: Question) -> str:
    """The question as the user asks it."""
    if not question.options:
        return question.question
    return prompts.choice_prompt(question.question, question.options)


def grade(question: Question, text: str | None) -> float:
    """The grade of an answer: 1 right, 0 wrong, NaN unreadable."""
    if not question.options:
        return grading.grade_text(text, question.right, question.wrong)
    letters = prompts.LETTERS[: len(question.options)]
    right = letters[question.correct]
    return grading.grade_choice(text, letters, right, question.options)


def doubt_item(question: Question) -> DoubtItem:
    """The are-you-sure protocol of a question."""
    letters = prompts.LETTERS[: len(question.options)]
    return DoubtItem(
        unit=question.location,
        question=shown_question(question),
        challenge=prompts.CHALLENGE,
        final=prompts.FINAL_LETTER if letters else prompts.FINAL_TEXT,
        grade=lambda text: grade(question, text),
        choice=(
            (lambda text: grading.choose_option(text, letters, question.options))
            if letters
            else grading.normalize_text
        ),
    )


def belief_item(question: Question) -> BeliefItem:
    """The answer protocol of a question."""
    right, wrong = question.right[0], question.wrong[0]
    if question.options:
        letter = lambda x: f"({prompts.LETTERS[question.options.index(x)]})"
        right, wrong = letter(right), letter(wrong)
    asked = prompts.belief_prompts(shown_question(question), right, wrong)
    return BeliefItem(question.location, asked, lambda text: grade(question, text))


def sample_items(items: Sequence[Item], count: int | None, seed: int) -> list[Item]:
    """At most `count` items at random, in their order; None keeps all."""
    if count is None or count >= len(items):
        return list(items)
    order = streams.generator(seed, "items").permutation(len(items))
    return [items[i] for i in sorted(order[:count].tolist())]


def read_texts(path: str) -> Iterator[FramedItem]:
    """The texts to comment on of a file."""
    yield from read_items(path, parse_text)
