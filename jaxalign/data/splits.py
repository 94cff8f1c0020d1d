"""The held-out split: decided by a hash of each conversation's first user message.

So the split is by prompt, the same for every kind of record of a data set (SFT data,
prompts, pairs, rankings, unpaired answers), and independent of the order of rows and
of the rows that are skipped. Conversations that share a beginning are on one side.
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
    """Holds out a share of the prompts, chosen by hash.

    Args:
      share: of the distinct first user messages, in expectation; in [0, 1).
      seed: another seed holds out other prompts.

    Raises:
      ValueError: a share outside [0, 1).
    """

    share: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share < 1.0:
            raise ValueError(
                f"the held-out share should be in [0, 1), not {self.share}"
            )

    def __str__(self) -> str:
        return (
            f"{self.share:g} of the prompts, by a hash (seed {self.seed}) of the first "
            "user message: NFKC, case and white space folded"
        )

    def mask(self, hashes: np.ndarray) -> np.ndarray:
        """Whether each prompt hash is held out [R].

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
    """NFKC, with case and white space folded.

    >>> normalize("  What\\tIS \\uff11?") == normalize("what is 1?")
    True
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())


def prompt_messages(record: Record) -> Messages:
    """The messages that a record's answers answer; a plain text is its own."""
    if isinstance(record, Demonstration):
        return record.messages if record.plain else record.messages[:-1]
    return record.messages if isinstance(record, Prompt) else record.prompt


def prompt_hash(record: Record) -> int:
    """64 bits of the first user message of a record's conversation, normalized.

    A conversation without a user message, and a plain text, go by their first message.
    """
    messages = prompt_messages(record)
    asked = (m["content"] for m in messages if m["role"] == "user")
    text = next(asked, messages[0]["content"] if messages else "")
    data = normalize(text).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def prompt_hashes(records: Iterable[Record]) -> np.ndarray:
    """`prompt_hash` of each record, uint64 [R]."""
    return np.fromiter(map(prompt_hash, records), np.uint64)


def select(records: Sequence[RecordType], mask: np.ndarray) -> list[RecordType]:
    """The records where the mask [R] is True."""
    return [record for record, keep in zip(records, mask, strict=True) if keep]


def unique_prompts(prompts: Iterable[Prompt]) -> list[Prompt]:
    """Each prompt once, in the order of its first row, with all its references.

    Prompts with other tools are others.
    """
    found: dict[Hashable, Prompt] = {}
    for prompt in prompts:
        key = conversation_key(prompt.messages, prompt.tools)
        known = found.get(key)
        references = prompt.references
        if known is not None:
            references = tuple(dict.fromkeys((*known.references, *references)))
        found[key] = dataclasses.replace(known or prompt, references=references)
    return list(found.values())
