"""Named streams of randomness: a key for each purpose, from one seed.

A key is folded from (run key, name of the stream, step, prompt, repeat), so that what
is drawn depends on no batch layout, number of devices or resume, nor on what else is
drawn, measured or recorded.
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
    # how many numbers there are goes first, since numpy takes what is missing as 0
    name = zlib.crc32(stream.encode())
    return np.random.default_rng([seed, name, len(numbers), *numbers])


def prompt_id(messages: Sequence[Any]) -> int:
    """A prompt's number in streams, from its text alone: 32 bits.

    Two prompts that share one by chance share their noise, and nothing else.
    """
    return zlib.crc32(json.dumps(messages, sort_keys=True).encode())


def answer_ids(prompts: Sequence[int], samples: int) -> np.ndarray:
    """What tells the noise of answers apart: (prompt, repeat) [P * samples 2], int32.

    A prompt that comes again goes on counting.

    >>> answer_ids([7, 8, 7], 2).tolist()
    [[7, 0], [7, 1], [8, 0], [8, 1], [7, 2], [7, 3]]
    """
    seen: dict[int, int] = {}
    rows = []
    for prompt in map(int, prompts):
        first = seen.get(prompt, 0)
        seen[prompt] = first + samples
        rows += [(prompt, repeat) for repeat in range(first, first + samples)]
    return np.array(rows, np.int64).reshape(-1, 2).astype(np.uint32).view(np.int32)
