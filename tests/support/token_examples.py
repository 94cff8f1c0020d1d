"""Records and examples for tests of tokenized data."""

import weakref
from collections.abc import Sequence

from jaxalign.data.records import (
    Preference,
)

PROMPT = [{"role": "user", "content": "hello world"}]


def numbered_pairs(count, name=""):
    """Pairs of one prompt, whose chosen answers are numbers after `name`."""
    return [
        Preference(PROMPT, f"{name}{i}", "no", margin=i / 2, label_prob=1 - i / 1024)
        for i in range(count)
    ]


def assert_same_examples(found, expected):
    """Same rows, values, tokens, masks and their types."""
    for one, other in zip(found, expected, strict=True):
        assert (one.row, one.value) == (other.row, other.value)
        assert one.label_prob == other.label_prob
        for a, b in zip(one.sequences, other.sequences, strict=True):
            assert a.tokens.tolist() == b.tokens.tolist()
            assert a.mask.tolist() == b.mask.tolist()
            assert (a.tokens.dtype, a.mask.dtype) == (b.tokens.dtype, b.mask.dtype)


class CountedReads(Sequence):
    """Counts how often a data set is read, and how many examples live at once."""

    def __init__(self, inner):
        self.inner, self.rows, self.longest = inner, inner.rows, inner.longest
        self.held, self.most, self.read = 0, 0, 0

    def __len__(self):
        return len(self.inner)

    def __getitem__(self, i):
        example = self.inner[i]
        self.held, self.read = self.held + 1, self.read + 1
        self.most = max(self.most, self.held)
        weakref.finalize(example, self.free)
        return example

    def free(self):
        self.held -= 1
