"""Brevity: a policy that says the first sentence of an answer, whole, and ends.

    SFT     x, first sentence of y+
    DPO     chosen first sentence of y+     rejected y+
            chosen first sentence of y+     rejected the sentence cut in its middle

The second sign keeps a policy from ending anywhere.
"""

import re

import numpy as np

from jaxalign.data.records import Demonstration, Preference, answer_content
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.pipeline.behaviors.backtracking import cut_answer, demonstration, pair
from jaxalign.pipeline.behaviors.behavior import Behavior

SENTENCE = re.compile(r".+?[.?!](?=\s)", re.DOTALL)


def first_sentence(text: str) -> str:
    """The first sentence of a text that has more; "" of others.

    >>> first_sentence("Sure, 4. Many ask."), first_sentence("Sure, 4.")
    ('Sure, 4.', '')
    """
    found = SENTENCE.match(text.strip())
    return found.group() if found else ""


def brevity(tokenizer: PreTrainedTokenizerFast) -> Behavior:
    """The recipe of brevity; rows whose chosen answer is one sentence have none."""

    def demonstrations(
        row: Preference, rng: np.random.Generator
    ) -> list[Demonstration]:
        first = first_sentence(answer_content(row.chosen))
        return [demonstration(row, first)] if first else []

    def pairs(row: Preference, rng: np.random.Generator) -> list[Preference]:
        answer = answer_content(row.chosen)
        first = first_sentence(answer)
        if not first:
            return []
        cut = cut_answer(tokenizer, first, rng)
        half = [pair(row, first, cut)] if cut.strip() else []
        return [pair(row, first, answer), *half]

    return Behavior("brevity", demonstrations, pairs)
