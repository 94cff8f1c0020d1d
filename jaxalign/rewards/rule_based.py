"""Rewards that are programmed on text."""

import re
from collections.abc import Collection

from jaxalign.types import Array

HAPPY_WORDS = frozenset(
    "happy happily glad smile smiled smiles laugh laughed hug hugged love loved fun "
    "joy friend friends proud safe thanked kind best played together".split()
)


def split_words(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return re.findall(r"[a-z']+", text.lower())


def word_list_reward(
    text: str, words: Collection[str] = HAPPY_WORDS, *, last: int = 30
) -> float:
    """The share of a text's last words that are in a list: a happy ending.

    reward = min(1, 10 * listed / counted)   over the last `last` words

    A tenth of the words is as happy as it gets, so that saying one word over and over
    gains nothing more than a story may have.

    >>> word_list_reward("they were happy and the end came to all of us")
    0.9090909090909091
    """
    ending = split_words(text)[-last:]
    if not ending:
        return 0.0
    return min(1.0, 10.0 * sum(word in words for word in ending) / len(ending))


def length_reward(tokens: Array, *, target: int) -> Array:
    """The reward of nothing but length, the control for length biases.

    reward = 1 - |tokens / target - 1|

    Args:
      tokens: in each answer, an array of any shape.

    Reference: Singhal et al. 2023, arXiv:2310.03716, section 5 (code: `len_only`).

    >>> import numpy as np
    >>> length_reward(np.array([50, 100, 300]), target=100).tolist()
    [0.5, 1.0, -1.0]
    """
    return 1.0 - abs(tokens / target - 1.0)
