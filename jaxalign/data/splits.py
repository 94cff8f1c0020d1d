"""Held-out split by a hash of the first user message of each conversation.

The split is therefore by prompt. It is the same for every kind of record of a data set
(SFT data, prompts, pairs, rankings, unpaired answers), and independent of the order of
the rows and of skipped rows. Conversations with the same first message are on one side.
"""

import dataclasses
import hashlib
import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from typing import TypeVar

import numpy as np

from jaxalign.data.records import (
    Demonstration,
    Messages,
    Prompt,
    Record,
    conversation_key,
)

RecordType = TypeVar("RecordType", bound=Record)


@dataclasses.dataclass(frozen=True)
class HeldOutSplit:
    """Random choice of held-out prompts, by their hashes.

    Args:
      share: expected share of the distinct first user messages; in [0, 1).
      seed: seed of the choice.

    Raises:
      ValueError: a share outside [0, 1).
    """

    share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise ValueError(
                f"the held-out share is {self.share}; expected a number in [0, 1)"
            )

    def __str__(self) -> str:
        return (
            f"{self.share:g} of the prompts, by a hash (seed {self.seed}) of the first "
            "user message: NFKC, case and white space folded"
        )

    def mask(self, hashes: np.ndarray) -> np.ndarray:
        """Whether each prompt is held out, bool [R].

        Args:
          hashes: prompt hashes, uint64 [R].

        >>> HeldOutSplit(0.0).mask(np.arange(3, dtype=np.uint64))
        array([False, False, False])
        """
        seed = np.full(1, self.seed % 2**64, np.uint64)
        uniform = (splitmix64(hashes ^ splitmix64(seed)) >> np.uint64(11)) / 2.0**53
        return uniform < self.share


def splitmix64(x: np.ndarray) -> np.ndarray:
    """A bijective mixing of 64-bit integers (Steele et al. 2014, OOPSLA, fig. 16)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def normalize(text: str) -> str:
    """Normalize a text: NFKC, case and white space folded.

    >>> normalize("  What\\tIS \\uff11?") == normalize("what is 1?")
    True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def prompt_messages(record: Record) -> Messages:
    """Messages before the answer of a record; a plain text is its own prompt."""
    if isinstance(record, Demonstration):
        return record.messages if record.plain else record.messages[:-1]
    return record.messages if isinstance(record, Prompt) else record.prompt


def prompt_hash(record: Record) -> int:
    """64-bit hash of the first user message of a record, normalized.

    Without a user message, and in a plain text, it is that of the first message.
    """
    messages = prompt_messages(record)
    user_texts = (m["content"] for m in messages if m["role"] == "user")
    text = next(user_texts, messages[0]["content"] if messages else "")
    data = normalize(text).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def prompt_hashes(records: Iterable[Record]) -> np.ndarray:
    """`prompt_hash` of each record, uint64 [R]."""
    return np.fromiter(map(prompt_hash, records), np.uint64)


def select(records: Sequence[RecordType], mask: np.ndarray) -> list[RecordType]:
    """Select the records where the mask, bool [R], is True."""
    return [record for record, keep in zip(records, mask, strict=True) if keep]


def unique_prompts(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Distinct prompts, in the order of their first rows, each with all its references.

    Prompts with different tools are distinct.
    """
    by_key: dict[Hashable, Prompt] = {}
    for prompt in prompts:
        key = conversation_key(prompt.messages, prompt.tools)
        first = by_key.get(key)
        references = prompt.references
        if first is not None:
            references = tuple(dict.fromkeys((*first.references, *references)))
        by_key[key] = dataclasses.replace(first or prompt, references=references)
    return list(by_key.values())
