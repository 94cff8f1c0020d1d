"""Rewards of texts take any text: in time that grows as it does, and without a fault.

What a policy may learn to say is anything, and most of all what repeats. 64,000
characters of each kind take milliseconds where each is read a few times; where time
grows with the square they take minutes, so that the bounds,
seconds of the processor, are far from both.
"""

import random
import time
import tracemalloc
from decimal import Decimal

import numpy as np
import pytest

from jaxalign.data.records import Prompt
from jaxalign.pipeline import datasets
from jaxalign.pipeline.datasets.record_splits import SplitRecords
from jaxalign.rewards import overlap, reward_registry, validation, verifiable

LONG = 64_000
PARTS = {
    "spaces": " ",
    "lines": "\n",
    "digits": "7",
    "commas": ",",
    "thousands": ",111",
    "hashes": "#",
    "marks": "####",
    "marks and spaces": "#### ",
    "marks and dollars": "#### $ ",
    "boxes": r"\boxed{",
    "boxes of braces": r"\boxed{{{",
    "braces": "{",
    "pairs of braces": "{}",
    "boxed words": r"\boxed ",
    "answers": "<answer>",
    "thoughts": "<think>",
    "both": "<think><answer>",
    "ends": "</answer>",
    "dots": ".",
    "decimals": ".5",
    "minus": "-",
    "minus and dollars": "-$",
    "exponents": "1e",
    "unicode digits": "\u0664",
    "wide digits": "\uff17",
    "words": "a ",
    "different": "",
    "entities": "&quot;",
}
STARTS = ("", "####", "#### 1", r"\boxed{", r"\boxed", "<answer>", "<think>", "-1")
ENDS = ("", "x", "x", "", "}", "</answer>", "\u00b2", "x")
REWARDS = [name for name in reward_registry.REWARDS if name not in ("length", "regex")]
REWARDS += ["length:9", "gsm8k:strict", "regex:[0-9]x"]
REFERENCE = "so 9 * 200 = 1800 a b\n#### 1,800"


def text_of(kind: str, start: str = "", end: str = "") -> str:
    part = PARTS[kind] or " ".join(f"w{i}" for i in range(LONG // 5))
    return start + (part * (LONG // len(part) + 1))[:LONG] + end


@pytest.mark.parametrize("kind", PARTS)
def test_every_reward_of_texts_is_linear(kind):
    begun = time.process_time()
    answers = [
        text_of(kind, start, end) for start, end in zip(STARTS, ENDS, strict=True)
    ]
    references = [[REFERENCE]] * len(answers)
    for name in REWARDS:
        actual = reward_registry.make_reward(name)(
            [[]] * len(answers), answers, references
        )
        assert np.isfinite(actual).all() and actual.shape == (len(answers),)
    taken = time.process_time() - begun
    assert taken < 10.0, f"{len(answers)} answers by {len(REWARDS)} rewards: {taken} s"


def test_a_long_reference_is_no_square_either():
    long = "a b " * 16_000  # a table of a thousand million places
    begun = time.process_time()
    assert overlap.rouge_l(long, [long]) == 1.0 == overlap.bleu(long, [long])
    # of "b a b a ..." as many words follow "a b a b ..." but for one
    turned = "b a " * 16_000
    assert overlap.rouge_l(long, [turned]) == 31_999 / 32_000
    assert verifiable.gsm8k(long, [text_of("marks")]) == 0.0
    assert time.process_time() - begun < 10.0


@pytest.mark.parametrize("seed", range(4))
def test_the_table_of_bits_is_the_table(seed):
    rng = random.Random(seed)

    def by_definition(first, second):
        table = {}
        for i in range(len(first) + 1):
            for j in range(len(second) + 1):
                if not i or not j:
                    table[i, j] = 0
                elif first[i - 1] == second[j - 1]:
                    table[i, j] = table[i - 1, j - 1] + 1
                else:
                    table[i, j] = max(table[i - 1, j], table[i, j - 1])
        return table[len(first), len(second)]

    for _ in range(50):
        a, b = ("".join(rng.choices("abcd", k=rng.randrange(0, 80))) for _ in range(2))
        assert overlap.lcs_length(a, b) == by_definition(a, b)


def test_no_text_is_a_fault():
    rng = random.Random(0)
    pieces = [*filter(None, PARTS.values()), *STARTS, *ENDS, "1", "e9", "E-", "$"]
    pieces += ["e99999999999999999999", "\ud800", "\x00", "+", "\u2212", "{,}", "\\!"]
    rewards = [reward_registry.make_reward(name) for name in REWARDS]
    for _ in range(1500):
        text = "".join(rng.choices(pieces, k=rng.randrange(1, 9)))
        for reward in rewards:
            assert np.isfinite(reward([[]], [text], [[text, REFERENCE]])).all()


def test_numbers_compare_exactly():
    number = "1234567890123456789012345678901"  # 31 digits; a context keeps 28
    near = number[:-1] + "2"
    for sign in ("", "-", "\u2212", "-$"):
        for form in ("{}", "#### {}", r"\boxed{{{}}}"):
            references = [form.format(sign + number)]
            assert verifiable.gsm8k(form.format(sign + number), references) == 1.0
            assert verifiable.gsm8k(form.format(sign + near), references) == 0.0
    assert verifiable.gsm8k(f"#### -{near}", [f"#### -{number}"], strict=True) == 0.0
    assert verifiable.final_number(f"it is -{number}") == Decimal(f"-{number}")
    many = "9" * 20_000
    assert verifiable.gsm8k(many + ".0", [many]) == 1.0
    assert verifiable.gsm8k(many + ".0", [many[:-1] + "8"]) == 0.0


def test_exponents_are_of_the_number():
    for text, number in {
        "1.8e3": "1800",
        "it is 2E-3": "0.002",
        "#### -1e2": "-100",
        r"\boxed{1e5}": "100000",
        "1e5x": "5",  # no number, but a 5 in a name
        "1e999999": "1e999999",
    }.items():
        assert verifiable.final_number(text) == Decimal(number), text
    assert verifiable.final_number("1e99999999999999999999999999") is None
    assert verifiable.gsm8k("1e5", ["5"]) == 0.0


def test_the_last_box_may_hold_boxes_and_braces():
    assert (
        verifiable.last_boxed(r"\boxed{\sqrt{\frac{1}{2}}} x") == r"\sqrt{\frac{1}{2}}"
    )
    assert verifiable.final_number(r"\boxed{\text{{so}} {7}} \boxed{8") == 7
    assert verifiable.final_number(r"\boxed{\boxed{7}}") == 7
    assert verifiable.last_boxed("} } {") is None


def test_what_is_concluded_stands_in_the_last_pair_of_tags():
    for text, content in {
        "<answer>1</answer> <answer>2</answer>": "2",
        "<answer>1</answer> <answer>2": "1",
        "put it in <answer> so <answer>3</answer>": "3",
        "</answer><answer>4</answer></answer>": "4",
        "<answer>5": "<answer>5",
    }.items():
        assert verifiable.extract_answer(text) == content


def test_a_pattern_that_takes_for_ever_stops_with_its_name_and_row(monkeypatch):
    monkeypatch.setattr(verifiable, "PATTERN_TIMEOUT", 0.2)
    judge = datasets.reward_by_name("regex:^(([a-z])+.)+[A-Z]$")
    prompts = [Prompt([], location="rows.jsonl:7"), Prompt([], location="rows.jsonl:8")]
    texts = ["ab.Z", "a" * 500]
    with pytest.raises(ValueError, match=r"\+\[A-Z\]\$ at row 1: .*jsonl:8"):
        judge(prompts, texts, np.array([True, True]))


@pytest.mark.parametrize("wrong", ["(", "(?P<a>", "a{5,1}", "[z-a]", "\\"])
def test_a_pattern_that_is_none_is_refused_with_its_name(wrong):
    with pytest.raises(ValueError, match="the reward regex:"):
        reward_registry.make_reward(f"regex:{wrong}")


@pytest.mark.parametrize("wrong", [
    "a{99999999}", "((a{999}){999}){999}", "(?:(?:[a-z]{99}){99}b{9}){99}", "(" * 9999,
    "a{" + "9" * 5000 + "}", "a" * 10**6, r"\\{99999999}",
])  # fmt: skip
def test_a_pattern_without_bound_is_refused_at_once_and_in_a_sentence(wrong):
    """What is written out is compiled: 10^8 letters take gigabytes."""
    tracemalloc.start()
    began = time.process_time()
    with pytest.raises(ValueError, match="the reward regex:") as error:
        reward_registry.make_reward(f"regex:{wrong}")
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(str(error.value)) < 450
    assert seconds < 2 and peak < 2**26


@pytest.mark.parametrize("right, text", [
    (r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}$", "2026-11-30T12:00"),
    (r"^.{0,100000}\Z", "abc"), (r"^[{99999}]$", "9"), (r"\{99999\}", "{99999}"),
    ("(?:[a-z]{10}){0,9}" * 10, ""), (r"\p{Lu}{2}", "AB"), ("x{1,99}" * 30, "x" * 30),
])  # fmt: skip
def test_patterns_that_repeat_little_are_read(right, text):
    assert reward_registry.make_reward(f"regex:{right}")(
        [[]], [text], [[]]
    ).tolist() == [1.0]


@pytest.mark.parametrize(
    "name", ["regexx:", "length:", "gsm8k:", "format:", "length:9"]
)
def test_names_are_not_repeated_at_length(name):
    with pytest.raises(ValueError) as error:
        reward_registry.make_reward(name + "9" * 9999)
    assert len(str(error.value)) < 450


@pytest.mark.parametrize(
    "rewards, sentence",
    [
        ([1.0, float("nan")], r"the reward mine is nan at row 1"),
        ([float("-inf"), 0.0], r"the reward mine is -inf at row 0"),
        ([1.0], r"shape \(1,\) for 2 answers"),
        ([[1.0], [0.0]], r"shape \(2, 1\) for 2 answers"),
        (1.0, r"shape \(\) for 2 answers"),
        (["good", "bad"], "the reward mine gives no numbers"),
        ([1.0, None], "row 1|no numbers"),
        (None, r"shape|no numbers"),
    ],
)
def test_a_reward_is_one_finite_number_for_each_answer(rewards, sentence):
    with pytest.raises(ValueError, match=sentence):
        validation.validate_rewards("mine", rewards, 2)
    prompts = [Prompt([], location="rows.jsonl:7"), Prompt([], location="rows.jsonl:8")]
    reward = datasets.with_finite_check("mine", lambda *_: {"reward": rewards})
    with pytest.raises(ValueError, match=sentence) as error:
        reward(prompts, ["a", "b"], np.ones(2, bool))
    if "row 1" in str(error.value):
        assert "rows.jsonl:8" in str(error.value)
    if not isinstance(rewards, list):
        return
    with pytest.raises(ValueError, match="row [01]|shape|numbers"):
        datasets.check_finite("mine", prompts, rewards)


def test_a_judge_of_a_source_is_checked(tmp_path):
    source = datasets.Dataset(
        *("mine", 8, 8, 8, 1, lambda kind: SplitRecords([], [])),
        reward=lambda prompts, texts, ended: {"reward": np.full(len(texts), np.nan)},
    )
    with pytest.raises(ValueError, match="the reward of mine is nan at row 0"):
        source.require_reward()([Prompt([])], ["a"], np.ones(1, bool))
