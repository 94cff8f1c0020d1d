"""Named random streams: a key for each purpose, from one seed.

A key is folded from (run key, stream name, step, prompt, repeat): random numbers
depend neither on batch layout, device count or resume, nor on other streams or on
logging.
"""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxalign.types import Key


def key(run_key: Key, stream: str, *numbers: int) -> Key:
    """The key of a stream, and of a step, prompt, repeat, ... in it.

    fold(... fold(fold(run_key, crc32(stream)), numbers[0]) ..., numbers[-1])

    >>> run_key = jax.random.key(0)
    >>> bool(key(run_key, "noise", 3) == key(run_key, "order", 3))
    False
    """
    folded = jax.random.fold_in(run_key, np.uint32(zlib.crc32(stream.encode())))
    for number in numbers:
        folded = jax.random.fold_in(folded, number)
    return folded


def generator(seed: int, stream: str, *numbers: int) -> np.random.Generator:
    """A numpy generator for a stream, and for a step, prompt, repeat, ... in it.

    >>> int(generator(0, "noise", 3).integers(100))
    44
    """
    # the count of numbers goes first, since numpy pads missing ones with 0
    name = zlib.crc32(stream.encode())
    return np.random.default_rng([seed, name, len(numbers), *numbers])


def prompt_id(messages: Sequence[Any]) -> int:
    """The 32-bit id of a prompt in streams, a hash of its messages.

    Prompts whose ids collide share their random numbers, and nothing else.
    """
    return zlib.crc32(json.dumps(messages, sort_keys=True).encode())


def answer_ids(prompts: Sequence[int], samples: int) -> np.ndarray:
    """The (prompt, repeat) of each answer, for its key, int32 [P * samples 2].

    Repeats of a prompt that occurs twice are numbered on.

    >>> answer_ids([7, 8, 7], 2).tolist()
    [[7, 0], [7, 1], [8, 0], [8, 1], [7, 2], [7, 3]]
    """
    counts: dict[int, int] = {}
    rows = []
    for prompt in map(int, prompts):
        first = counts.get(prompt, 0)
        counts[prompt] = first + samples
        rows += [(prompt, repeat) for repeat in range(first, first + samples)]
    return np.array(rows, np.int64).reshape(-1, 2).astype(np.uint32).view(np.int32)
