"""Backtracking: a policy that notices an unsafe beginning, resets, and starts anew.

From preferences of a safe answer y+ over an unsafe one y- to a prompt x:

    SFT     x, prefix(y-) [RESET] y+     trained from [RESET] on: --mask-before
            x, y+
    DPO     chosen prefix(y-) [RESET] y+     rejected y-
            chosen y+                        rejected prefix(y+) [RESET] y-
            chosen y+                        rejected y-    (ordinary, for all arms)

Prefixes are cut at a random number of tokens; texts are rows of ordinary files, which
`--keep-special-tokens` admits. The policy needs the token, see
`jaxalign.pipeline.added_tokens`, and so does its reference.

Reference: Zhang et al. 2024, Backtracking Improves Generation Safety, arXiv:2409.14586.
"""

import math
from collections.abc import Sequence

import numpy as np

from jaxalign.data.records import (
    Answer,
    Demonstration,
    Preference,
    answer_content,
    assistant_message,
)
from jaxalign.data.special_tokens import RESET
from jaxalign.data.text_encoding import encode_texts
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.pipeline.behaviors.behavior import Behavior, BehaviorData

INCOMPLETE = "\ufffd"  # bytes of a character that the cut has parted


def prefix_length(
    tokens: int, rng: np.random.Generator, *, log_uniform: bool = False
) -> int:
    """A random length of a prefix, from 1 to tokens - 1.

    Args:
      tokens: of the answer, at least 2.
      log_uniform: log(length) is uniform, so that short prefixes are more frequent;
        else the length is.
    """
    if log_uniform:
        return min(int(math.exp(rng.uniform(0.0, math.log(tokens)))), tokens - 1)
    return int(rng.integers(1, tokens))


def cut_answer(
    tokenizer: PreTrainedTokenizerFast,
    answer: str,
    rng: np.random.Generator,
    *,
    log_uniform: bool = False,
) -> str:
    """The text of a random number of an answer's first tokens; see `prefix_length`.

    Returns:
      "" of fewer than two tokens, or where the first is a part of a character.

    Raises:
      ValueError: the answer holds the text [RESET].
    """
    if RESET in answer:
        raise ValueError(f"an answer holds {RESET}: {answer[:60]!r}")
    (ids,) = encode_texts(tokenizer, [answer])
    if len(ids) < 2:
        return ""
    length = prefix_length(len(ids), rng, log_uniform=log_uniform)
    text = str(tokenizer.decode(ids[:length], skip_special_tokens=True))
    return text.rstrip(INCOMPLETE)


def reset_answer(prefix: str, answer: str) -> str:
    """An answer that begins with a prefix, takes it back, and begins anew.

    >>> reset_answer("First get", "No.")
    'First get[RESET]No.'
    """
    return f"{prefix}{RESET}{answer}"


def backtracking(
    tokenizer: PreTrainedTokenizerFast, *, log_uniform: bool = False
) -> Behavior:
    """The recipe of backtracking, with ordinary rows beside those with a reset.

    Args:
      tokenizer: cuts the prefixes.
      log_uniform: of the cut, see `prefix_length`.
    """

    def prefix(row: Preference, answer: str, rng: np.random.Generator) -> str:
        try:
            return cut_answer(tokenizer, answer, rng, log_uniform=log_uniform)
        except ValueError as error:
            raise ValueError(f"{row.location}: {error}") from error

    def demonstrations(
        row: Preference, rng: np.random.Generator
    ) -> list[Demonstration]:
        safe, unsafe = answer_content(row.chosen), answer_content(row.rejected)
        start = prefix(row, unsafe, rng)
        shown = [demonstration(row, reset_answer(start, safe))] if start else []
        return [*shown, demonstration(row, safe)]

    def pairs(row: Preference, rng: np.random.Generator) -> list[Preference]:
        safe, unsafe = answer_content(row.chosen), answer_content(row.rejected)
        unsafe_start, safe_start = prefix(row, unsafe, rng), prefix(row, safe, rng)
        made = [pair(row, safe, unsafe)]
        if safe_start:
            made.insert(0, pair(row, safe, reset_answer(safe_start, unsafe)))
        if unsafe_start:
            made.insert(0, pair(row, reset_answer(unsafe_start, safe), unsafe))
        return made

    return Behavior("backtracking", demonstrations, pairs)


def arms_data(
    recipe: Behavior,
    preferences: Sequence[Preference],
    utility: Sequence[Demonstration],
    helpful: Sequence[Preference],
    *,
    seed: int,
) -> dict[str, BehaviorData]:
    """The training data of two arms that differ in [RESET] alone.

    Args:
      recipe: of `backtracking`.
      utility: SFT conversations of both arms.
      helpful: pairs of both arms, without a reset.

    Returns:
      `baseline` (rows and pairs without a reset) and `backtrack` (all).
    """
    made = recipe.data(preferences, seed=seed)
    plain = [d for d in made.demonstrations if not has_reset(d.messages[-1]["content"])]
    ordinary = [p for p in made.pairs if not has_reset(p.chosen, p.rejected)]
    return {
        "baseline": BehaviorData([*plain, *utility], [*ordinary, *helpful]),
        "backtrack": BehaviorData(
            [*made.demonstrations, *utility], [*made.pairs, *helpful]
        ),
    }


def has_reset(*answers: Answer) -> bool:
    """Whether one of several answers holds [RESET]."""
    return any(RESET in answer_content(answer) for answer in answers)


def utility_pairs(
    tokenizer: PreTrainedTokenizerFast, rows: Sequence[Demonstration], *, seed: int
) -> list[Preference]:
    """Pairs against resets without a reason: chosen y, rejected prefix(y) [RESET] y.

    Answers of fewer than two tokens have none.
    """
    made = []
    for i, row in enumerate(rows):
        *prompt, last = row.messages
        start = cut_answer(tokenizer, last["content"], np.random.default_rng([seed, i]))
        if start:
            rejected = reset_answer(start, last["content"])
            made.append(
                Preference(prompt, last["content"], rejected, location=row.location)
            )
    return made


def demonstration(row: Preference, answer: str) -> Demonstration:
    """An SFT conversation of a preference's prompt with an answer."""
    messages = [*row.prompt, assistant_message(answer)]
    return Demonstration(messages, row.location, tools=row.tools, fields=row.fields)


def pair(row: Preference, chosen: str, rejected: str) -> Preference:
    """A pair of other answers to a preference's prompt; it has no margin."""
    return Preference(
        *(row.prompt, chosen, rejected),
        location=row.location,
        tools=row.tools,
        fields=row.fields,
    )
