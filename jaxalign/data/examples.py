"""Examples: tokenized records, and what is known of them without reading each."""

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from jaxalign.data.records import Fields


@dataclasses.dataclass(frozen=True)
class TokenRow:
    """One tokenized sequence.

    Attributes:
      tokens: token ids, int32 [T].
      mask: True on the tokens of trained answers, bool [T].
    """

    tokens: np.ndarray
    mask: np.ndarray

    @property
    def prompt_length(self) -> int:
        """Tokens before the first that counts."""
        return int(self.mask.argmax()) if self.mask.any() else len(self.mask)


@dataclasses.dataclass(frozen=True)
class Example:
    """A tokenized record.

    Attributes:
      sequences: one of SFT data, two of a pair (chosen, rejected), K of a ranking (best
        first), one of an unpaired answer, and one of a prompt, whose mask is False.
      row: its number in the data set, from 0.
      value: a pair's rating margin; of an unpaired answer 1 where it is desirable, else
        0; of others 0.
      prompt_hash: `splits.prompt_hash` of the record, uint64; decides the held-out
        split, and what counts as one prompt in intervals.
      fields: the row's other fields; those of examples on disk are empty.
      label_prob: of a pair, the probability that `chosen` is the better answer.
    """

    sequences: tuple[TokenRow, ...]
    row: int
    value: float = 0.0
    prompt_hash: int = 0
    fields: Fields = dataclasses.field(default_factory=dict)
    label_prob: float = 1.0


def longest_sequence(examples: Sequence[Example]) -> int:
    """Tokens of the longest sequence; data on disk are not read for it."""
    known = getattr(examples, "longest", None)
    if known is not None:
        return int(known)
    return max(len(row.tokens) for example in examples for row in example.sequences)


def example_rows(examples: Sequence[Example]) -> np.ndarray:
    """The `row` of each example, int [R]."""
    known = getattr(examples, "rows", None)
    return np.array([e.row for e in examples]) if known is None else known


def example_prompt_hashes(examples: Sequence[Example]) -> np.ndarray:
    """The `prompt_hash` of each example, uint64 [R]."""
    known = getattr(examples, "prompt_hashes", None)
    if known is not None:
        return known
    return np.array([e.prompt_hash for e in examples], np.uint64)


def example_values(examples: Sequence[Example]) -> np.ndarray:
    """The `value` of each example, float32 [R]."""
    known = getattr(examples, "values", None)
    if known is not None:
        return known
    return np.array([e.value for e in examples], np.float32)


def example_label_probs(examples: Sequence[Example]) -> np.ndarray:
    """The `label_prob` of each example, float32 [R]."""
    known = getattr(examples, "label_probs", None)
    if known is not None:
        return np.asarray(known)
    return np.array([e.label_prob for e in examples], np.float32)


def example_sizes(examples: Sequence[Example]) -> np.ndarray:
    """Tokens of each example, over its sequences, int64 [R]."""
    known = getattr(examples, "sizes", None)
    if known is not None:
        return known
    sizes = (sum(len(row.tokens) for row in e.sequences) for e in examples)
    return np.fromiter(sizes, np.int64, len(examples))


def digest(examples: Iterable[Example]) -> str:
    """A hash of the tokens, masks, lengths and row numbers, computed one at a time."""
    hashed = hashlib.blake2b(digest_size=16)
    for example in examples:
        for sequence in example.sequences:
            header = np.array([len(sequence.tokens), example.row], np.int64)
            hashed.update(header.tobytes())
            hashed.update(np.ascontiguousarray(sequence.tokens).tobytes())
            hashed.update(np.ascontiguousarray(sequence.mask).tobytes())
    return hashed.hexdigest()
