"""Rewards of texts by name, all of one form: (prompts, answers, references) -> [B].

length:N        nothing but length: 1 at N words (40 unless told), see `text.length`
bleu            smoothed sentence BLEU against the reference answers
rouge           ROUGE-L's F1 against them
exact           whether an answer is a reference
gsm8k           whether it comes to the same number; gsm8k:strict wants "#### NUMBER"
regex:PATTERN   whether the pattern is found (syntax of `re`, and what the
                package `regex` has beyond it); one that takes 5 s on an answer
                stops the run
format          whether it is <think>...</think><answer>...</answer>
"""

import difflib
import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import regex as regular

from jaxalign import json_files
from jaxalign.rewards import checks, overlap, text, verify

LONGEST = 10_000  # characters of a pattern, with what it repeats written out
Messages = Sequence[dict[str, str]]
References = Sequence[str]
TextReward = Callable[
    [Sequence[Messages], Sequence[str], Sequence[References]], np.ndarray
]
OneAnswer = Callable[[str, References], float]


def of_each(reward: OneAnswer, name: str) -> TextReward:
    """The reward of a batch, from the reward of one answer with its references."""

    def rewards(
        prompts: Sequence[Messages],
        answers: Sequence[str],
        references: Sequence[References],
    ) -> np.ndarray:
        found = []
        both = zip(answers, references, strict=True)
        for row, (answer, told) in enumerate(both):
            try:
                found.append(reward(answer, told))
            except TimeoutError as error:
                text = f"the reward {name} at row {row}: {error}"
                raise checks.Unrated(text, row) from error
        return checks.checked(name, found, len(answers))

    return rewards


def length(argument: str) -> OneAnswer:
    """Length in words."""
    shown = json_files.shortened(argument)
    if not re.fullmatch("0*[1-9][0-9]{0,8}", argument or "40"):
        raise ValueError(f"the reward length:N wants a number of words: {shown!r}")
    target = int(argument or 40)
    return lambda answer, told: float(text.length(len(answer.split()), target=target))


def regex(argument: str) -> OneAnswer:
    """Whether a pattern is found."""
    if not argument:
        raise ValueError("the reward regex:PATTERN wants a pattern")
    shown = json_files.shortened(argument)
    if len(argument) > LONGEST or verify.copies(argument) > LONGEST:
        raise ValueError(
            f"the reward regex:{shown} is longer than {LONGEST} characters, with what "
            "it repeats written out"
        )
    try:
        regular.compile(argument)
    except (regular.error, RecursionError, OverflowError, MemoryError) as error:
        why = json_files.one_line(error)
        raise ValueError(f"the reward regex:{shown}: {why}") from error
    return lambda answer, told: verify.matches(answer, argument)


def number(argument: str) -> OneAnswer:
    """Whether the number is right."""
    if argument not in ("", "strict"):
        shown = json_files.shortened(argument)
        raise ValueError(f"the reward gsm8k is gsm8k or gsm8k:strict, not {shown!r}")
    return functools.partial(verify.gsm8k, strict=argument == "strict")


def plain(reward: OneAnswer) -> Callable[[str], OneAnswer]:
    """A reward that takes nothing after its name."""

    def make(argument: str) -> OneAnswer:
        if argument:
            shown = json_files.shortened(argument)
            raise ValueError(f"this reward takes nothing after its name: {shown!r}")
        return reward

    return make


class Named(NamedTuple):
    """A reward, from what stands after the colon, and whether it needs references."""

    make: Callable[[str], OneAnswer]
    references: bool = False


NAMED = {
    "length": Named(length),
    "bleu": Named(
        plain(lambda answer, told: overlap.bleu(verify.concluded(answer), told)), True
    ),
    "rouge": Named(
        plain(lambda answer, told: overlap.rouge_l(verify.concluded(answer), told)),
        True,
    ),
    "exact": Named(plain(verify.exact_match), True),
    "gsm8k": Named(number, True),
    "regex": Named(regex),
    "format": Named(plain(lambda answer, told: verify.thought_then_answer(answer))),
}


def known(name: str) -> bool:
    """Whether there is a reward of that name."""
    return name.partition(":")[0] in NAMED


def needs_references(name: str) -> bool:
    """Whether the reward of that name compares with reference answers."""
    return NAMED[name.partition(":")[0]].references


def near(name: str) -> list[str]:
    """The names that one may have meant."""
    return difflib.get_close_matches(name.partition(":")[0].lower(), NAMED, n=2)


def reward(name: str) -> TextReward:
    """The reward of that name.

    It raises `checks.Unrated` where an answer has no reward in time.

    Raises:
      ValueError: there is none (the near ones are suggested), or what stands after the
        colon is not for it.

    >>> reward("gsm8k")([[]], ["It is 18."], [["#### 18"]]).tolist()
    [1.0]
    """
    kind, _, argument = name.partition(":")
    shown = json_files.shortened(name)
    if kind not in NAMED:
        hint = f"did you mean {' or '.join(near(kind))}? " if near(kind) else ""
        raise ValueError(
            f"unknown reward {shown!r}: {hint}there are {', '.join(NAMED)}"
        )
    return of_each(NAMED[kind].make(argument), shown)
