"""Rule-based rewards of texts: word lists and length."""

import re
from collections.abc import Collection

from jaxalign.types import Array

HAPPY_WORDS = frozenset(
    "happy happily glad smile smiled smiles laugh laughed hug hugged love loved fun "
    "joy friend friends proud safe thanked kind best played together".split()
)


def split_words(text: str) -> list[str]:
    """Words of a text, in lower case."""
    return re.findall(r"[a-z']+", text.lower())


def word_list_reward(
    text: str, words: Collection[str] = HAPPY_WORDS, *, last: int = 30
) -> float:
    """Share of listed words among a text's last words; a happy ending by default.

    reward = min(1, 10 * listed / counted)   over the last `last` words

    A tenth of the words already gets the full reward, so that repeating a word gains no
    more than a story may have.

    Args:
      text: the answer.
      words: the list, in lower case.
      last: number of last words that count, at least 1.

    Returns:
      A reward in [0, 1].

    >>> word_list_reward("they were happy and the end came to all of us")
    0.9090909090909091
    """
    ending = split_words(text)[-last:]
    if not ending:
        return 0.0
    return min(1.0, 10.0 * sum(word in words for word in ending) / len(ending))


def length_reward(tokens: Array, *, target: int) -> Array:
    """Reward of length alone, a control for length bias.

    reward = 1 - |tokens / target - 1|

    Args:
      tokens: length of each answer, an array of any shape.
      target: length with reward 1, above 0.

    Returns:
      One reward per answer, at most 1.

    Reference: Singhal et al. 2023, arXiv:2310.03716, section 5 (code: `len_only`).

    >>> import numpy as np
    >>> length_reward(np.array([50, 100, 300]), target=100).tolist()
    [0.5, 1.0, -1.0]
    """
    return 1.0 - abs(tokens / target - 1.0)
