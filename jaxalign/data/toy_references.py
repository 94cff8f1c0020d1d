"""Toy requests with reference answers, for rewards of overlap."""

import dataclasses

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.data.toy_answers import answer, mixed_answer
from jaxalign.data.toy_requests import request

STREAM = 26  # of random numbers, beside the seed and the index


def prompt_with_references(
    seed: int, index: int, *, count: int = 1, good: bool = True, test: bool = False
) -> Prompt:
    """The request of that index, with reference answers to it.

    Args:
      count: of references; equal ones are kept once.
      good: whether they are good, or of the mixed quality of SFT data.

    >>> prompt = prompt_with_references(0, 0, count=4)
    >>> 1 <= len(prompt.references) <= 4
    True
    """
    rng = np.random.default_rng([seed, index, int(test), STREAM])
    asked = request(seed, index, test=test)
    texts = [
        answer(asked, "good", rng) if good else mixed_answer(asked, rng)
        for _ in range(count)
    ]
    return dataclasses.replace(asked.prompt, references=tuple(dict.fromkeys(texts)))
