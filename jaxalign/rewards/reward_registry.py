"""Rewards of texts by name: functions (prompts, answers, references) -> [B].

name            reward
--------------  ----------------------------------------------------------------------
length:N        1 at N words (default 40), falling linearly; `rule_based.length_reward`
bleu            smoothed sentence BLEU against the reference answers, in [0, 1]
rouge           ROUGE-L F1 against them, in [0, 1]
exact           1 where the answer equals a reference
gsm8k           1 where the final number is a reference's; gsm8k:strict requires
                "#### NUMBER" at the end
regex:PATTERN   1 where the pattern is found (syntax of `re`, and the extensions of the
                package `regex`); more than 5 s on one answer is an error
format          1 where the answer is <think>...</think><answer>...</answer>
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import regex as regular

from jaxalign import messages
from jaxalign.rewards import overlap, rule_based, validation, verifiable

MAX_PATTERN_LENGTH = 10_000  # characters of a pattern, its repetitions written out
Messages = Sequence[dict[str, str]]
References = Sequence[str]
TextReward = Callable[
    [Sequence[Messages], Sequence[str], Sequence[References]], np.ndarray
]
AnswerReward = Callable[[str, References], float]


def batch_reward(reward: AnswerReward, name: str) -> TextReward:
    """Batched reward from the reward of one answer with its references."""

    def rewards(
        prompts: Sequence[Messages],
        answers: Sequence[str],
        references: Sequence[References],
    ) -> np.ndarray:
        numbers = []
        pairs = zip(answers, references, strict=True)
        for row, (answer, expected) in enumerate(pairs):
            try:
                numbers.append(reward(answer, expected))
            except TimeoutError as error:
                text = f"the reward {name} at row {row}: {error}"
                raise validation.InvalidReward(text, row) from error
        return validation.validate_rewards(name, numbers, len(answers))

    return rewards


def make_length(argument: str) -> AnswerReward:
    """Reward of the length in words, `length:N`."""
    shown = messages.shorten(argument)
    if not re.fullmatch("0*[1-9][0-9]{0,8}", argument or "40"):
        raise ValueError(f"the reward length:N needs a number of words, not {shown!r}")
    target = int(argument or 40)

    def reward(answer: str, references: References) -> float:
        return float(rule_based.length_reward(len(answer.split()), target=target))

    return reward


def make_regex(argument: str) -> AnswerReward:
    """1 where a pattern is found, `regex:PATTERN`."""
    if not argument:
        raise ValueError("the reward regex:PATTERN needs a pattern")
    shown = messages.shorten(argument)
    if (
        len(argument) > MAX_PATTERN_LENGTH
        or verifiable.expanded_length(argument) > MAX_PATTERN_LENGTH
    ):
        raise ValueError(
            f"the reward regex:{shown} is longer than {MAX_PATTERN_LENGTH} characters "
            "with its repetitions written out"
        )
    try:
        regular.compile(argument)
    except (regular.error, RecursionError, OverflowError, MemoryError) as error:
        why = messages.one_line(error)
        raise ValueError(f"the reward regex:{shown}: {why}") from error
    return lambda answer, references: verifiable.matches_pattern(answer, argument)


def make_gsm8k(argument: str) -> AnswerReward:
    """1 where the final number is right, `gsm8k` or `gsm8k:strict`."""
    if argument not in ("", "strict"):
        shown = messages.shorten(argument)
        raise ValueError(f"the reward gsm8k is gsm8k or gsm8k:strict, not {shown!r}")
    return functools.partial(verifiable.gsm8k, strict=argument == "strict")


def without_argument(reward: AnswerReward) -> Callable[[str], AnswerReward]:
    """Factory of a reward without an argument after its name."""

    def make(argument: str) -> AnswerReward:
        if argument:
            shown = messages.shorten(argument)
            raise ValueError(
                f"this reward takes no argument after its name, not {shown!r}"
            )
        return reward

    return make


class RewardEntry(NamedTuple):
    """Entry of the registry.

    Attributes:
      make: (argument after the colon) -> reward of one answer.
      needs_references: the reward compares with reference answers.
    """

    make: Callable[[str], AnswerReward]
    needs_references: bool = False


def bleu(answer: str, references: References) -> float:
    """BLEU of the final answer."""
    return overlap.bleu(verifiable.extract_answer(answer), references)


def rouge(answer: str, references: References) -> float:
    """ROUGE-L of the final answer."""
    return overlap.rouge_l(verifiable.extract_answer(answer), references)


def think_answer(answer: str, references: References) -> float:
    """Format reward; needs no references."""
    return verifiable.think_answer_format(answer)


REWARDS = {
    "length": RewardEntry(make_length),
    "bleu": RewardEntry(without_argument(bleu), needs_references=True),
    "rouge": RewardEntry(without_argument(rouge), needs_references=True),
    "exact": RewardEntry(
        without_argument(verifiable.exact_match), needs_references=True
    ),
    "gsm8k": RewardEntry(make_gsm8k, needs_references=True),
    "regex": RewardEntry(make_regex),
    "format": RewardEntry(without_argument(think_answer)),
}


def is_known(name: str) -> bool:
    """Whether the registry has a reward of this name."""
    return name.partition(":")[0] in REWARDS


def needs_references(name: str) -> bool:
    """Whether the reward of this name compares with reference answers."""
    return REWARDS[name.partition(":")[0]].needs_references


def make_reward(name: str) -> TextReward:
    """Reward of texts by its name.

    Args:
      name: NAME or NAME:ARGUMENT, as in the table of this module.

    Returns:
      (prompts, answers, references) -> [B] float32; it raises
      `validation.InvalidReward` where a reward is not finite or takes too long.

    Raises:
      ValueError: unknown name (similar ones are suggested) or invalid argument.

    >>> make_reward("gsm8k")([[]], ["It is 18."], [["#### 18"]]).tolist()
    [1.0]
    """
    kind, _, argument = name.partition(":")
    shown = messages.shorten(name)
    if kind not in REWARDS:
        raise messages.unknown_name("reward", kind, REWARDS)
    return batch_reward(REWARDS[kind].make(argument), shown)
