"""Statistics of training data: lengths, "the longer answer wins", duplicates, scripts.

Texts and lengths in, numbers out: what `experiments.prepare` and `inspect_data` show of
a data set before anything is trained on it.
"""

import collections
import functools
import unicodedata
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxalign.evaluation.intervals import Interval, Units, bootstrap
from jaxalign.evaluation.reward_benchmarks.reward_bench import pair_results

QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
NO_SCRIPT = "no letters"  # of texts of digits and signs alone


def length_rows(lengths: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """A table of lengths: number, mean and quantiles of each kind of text.

    Args:
      lengths: by the name of the kind, such as "chosen", in any unit [R] each; a kind
        without texts is left out.

    >>> length_rows({"chosen": np.array([2, 4, 9])})[0]["50%"]
    4
    """
    return [
        {"text": name, "texts": len(values), "mean": float(np.mean(values))}
        | quantile_columns(np.asarray(values))
        for name, values in lengths.items()
        if len(values)
    ]


def quantile_columns(values: np.ndarray) -> dict[str, int]:
    """`QUANTILES` of lengths [R] by name; each is the length of one of the texts."""
    lengths = np.quantile(values, QUANTILES, method="inverted_cdf")
    return {f"{q:.0%}": int(x) for q, x in zip(QUANTILES, lengths, strict=True)}


def longer_wins_share(
    chosen: np.ndarray, rejected: np.ndarray, *, units: Units, seed: int = 0
) -> Interval:
    """How often the longer answer of a pair is the chosen one, with its interval.

    Answers of equal length count one half, so that 0.5 is no preference of length. It
    is the accuracy of the reward "length", which a reward model must exceed.

    Args:
      chosen, rejected: lengths of the answers [R].
      units: of the interval: the prompt of each pair [R].

    Raises:
      ValueError: there are no pairs.

    Reference: Singhal et al. 2023, arXiv:2310.03716, section 3.

    >>> chosen, rejected = np.array([5, 3, 4, 9]), np.array([3, 5, 4, 2])
    >>> longer_wins_share(chosen, rejected, units="each").mean
    0.625
    """
    results = pair_results(chosen, rejected, equal=0.5)
    return bootstrap(results, units=units, seed=seed, share=True)


def first_occurrences(keys: Sequence[Hashable]) -> np.ndarray:
    """The index of the first equal key of each key, int [R]; its own where it is first.

    >>> first_occurrences(["a", "b", "a"]).tolist()
    [0, 1, 0]
    """
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(keys)], int)


def duplicate_count(keys: Sequence[Hashable]) -> int:
    """The number of keys that are equal to an earlier one.

    >>> duplicate_count(["a", "b", "a", "a"])
    2
    """
    return len(keys) - len(set(keys))


def contradiction_count(prompts: Sequence[Hashable], pairs: Sequence[Any]) -> int:
    """The number of pairs that an earlier pair contradicts, with swapped labels.

    Args:
      prompts: key of the prompt of each pair [R].
      pairs: (key of the chosen answer, key of the rejected answer) [R].

    >>> contradiction_count(["p", "p", "p"], [("a", "b"), ("b", "a"), ("a", "c")])
    1
    """
    earlier: set[Any] = set()
    count = 0
    for prompt, (chosen, rejected) in zip(prompts, pairs, strict=True):
        count += chosen != rejected and (prompt, rejected, chosen) in earlier
        earlier.add((prompt, chosen, rejected))
    return count


def script_shares(texts: Iterable[str]) -> dict[str, float]:
    """The share of texts that each script dominates, the most frequent first.

    A script is the first word of a letter's Unicode name: latin, cyrillic, arabic,
    cjk, hangul, ... It tells Russian from English, and not English from French.

    >>> script_shares(["Hello", "Привет, world", "мир", "12"])
    {'cyrillic': 0.5, 'latin': 0.25, 'no letters': 0.25}
    """
    counts = collections.Counter(map(dominant_script, texts))
    total = counts.total()
    return {script: n / total for script, n in counts.most_common()}


def dominant_script(text: str) -> str:
    """The script of most letters of a text; see `script_shares`."""
    if text.isascii():
        has_letter = any(map(str.isalpha, text))
        return "latin" if has_letter else NO_SCRIPT
    scripts: collections.Counter[str] = collections.Counter()
    for character, n in collections.Counter(text).items():
        if character.isalpha():
            scripts[letter_script(character)] += n
    return scripts.most_common(1)[0][0] if scripts else NO_SCRIPT


@functools.cache
def letter_script(letter: str) -> str:
    """The script of a letter, in lower case."""
    name = unicodedata.name(letter, "unknown").replace("-", " ")
    return name.split()[0].lower()
