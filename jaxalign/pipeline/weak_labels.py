"""Pairs of the toy world with the truth or a weak reward model's labels, as files."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from jaxalign.data import toy_world
from jaxalign.data.records import Preference, answer_content
from jaxalign.pipeline.evaluation.answer_scorers import Scorer
from jaxalign.pipeline.safety_study import reward_scores, toy_files

CERTAIN = 0.01  # temperature of labels: the better answer is chosen
TEST_PAIRS = 64  # held out while a reward model trains


def true_pairs(
    seed: int,
    count: int,
    keep: Callable[[Preference], bool] = lambda pair: True,
    *,
    test: bool = False,
) -> list[Preference]:
    """The first pairs of the toy world that differ in true reward, the better chosen.

    Args:
      keep: which pairs count.
    """
    found: list[Preference] = []
    index = 0
    while len(found) < count:
        pair = toy_world.preference(
            seed, index, test=test, temperature=CERTAIN, margins=True
        ).preference
        # margins are how they are told apart here, and no part of the data
        if pair.margin > 0 and keep(pair):
            found.append(without_margin(pair))
        index += 1
    return found


def without_margin(pair: Preference) -> Preference:
    """A pair of the same prompt and answers alone, without its margin and fields."""
    return Preference(pair.prompt, pair.chosen, pair.rejected, location=pair.location)


def half_of(pair: Preference) -> int:
    """The half of the prompts, 0 or 1, that a pair's is in; a checksum of its text."""
    return zlib.crc32(str(pair.prompt[-1]["content"]).encode()) % 2


def in_half(half: int) -> Callable[[Preference], bool]:
    """Whether a pair's prompt is in a half."""
    return lambda pair: half_of(pair) == half


def longest_answer(pair: Preference) -> int:
    """Words of the longer answer of a pair."""
    return max(len(answer_content(x).split()) for x in (pair.chosen, pair.rejected))


def weak_labeled(score: Scorer, pairs: Sequence[Preference]) -> list[Preference]:
    """The pairs with a reward model's soft labels in place of the truth.

    label_prob = sigmoid(score(chosen) - score(rejected))

    The answer that the model prefers is `chosen`, so that nothing of the truth is left;
    of equal scores the one that is first in the alphabet.

    Args:
      score: raw scores, whose difference is in nats.
    """
    gaps = np.subtract(*reward_scores.pair_scores(score, list(pairs)).T)
    return [label(pair, float(gap)) for pair, gap in zip(pairs, gaps, strict=True)]


def label(pair: Preference, gap: float) -> Preference:
    """A pair labeled by the difference of its answers' scores, in nats.

    >>> pair = Preference([], "b", "a")
    >>> found = label(pair, -np.log(3.0))
    >>> found.chosen, found.rejected, round(found.label_prob, 6)
    ('a', 'b', 0.75)
    """
    first, second = pair.chosen, pair.rejected
    if gap < 0 or (gap == 0 and str(second) < str(first)):
        first, second, gap = second, first, -gap
    prob = float(reward_scores.probability(np.array(gap)))
    return Preference(
        *(pair.prompt, first, second), location=pair.location, label_prob=prob
    )


def write_pairs(
    folder: Path, seed: int, pairs: Callable[[], Iterable[Preference]]
) -> Path:
    """Writes pairs, and held-out ones with the truth, to a folder; once.

    Args:
      pairs: makes the training pairs, where the folder is not written yet.
    """
    if not toy_files.is_written(folder):
        test = true_pairs(seed, TEST_PAIRS, test=True)
        toy_files.write(folder, pairs(), test)
    return folder
