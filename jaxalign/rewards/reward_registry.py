"""Rewards of texts by name, all of one form: (prompts, answers, references) -> [B].

length:N        nothing but length: 1 at N words (40 unless told), see `rule_based.length_reward`
bleu            smoothed sentence BLEU against the reference answers
rouge           ROUGE-L's F1 against them
exact           whether an answer is a reference
gsm8k           whether it comes to the same number; gsm8k:strict wants "#### NUMBER"
regex:PATTERN   whether the pattern is found (syntax of `re`, and what the
                package `make_regex` has beyond it); one that takes 5 s on an answer
                stops the run
format          whether it is <think>...</think><answer>...</answer>
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import regex as regular

from jaxalign import messages
from jaxalign.rewards import overlap, rule_based, validation, verifiable

MAX_PATTERN_LENGTH = 10_000  # characters of a pattern, with what it repeats written out
Messages = Sequence[dict[str, str]]
References = Sequence[str]
TextReward = Callable[
    [Sequence[Messages], Sequence[str], Sequence[References]], np.ndarray
]
AnswerReward = Callable[[str, References], float]


def batch_reward(reward: AnswerReward, name: str) -> TextReward:
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
                raise validation.InvalidReward(text, row) from error
        return validation.validate_rewards(name, found, len(answers))

    return rewards


def make_length(argument: str) -> AnswerReward:
    """Length in words."""
    shown = messages.shorten(argument)
    if not re.fullmatch("0*[1-9][0-9]{0,8}", argument or "40"):
        raise ValueError(f"the reward length:N wants a number of words: {shown!r}")
    target = int(argument or 40)
    return lambda answer, told: float(
        rule_based.length_reward(len(answer.split()), target=target)
    )


def make_regex(argument: str) -> AnswerReward:
    """Whether a pattern is found."""
    if not argument:
        raise ValueError("the reward regex:PATTERN wants a pattern")
    shown = messages.shorten(argument)
    if (
        len(argument) > MAX_PATTERN_LENGTH
        or verifiable.expanded_length(argument) > MAX_PATTERN_LENGTH
    ):
        raise ValueError(
            f"the reward regex:{shown} is longer than {MAX_PATTERN_LENGTH} characters, with what "
            "it repeats written out"
        )
    try:
        regular.compile(argument)
    except (regular.error, RecursionError, OverflowError, MemoryError) as error:
        why = messages.one_line(error)
        raise ValueError(f"the reward regex:{shown}: {why}") from error
    return lambda answer, told: verifiable.matches_pattern(answer, argument)


def make_gsm8k(argument: str) -> AnswerReward:
    """Whether the number is right."""
    if argument not in ("", "strict"):
        shown = messages.shorten(argument)
        raise ValueError(f"the reward gsm8k is gsm8k or gsm8k:strict, not {shown!r}")
    return functools.partial(verifiable.gsm8k, strict=argument == "strict")


def without_argument(reward: AnswerReward) -> Callable[[str], AnswerReward]:
    """A reward that takes nothing after its name."""

    def make(argument: str) -> AnswerReward:
        if argument:
            shown = messages.shorten(argument)
            raise ValueError(f"this reward takes nothing after its name: {shown!r}")
        return reward

    return make


class RewardEntry(NamedTuple):
    """A reward, from what stands after the colon, and whether it needs references."""

    make: Callable[[str], AnswerReward]
    references: bool = False


REWARDS = {
    "length": RewardEntry(make_length),
    "bleu": RewardEntry(
        without_argument(
            lambda answer, told: overlap.bleu(verifiable.extract_answer(answer), told)
        ),
        True,
    ),
    "rouge": RewardEntry(
        without_argument(
            lambda answer, told: overlap.rouge_l(
                verifiable.extract_answer(answer), told
            )
        ),
        True,
    ),
    "exact": RewardEntry(without_argument(verifiable.exact_match), True),
    "gsm8k": RewardEntry(make_gsm8k, True),
    "regex": RewardEntry(make_regex),
    "format": RewardEntry(
        without_argument(lambda answer, told: verifiable.think_answer_format(answer))
    ),
}


def is_known(name: str) -> bool:
    """Whether there is a reward of that name."""
    return name.partition(":")[0] in REWARDS


def needs_references(name: str) -> bool:
    """Whether the reward of that name compares with reference answers."""
    return REWARDS[name.partition(":")[0]].references


def make_reward(name: str) -> TextReward:
    """The reward of that name.

    It raises `validation.InvalidReward` where an answer has no reward in time.

    Raises:
      ValueError: there is none (the near ones are suggested), or what stands after the
        colon is not for it.

    >>> make_reward("gsm8k")([[]], ["It is 18."], [["#### 18"]]).tolist()
    [1.0]
    """
    kind, _, argument = name.partition(":")
    shown = messages.shorten(name)
    if kind not in REWARDS:
        raise messages.unknown_name("reward", kind, REWARDS)
    return batch_reward(REWARDS[kind].make(argument), shown)
