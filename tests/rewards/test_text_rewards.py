"""Rewards of texts by hand: overlap with references, what can be checked, names."""

from decimal import Decimal

import numpy as np
import pytest

from jaxalign.rewards import overlap, reward_registry, verifiable


def test_bleu_by_hand():
    # of 5, 4, 3, 2 n-grams 4, 2, 0, 0 match: "the cat ... on it", "the cat", "on it"
    precisions = np.array([5 / 6, 3 / 5, 1 / 4, 1 / 3])
    actual = overlap.bleu("the cat lay on it", ["the cat sat on it"])
    np.testing.assert_allclose(actual, precisions.prod() ** 0.25, rtol=1e-12)
    # 3 words for 6: all match, exp(1 - 6 / 3)
    actual = overlap.bleu("a b c", ["a b c d e f"])
    np.testing.assert_allclose(actual, np.exp(-1.0), rtol=1e-12)
    # a longer answer pays through its precisions alone: 1 of 2 words, 0 of 1 bigrams
    actual = overlap.bleu("a b", ["a"])
    np.testing.assert_allclose(actual, (2 / 3 * 1 / 2) ** 0.25, rtol=1e-12)


def test_bleu_counts_a_word_as_often_as_the_reference_that_has_it_most():
    # "a a a": two of three words match (the second reference has two), one of two
    # bigrams, no trigram; the shortest reference has 2 words
    actual = overlap.bleu("a a a", ["a b", "a a c d"])
    np.testing.assert_allclose(actual, (3 / 4 * 2 / 3 * 1 / 2) ** 0.25, rtol=1e-12)
    assert overlap.bleu("", ["a"]) == 0.0 == overlap.bleu("a", [""])
    # case and punctuation count, spaces do not
    assert overlap.bleu("Yes , sir", ["Yes, sir"]) == 1.0 > overlap.bleu("yes", ["Yes"])


def test_rouge_l_by_hand():
    # common subsequence "police kill gunman"'s Lin example: police the gunman, 3 words
    actual = overlap.rouge_l("police kill the gunman", ["Police killed the gunman."])
    np.testing.assert_allclose(actual, 2 * 3 / 8)
    actual = overlap.rouge_l("the gunman kill police", ["police killed the gunman"])
    np.testing.assert_allclose(actual, 2 * 2 / 8)
    assert overlap.rouge_l("a b", ["x y", "b"]) == pytest.approx(2 / 3)
    assert overlap.rouge_l("", ["a"]) == 0.0


NUMBERS = {
    "#### 1,234,567": "1234567",
    "#### $1,800.50 dollars": "1800.50",
    "#### -5": "-5",
    "#### \u22125": "-5",
    "#### -$5": "-5",
    "so 12.\n#### 3\nno:\n#### 4": "4",
    "#### Step 1: 3 + 4\n#### Answer\nIt is 7.": "7",
    r"\boxed{42}, as 6 * 7": "42",
    r"\boxed{1{,}800\text{ dollars}}": "1800",
    r"\boxed{\$-.5}": "-.5",
    r"\boxed{1} or \boxed{2}": "2",
    "costs $18.": "18",
    "1,800 eggs": "1800",
    "1,2,3": "3",
    "5-3": "3",
    "16 - 3 = 13": "13",
    "it is -7": "-7",
    "(-7)": "-7",
    "about 50%": "50",
    "9.75": "9.75",
}


@pytest.mark.parametrize("text", NUMBERS)
def test_the_final_number(text):
    assert verifiable.final_number(text) == Decimal(NUMBERS[text])


def test_there_is_no_number():
    for text in ("", "eighteen", "####", r"\boxed{\frac{1}{2}}", r"\boxed{x}"):
        assert verifiable.final_number(text) is None
    assert verifiable.gsm8k("no number", ["none here either"]) == 0.0


def test_gsm8k_compares_numbers_not_texts():
    references = ["9 * 200 = <<9*200=1800>>1,800\n#### 1,800"]
    for right in ("#### 1800", "It is 1800.00.", r"\boxed{1,800}", "#### 1,800 eggs"):
        assert verifiable.gsm8k(right, references) == 1.0
    for wrong in ("#### 180", "It is 1800, or 1801.", "#### -1800", "1.800"):
        assert verifiable.gsm8k(wrong, references) == 0.0
    tagged = "<think>1800 or 5</think><answer>1800</answer> 7"
    assert verifiable.gsm8k(tagged, references) == 1.0
    strict = ["#### 1800", "so\n####1,800 \n", "#### $1800", "#### 1800 eggs", "1800"]
    actual = [verifiable.gsm8k(text, references, strict=True) for text in strict]
    assert actual == [1, 1, 0, 0, 0]


def test_the_form_of_thought_and_answer():
    good = "<think>a\nb</think>\n<answer>c</answer>\n"
    assert verifiable.think_answer_format(good) == 1.0
    for bad in (
        "so " + good,
        good + good,
        "<answer>c</answer><think>a</think>",
        "<think>a<think>b</think><answer>c</answer>",
        "<think>a</think><answer>c</answer> and more",
        "<think>a</think> c",
    ):
        assert verifiable.think_answer_format(bad) == 0.0


CASES = {
    "length:4": [0.75, 0.25],  # 3 words, and 1
    "bleu": [overlap.bleu("a b 7", ["a b c"]), overlap.bleu("7.0", ["#### 7"])],
    "rouge": [2 / 3, 2 * 1 / 3],  # of "7 0" and "7" one word
    "exact": [0, 0],
    "gsm8k": [0, 1],
    "gsm8k:strict": [0, 0],
    "regex:^a.*[0-9],?$": [1, 0],
    "format": [0, 0],
}


@pytest.mark.parametrize("name", CASES)
def test_every_name_is_a_function_of_prompts_answers_and_references(name):
    prompts = [[{"role": "user", "content": "q"}]] * 2
    actual = reward_registry.make_reward(name)(
        prompts, ["a b 7", "7.0"], [["a b c"], ["#### 7"]]
    )
    assert actual.dtype == np.float32 and actual.shape == (2,)
    np.testing.assert_allclose(actual, CASES[name], rtol=1e-6)
    assert set(CASES) >= set(reward_registry.REWARDS) - {"length", "regex"}


def test_names_and_arguments_that_are_not():
    for name, hint in {
        "blue": "did you mean bleu",
        "gsm9k:strict": "did you mean gsm8k",
        "xyz": "unknown reward 'xyz': expected one of length, bleu",
        "length:long": "needs a number of words",
        "length:0": "needs a number of words",
        "regex:(": "regex:",
        "regex": "needs a pattern",
        "gsm8k:loose": "gsm8k or gsm8k:strict",
        "bleu:2": "no argument after its name",
    }.items():
        with pytest.raises(ValueError, match=hint):
            reward_registry.make_reward(name)
