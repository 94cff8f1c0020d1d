"""Diversity of sampled texts: distinct-n, self-BLEU, entropy, compression ratio.

A text is a string, taken as words and punctuation (`overlap.tokenize_13a`), or tokens.
All but `token_entropy` depend on the number of texts and their lengths: compare models
at the same number of samples, and with answer lengths beside.
"""

import collections
import math
import zlib
from collections.abc import Hashable, Sequence

import numpy as np

from jaxalign.evaluation.intervals import Interval, Units, bootstrap
from jaxalign.rewards.overlap import tokenize_13a

Text = str | Sequence[Hashable]
Counts = collections.Counter[tuple[Hashable, ...]]


def ngram_counts(text: Text, n: int) -> Counts:
    """Counts of the n-grams of a text.

    Raises:
      ValueError: n is below 1.
    """
    if n < 1:
        raise ValueError(f"n-grams have 1 word or more, not {n}")
    words = tokenize_13a(text) if isinstance(text, str) else text
    return collections.Counter(zip(*(words[k:] for k in range(n)), strict=False))


def all_ngrams(texts: Sequence[Text], n: int) -> Counts:
    """Counts of the n-grams of all texts together."""
    counts = Counts()
    for text in texts:
        counts.update(ngram_counts(text, n))
    return counts


def distinct_n(texts: Sequence[Text], *, n: int) -> float:
    """Different n-grams over all n-grams of the texts together, in (0, 1].

    distinct-n = number of different n-grams / number of n-grams

    NaN where no text has an n-gram. It falls as texts grow in length or number.

    Reference: Li et al. 2016, arXiv:1510.03055, section 5.3 (who divide by the number
    of tokens).

    >>> distinct_n(["a b a b", "a b"], n=2)  # ab, ba of ab, ba, ab, ab
    0.5
    """
    counts = all_ngrams(texts, n)
    return len(counts) / counts.total() if counts else math.nan


def ngram_entropy(texts: Sequence[Text], *, n: int) -> float:
    """The entropy in nats of the n-grams of all texts together (Ent-n).

    entropy = -sum over n-grams of share log share

    NaN where no text has an n-gram.

    Reference: Zhang et al. 2018, arXiv:1809.05972, section 4.2.

    >>> round(ngram_entropy(["a b", "b a"], n=1), 4)  # log 2
    0.6931
    """
    return entropy_of_counts(all_ngrams(texts, n))


def sample_entropy(texts: Sequence[Text]) -> float:
    """The entropy in nats of whole texts among samples of one prompt.

    entropy = -sum over different texts of share log share

    From 0 where all are the same to log(number of samples) where all differ: then it is
    a lower bound that says little. NaN of none.

    >>> round(sample_entropy(["yes", "yes", "no", "no"]), 4)  # log 2
    0.6931
    """
    keys = [text if isinstance(text, str) else tuple(text) for text in texts]
    return entropy_of_counts(collections.Counter(keys))


def entropy_of_counts(counts: collections.Counter) -> float:
    """The entropy in nats of the shares of counts; NaN of none."""
    if not counts:
        return math.nan
    shares = np.array(list(counts.values())) / counts.total()
    return float(max(0.0, -np.sum(shares * np.log(shares))))


def token_entropy(
    logp: np.ndarray, mask: np.ndarray, *, units: Units, seed: int = 0
) -> Interval:
    """The entropy in nats per token, from the log-probs of sampled tokens.

    entropy = -(sum of log p of all tokens) / (number of tokens)

    An unbiased estimate (but for the number of tokens) where the tokens were sampled at
    the temperature of these log-probs: E[-log p(token)] is the entropy.

    Args:
      logp: log-probs of the sampled tokens [R T].
      mask: which of them count: the answer's, end token included [R T].
      units: the prompt of each answer [R], or "each" where each has its own.

    Raises:
      ValueError: shapes differ, or no token counts.
    """
    mask = np.asarray(mask, bool)
    if np.shape(logp) != mask.shape or not mask.any():
        raise ValueError(
            f"log-probs {np.shape(logp)} and mask {mask.shape} with {mask.sum()} "
            "tokens: expected equal shapes [R T] and a token at least"
        )
    surprise = -np.asarray(logp, np.float64)[mask]
    rows = np.nonzero(mask)[0]
    ids = rows if isinstance(units, str) else np.asarray(units)[rows]
    return bootstrap(surprise, units=ids, seed=seed)


def self_bleu(texts: Sequence[Text], *, order: int = 4) -> float:
    """The mean BLEU of each text with all others as its references, in [0, 1].

    1 where all are the same; lower is more diverse. Smoothed as `rewards.overlap.bleu`,
    which it equals for each text; all texts' clipped matches come from the two highest
    counts of each n-gram, so that time is linear in the number of texts. NaN of fewer
    than two.

    Reference: Zhu et al. 2018, arXiv:1802.01886 (Texygen), section 2.2.

    >>> self_bleu(["a b c", "a b c"])
    1.0
    """
    if len(texts) < 2:
        return math.nan
    words = [tokenize_13a(t) if isinstance(t, str) else list(t) for t in texts]
    lengths = np.array([len(each) for each in words], np.float64)
    logs = np.zeros(len(words))
    for n in range(1, order + 1):
        logs += np.log(clipped_precisions(words, n)) / order
    smallest = np.sort(lengths)[:2]
    others = np.where(lengths == smallest[0], smallest[1], smallest[0])
    empty = (lengths == 0) | (others == 0)
    penalty = np.minimum(0.0, 1.0 - others / np.where(empty, 1.0, lengths))
    return float(np.where(empty, 0.0, np.exp(penalty + logs)).mean())


def clipped_precisions(words: Sequence[Sequence[Hashable]], n: int) -> np.ndarray:
    """(matches + 1) / (n-grams + 1) of each text against all others [R]."""
    counts = [ngram_counts(each, n) for each in words]
    highest: dict[tuple[Hashable, ...], tuple[int, int]] = {}
    for count in counts:
        for gram, number in count.items():
            first, second = highest.get(gram, (0, 0))
            highest[gram] = (max(first, number), max(second, min(first, number)))
    precisions = []
    for count in counts:
        matches = 0
        for gram, number in count.items():
            first, second = highest[gram]
            matches += min(number, second if number == first else first)
        precisions.append((matches + 1) / (count.total() + 1))
    return np.array(precisions)


def compression_ratio(texts: Sequence[str]) -> float:
    """Bytes of the texts over their bytes compressed; higher is more repetitive.

    Texts are joined by line ends and compressed by zlib at level 9. NaN of no text.

    Reference: Shaib et al. 2024, arXiv:2403.00553, section 3.1.

    >>> compression_ratio(["the same text"] * 100) > 20
    True
    """
    joined = "\n".join(texts).encode("utf-8", "surrogatepass")
    return len(joined) / len(zlib.compress(joined, 9)) if joined else math.nan


def diversity_within_prompts(
    groups: Sequence[Sequence[str]], *, seed: int = 0
) -> dict[str, Interval]:
    """Diversity of the samples of each prompt: means with intervals over prompts.

    Args:
      groups: the samples of each prompt; those of fewer than two are left out.

    Returns:
      distinct-1, distinct-2, self-BLEU, entropy (of whole samples, nats), and
      different (the share of different samples); empty where no prompt has two samples.
      Prompts whose value is undefined (no n-gram) are left out of its mean.
    """
    groups = [group for group in groups if len(group) > 1]
    measures = {
        "distinct-1": lambda texts: distinct_n(texts, n=1),
        "distinct-2": lambda texts: distinct_n(texts, n=2),
        "self-BLEU": self_bleu,
        "entropy": sample_entropy,
        "different": lambda texts: len(set(texts)) / len(texts),
    }
    intervals = {}
    for name, measure in measures.items():
        values = np.array([measure(group) for group in groups])
        values = values[np.isfinite(values)]
        if len(values):
            intervals[name] = bootstrap(values, units="each", seed=seed)
    return intervals
