"""Rewards by functions of the user's own, a batch of answers at a time.

    def brief(prompts, answers, *, references, columns):
        return [-len(answer.split()) for answer in answers]

prompts     list of message lists, such as [{"role": "user", "content": "2 + 2?"}]
answers     list of texts
references  list of lists: the reference answers of each prompt
columns     dict of lists: the other fields of the prompts' rows, None where missing

The function returns one finite number for each answer; an asynchronous one (`async
def`) is awaited, in an event loop of its own for each batch. Only the keywords that it
has are passed, and a field of the rows may be one of them (`def f(prompts, answers, *,
difficulty)`). A function with an argument `completions` is called as TRL calls its
reward functions: f(prompts=..., completions=..., **columns), where a completion is a
list of one message; `references` is passed too where it has that argument or **kwargs.
"""

import asyncio
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from jaxalign import messages
from jaxalign.data.records import Prompt, assistant_message
from jaxalign.pipeline import datasets, own_functions
from jaxalign.pipeline.own_functions import Function
from jaxalign.rewards import validation

TRL_ARGUMENT = "completions"


class Arguments(NamedTuple):
    """The arguments that a reward function takes.

    Attributes:
      is_trl: it is called as TRL calls its reward functions, by keywords alone.
      keywords: names of the arguments that are passed by keyword.
      required: those of them without a default.
      takes_all: whether it has **kwargs.
    """

    is_trl: bool
    keywords: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    takes_all: bool = False


def function_arguments(name: str, function: Function) -> Arguments:
    """Inspects the arguments of a reward function.

    Raises:
      ValueError: it takes too few.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # of a compiled function: no signature
        return Arguments(is_trl=False)
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
    takes_rest = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    named = [
        p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    positional = [
        p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    is_trl = any(p.name == TRL_ARGUMENT for p in named)
    if not is_trl:
        if len(positional) < 2 and not takes_rest:
            raise ValueError(
                f"the reward {name} takes {len(positional)} positional arguments; "
                "expected two, (prompts, answers), or TRL's (completions, **kwargs)"
            )
        first = {p.name for p in positional[:2]}
        named = [p for p in named if p.name not in first]
    required = tuple(p.name for p in named if p.default is p.empty)
    return Arguments(is_trl, tuple(p.name for p in named), required, takes_all)


def field_names(prompts: Iterable[Prompt]) -> list[str]:
    """The names of the other fields of the prompts' rows, of all rows together."""
    return list(dict.fromkeys(name for prompt in prompts for name in prompt.fields))


def call_arguments(
    name: str,
    arguments: Arguments,
    prompts: Sequence[Prompt],
    texts: Sequence[str],
    fields: Collection[str],
) -> tuple[list[Any], dict[str, Any]]:
    """The positional and keyword arguments of a call on a batch.

    Args:
      fields: names of the rows' other fields; a row without one has None there.

    Raises:
      ValueError: the function requires an argument that is no field of the rows.
    """
    columns = {field: [p.fields.get(field) for p in prompts] for field in fields}
    conversations = [list(prompt.messages) for prompt in prompts]
    known: dict[str, Any] = {
        "references": [list(prompt.references) for prompt in prompts],
        "columns": columns,
    }
    if arguments.is_trl:
        completions = [[assistant_message(text)] for text in texts]
        known |= {"prompts": conversations, TRL_ARGUMENT: completions}
    available = columns | known
    for keyword in arguments.required:
        if keyword not in available:
            hint = messages.did_you_mean(keyword, available)
            raise ValueError(
                f"the reward {name} has an argument {keyword!r}, and no row has a "
                f"field of that name; {hint}there are {', '.join(available)}"
            )
    passed = {k: available[k] for k in arguments.keywords if k in available}
    if arguments.takes_all and arguments.is_trl:
        del known["columns"]
        passed = columns | known | passed
    elif arguments.takes_all:
        passed = known | passed
    return ([] if arguments.is_trl else [conversations, list(texts)]), passed


def own_reward(
    function: Function | str, name: str = "", rows: Iterable[Prompt] | None = None
) -> datasets.RuleBasedReward:
    """The reward of a function, validated.

    Args:
      function: or its name, FILE.py:FUNCTION or PACKAGE.MODULE:FUNCTION.
      name: for messages; by default the function's.
      rows: all prompts that answers will be of: the function then has their fields in
        every batch; by default it has those of a batch's own rows.

    Returns:
      A reward that raises ValueError where the function raises, or gives another number
      of scores or a score that is no finite number; it names the function and the row.

    Raises:
      ValueError: the function does not exist, takes too few arguments, or requires one
        that is no field of `rows`.
    """
    if isinstance(function, str):
        name = name or function
        function = own_functions.load_function(function)
    name = name or function_name(function)
    arguments = function_arguments(name, function)
    fields = None if rows is None else field_names(rows)
    if fields is not None:
        call_arguments(name, arguments, [], [], fields)

    def reward(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> datasets.RewardValues:
        if not texts:
            return {"reward": np.zeros(0, np.float32)}
        known = field_names(prompts) if fields is None else fields

        def call(rows: range) -> Any:
            some = [prompts[i] for i in rows], [texts[i] for i in rows]
            positional, keywords = call_arguments(name, arguments, *some, known)
            try:
                return run_coroutine(function(*positional, **keywords))
            except Exception as error:
                raise FunctionError from error

        try:
            scores = call(range(len(texts)))
        except FunctionError as error:
            row, error = first_failure(call, range(len(texts)), error)
            why = own_functions.describe_error(error.__cause__ or error)
            place = f"at row {row}"
            if row is None:
                row, place = 0, f"on {len(texts)} answers at once, from row 0 on"
            raise validation.InvalidReward(
                f"the reward {name} raised {why} {place}", row
            ) from error.__cause__
        return {"reward": check_scores(name, scores, len(texts))}

    return datasets.with_finite_check(name, reward)


def run_coroutine(result: Any) -> Any:
    """What a function returned; of an asynchronous one, what that returns in the end.

    It runs in a thread of its own, as a notebook has an event loop in this one.
    """
    if not inspect.iscoroutine(result):
        return result
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, result).result()


class FunctionError(Exception):
    """A reward function raised the exception that is the cause of this one."""


def first_failure(
    call: Callable[[range], Any], rows: range, error: FunctionError
) -> tuple[int | None, FunctionError]:
    """The first row on which a function raises by itself, found by halving.

    Args:
      call: the function on some rows.
      rows: on which it raised.
      error: that it raised on them.

    Returns:
      The row and its error; None and `error` where neither half raises by itself.
    """
    if len(rows) == 1:
        return rows[0], error
    middle = len(rows) // 2
    for half in (rows[:middle], rows[middle:]):
        try:
            call(half)
        except FunctionError as inner:
            return first_failure(call, half, inner)
    return None, error


def check_scores(name: str, scores: Any, count: int) -> np.ndarray:
    """The scores of a batch as numbers, float32 [B].

    Args:
      scores: what the function returned: a list or an array.
      count: B, the number of answers.

    Raises:
      ValueError: no list of `count` scores.
      InvalidReward: a score that is no number.
    """
    is_list = hasattr(scores, "__iter__") and not isinstance(scores, (str, Mapping))
    if not is_list or getattr(scores, "ndim", 1) != 1:
        shape = f" of shape {np.shape(scores)}" if hasattr(scores, "ndim") else ""
        raise ValueError(
            f"the reward {name} returned a {type(scores).__name__}{shape}; expected a "
            f"list of {count} numbers, one for each answer"
        )
    rows = list(scores)
    if len(rows) != count:
        raise ValueError(
            f"the reward {name} returned {len(rows)} scores for {count} answers; "
            "expected one for each"
        )
    numbers = [check_score(name, score, row) for row, score in enumerate(rows)]
    with np.errstate(over="ignore"):  # infinite numbers are refused by their row
        return np.array(numbers).astype(np.float32)


def check_score(name: str, score: Any, row: int) -> float:
    """The score of an answer as a number; texts of numbers are none.

    Raises:
      InvalidReward: it is no number.
    """
    try:
        if not isinstance(score, str | bytes) and hasattr(score, "__float__"):
            return float(score)
    except (TypeError, ValueError, OverflowError):
        pass  # an array of several numbers, or an integer beyond floats
    shown = messages.shorten(repr(score))
    raise validation.InvalidReward(
        f"the reward {name} returned {shown}, which is no number, at row {row}", row
    )


def function_name(function: Function) -> str:
    """The name of a function, or of the class of another object that is called."""
    inner = function.func if isinstance(function, functools.partial) else function
    return str(getattr(inner, "__name__", type(inner).__name__))
