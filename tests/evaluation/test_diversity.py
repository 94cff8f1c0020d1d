"""Diversity: by hand, at its limits, and equal to the BLEU that rewards use."""

import math

import numpy as np
import pytest

from jaxalign.evaluation import diversity
from jaxalign.rewards import overlap

TEXTS = [
    "the cat sat on the mat",
    "the cat sat on the mat, and the dog sat too",
    "a dog, the cat and the mouse",
    "the",
    "the cat sat on the mat",
]


@pytest.mark.parametrize("texts", [TEXTS, TEXTS[:2], [*TEXTS, ""], ["", "", "a"]])
def test_self_bleu_is_the_mean_bleu_with_the_others_as_references(texts):
    one_by_one = [
        overlap.bleu(text, texts[:i] + texts[i + 1 :]) for i, text in enumerate(texts)
    ]
    # the same sums in another order
    np.testing.assert_allclose(
        diversity.self_bleu(texts), np.mean(one_by_one), rtol=1e-12
    )


def test_self_bleu_at_its_limits():
    assert diversity.self_bleu(["same words here"] * 3) == pytest.approx(1.0)
    # nothing in common: (1 / (n-grams + 1)) for 2, 1, 0, 0 n-grams: (1/3 1/2)^(1/4)
    apart = diversity.self_bleu([["a", "b"], ["c", "d"]])
    np.testing.assert_allclose(apart, (1 / 6) ** 0.25, rtol=1e-12)
    assert math.isnan(diversity.self_bleu(["alone"]))


def test_distinct_and_entropy_by_hand():
    texts = ["a b a", "b a"]  # unigrams: a 3, b 2; bigrams: ab, ba, ba
    assert diversity.distinct_n(texts, n=1) == 2 / 5
    assert diversity.distinct_n(texts, n=2) == 2 / 3
    by_hand = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    np.testing.assert_allclose(diversity.ngram_entropy(texts, n=1), by_hand, rtol=1e-12)
    assert diversity.sample_entropy(["x"] * 5) == 0.0
    np.testing.assert_allclose(
        diversity.sample_entropy([[1, 2], [2, 1], [1, 2]]),
        -(2 / 3 * np.log(2 / 3) + 1 / 3 * np.log(1 / 3)),
        rtol=1e-12,  # float64 rounding
    )
    assert math.isnan(diversity.distinct_n(["a"], n=2))
    with pytest.raises(ValueError, match="not 0"):
        diversity.distinct_n(["a"], n=0)


def test_token_entropy_is_that_of_the_sampling_distribution():
    rng, p = np.random.default_rng(0), np.array([0.5, 0.25, 0.25])
    tokens = rng.choice(3, (400, 20), p=p)
    mask = np.arange(20) < rng.integers(1, 21, (400, 1))
    logp = np.where(mask, np.log(p)[tokens], np.nan)  # what is masked is not read
    found = diversity.token_entropy(logp, mask, units="each")
    # 1.5 log 2; the deviation of one -log p is 0.5 log 2, of 4,200 tokens 0.0053
    np.testing.assert_allclose(found.mean, 1.5 * np.log(2), atol=4 * 0.0053)
    assert found.low < found.mean < found.high
    with pytest.raises(ValueError, match="a token at least"):
        diversity.token_entropy(logp, mask & False, units="each")


def test_repetition_compresses():
    letters = np.random.default_rng(1).integers(97, 123, (50, 40)).astype(np.uint8)
    texts = [bytes(row).decode() for row in letters]
    # random letters: 8 bits against log2 26 = 4.7 at best
    assert 1.2 < diversity.compression_ratio(texts) < 8 / math.log2(26)
    assert diversity.compression_ratio([texts[0]] * 50) > 10
    assert math.isnan(diversity.compression_ratio([]))


def test_within_prompts_leaves_out_what_has_one_sample():
    found = diversity.diversity_within_prompts(
        [["a b", "a b"], ["a b", "c d"], ["alone"]]
    )
    assert found["different"].mean == (0.5 + 1.0) / 2
    assert found["distinct-1"].mean == (2 / 4 + 1.0) / 2
    # float64 rounding
    np.testing.assert_allclose(found["entropy"].mean, np.log(2) / 2, rtol=1e-12)
    assert diversity.diversity_within_prompts([["alone"]]) == {}
