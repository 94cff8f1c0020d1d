"""Preferences are split by how alike their answers are."""

from jaxalign.data.records import Preference
from jaxalign.pipeline import similar_pairs


def pair(chosen, rejected):
    return Preference([{"role": "user", "content": "?"}], chosen, rejected)


def test_similarity_is_the_share_of_words_in_common_and_in_order():
    # difflib: 2 M / T, M words that match in blocks, T words of both
    assert similar_pairs.similarity(pair("a b c d", "a b x d")) == 0.75
    assert similar_pairs.similarity(pair("a b", "c d e")) == 0.0
    assert similar_pairs.similarity(pair("a b", "b a")) == 0.5


def test_the_half_of_the_most_alike_and_the_rest_without_equal_answers():
    near, far = pair("it is 4.", "it is 5."), pair("yes.", "i can not help.")
    middle, same = pair("it is 4.", "it was 5."), pair("a", "a")
    alike, unlike = similar_pairs.split_pairs([far, same, near, middle])
    assert alike == [near] and unlike == [middle, far]
