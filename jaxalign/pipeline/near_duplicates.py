"""Near duplicates of texts: MinHash of word shingles, confirmed by Jaccard similarity.

Candidates come from locality-sensitive hashing of `datasketch` (the extra `prepare`);
each is confirmed by the similarity of the shingles themselves, so that a text is only
called a near duplicate if it is one; about 1 in 50 at the threshold may be missed.

Reference: Broder 1997, On the resemblance and containment of documents; Lee et al.
2022, arXiv:2107.06499 (deduplication of training data).
"""

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

import regex

from jaxalign.data.splits import normalize

SHINGLE_WORDS, PERMUTATIONS = 3, 128
MISSES_WEIGH_MORE = (0.1, 0.9)  # than candidates that are none
WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}]|\w+")
MISSING = (
    "--near-dedup needs datasketch, which is not installed (the extra prepare; exact "
    "duplicates, --dedup, need no library)"
)


def shingles(text: str) -> frozenset[str]:
    """The runs of `SHINGLE_WORDS` words of a text; of a shorter text, all its words.

    Case, white space and punctuation do not count. Scripts without spaces have their
    characters as words.

    >>> sorted(shingles("What is  2 + 2?"))
    ['is 2 2', 'what is 2']
    """
    words = WORD.findall(normalize(text))
    starts = range(max(len(words) - SHINGLE_WORDS, 0) + 1)
    return frozenset(" ".join(words[i : i + SHINGLE_WORDS]) for i in starts)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Size of the intersection over that of the union; 1 of two empty sets.

    >>> jaccard(frozenset("abc"), frozenset("bcd"))
    0.5
    """
    union = len(one | other)
    return len(one & other) / union if union else 1.0


Parts = tuple[frozenset[str], ...]


class NearDuplicateIndex:
    """Rows by number, to be asked for one that a further row nearly repeats.

    A row is one text or several: the first is what candidates are found by, and the
    similarity of two rows is the least of their texts, so that two pairs of answers to
    one long prompt are not near duplicates.

    Args:
      threshold: smallest Jaccard similarity of near duplicates, in (0, 1].

    Raises:
      ImportError: datasketch is not installed.
    """

    def __init__(self, threshold: float) -> None:
        self.sketches = load_datasketch()
        self.threshold = threshold
        # bands that miss 2 % of the rows at the threshold, or fewer, from 0.5 on; what
        # they find too much is refused by its similarity
        self.index = self.sketches.MinHashLSH(
            max(threshold - 0.1, 0.05), num_perm=PERMUTATIONS, weights=MISSES_WEIGH_MORE
        )
        self.rows: dict[int, Parts] = {}

    def sketch(self, texts: Sequence[str]) -> tuple[Parts, Any]:
        """The shingles of each text of a row, and the MinHash of the first."""
        parts = tuple(map(shingles, texts))
        sketch = self.sketches.MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([shingle.encode("utf-8") for shingle in parts[0]])
        return parts, sketch

    def insert(self, number: int, parts: Parts, sketch: Any) -> None:
        """Adds a row under a number of its own."""
        self.rows[number] = parts
        self.index.insert(number, sketch)

    def nearest(self, parts: Parts, sketch: Any) -> tuple[int, float] | None:
        """The most similar row at or above the threshold, and the similarity."""
        scored = [
            (similarity(parts, self.rows[number]), -number)
            for number in self.index.query(sketch)
        ]
        score, number = max(scored, default=(-1.0, 0))
        return (-number, score) if score >= self.threshold else None


def similarity(one: Parts, other: Parts) -> float:
    """The least Jaccard similarity of the texts of two rows; 0 of unequal numbers."""
    if len(one) != len(other):
        return 0.0
    return min(map(jaccard, one, other))


def near_duplicates(
    rows: Iterable[Sequence[str]], *, threshold: float
) -> list[tuple[int, float] | None]:
    """For each row the earlier one that it nearly repeats, and the similarity.

    A row that is such a repetition is not compared with later ones: they are compared
    with what is kept.

    Args:
      rows: the texts of each row, see `NearDuplicateIndex` [R].

    Returns:
      (index, similarity) or None [R].

    Raises:
      ImportError: datasketch is not installed.
    """
    index = NearDuplicateIndex(threshold)
    found = []
    for i, texts in enumerate(rows):
        row = index.sketch(texts)
        match = index.nearest(*row)
        if match is None:
            index.insert(i, *row)
        found.append(match)
    return found


def near_matches(
    rows: Iterable[str], others: Iterable[str], *, threshold: float
) -> list[tuple[int, float] | None]:
    """For each text the most similar of other texts at or above the threshold.

    Returns:
      (index of the other text, similarity) or None [R].

    Raises:
      ImportError: datasketch is not installed.
    """
    index = NearDuplicateIndex(threshold)
    for i, text in enumerate(others):
        index.insert(i, *index.sketch([text]))
    return [index.nearest(*index.sketch([text])) for text in rows]


def load_datasketch() -> Any:
    """The library of sketches.

    Raises:
      ImportError: it is not installed; names the extra.
    """
    try:
        return importlib.import_module("datasketch")
    except ImportError as error:
        raise ImportError(MISSING, name="datasketch") from error
