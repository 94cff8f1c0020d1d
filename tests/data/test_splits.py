"""The held-out split: by prompt, whatever the order, the kind or the spelling."""

import numpy as np
import pytest

from jaxalign.data import splits
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking, Unpaired


def conversation(*texts):
    roles = ["user", "assistant"] * len(texts)
    return [
        {"role": r, "content": t}
        for r, t in zip(roles[: len(texts)], texts, strict=True)
    ]


def test_the_first_user_message_alone_decides_whatever_its_spelling():
    system = {"role": "system", "content": "be brief"}
    same = [
        Prompt(conversation("What is 1?")),
        Prompt([system, *conversation("what  IS\n１?")]),  # a full-width 1
        Demonstration(conversation("What is 1?", "2", "no", "1")),
        Preference(conversation("What is 1?", "2", "again"), "a", "b"),
        Ranking(conversation("WHAT IS 1?"), ("a", "b", "c")),
        Unpaired(conversation(" What is 1? "), "a", False),
    ]
    hashes = splits.prompt_hashes(same)
    assert len(set(hashes)) == 1
    assert splits.prompt_hash(Prompt(conversation("What is 2?"))) != hashes[0]
    # a lone surrogate, which JSON can hold, has a hash too
    assert splits.prompt_hash(Prompt(conversation("\ud800"))) != hashes[0]


def test_the_held_out_share():
    hashes = splits.prompt_hashes(
        [Prompt(conversation(f"q{i}")) for i in range(20_000)]
    )
    for share in (0.05, 0.1, 0.5):
        fraction = splits.HeldOutSplit(share).mask(hashes).mean()
        # five standard deviations of a binomial share
        assert abs(fraction - share) < 5 * np.sqrt(share * (1 - share) / len(hashes))
    # a larger share holds out what a smaller one does, and more
    small, large = (splits.HeldOutSplit(share).mask(hashes) for share in (0.1, 0.2))
    assert not (small & ~large).any()
    # seeds are independent: 0.1 * 0.1 of the prompts are held out by both
    both = (small & splits.HeldOutSplit(0.1, seed=1).mask(hashes)).mean()
    assert abs(both - 0.01) < 5 * np.sqrt(0.01 / len(hashes))


def test_the_share_has_to_be_in_range():
    for share in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="held-out share is .*; expected"):
            splits.HeldOutSplit(share)


def test_splitmix_is_the_published_generator():
    # the first outputs of SplitMix64 with seed 1234567, as its reference code prints
    state, step = np.uint64(1234567), np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        states = state + step * np.arange(3, dtype=np.uint64)
    assert splits.splitmix64(states).tolist() == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


def test_unique_prompts_keep_all_references():
    twice = [
        Prompt(conversation("a"), "f:1", ("x",)),
        Prompt(conversation("b")),
        Prompt(conversation("a"), "f:3", ("y", "x")),
    ]
    first, second = splits.unique_prompts(twice)
    assert (first.location, first.references) == ("f:1", ("x", "y"))
    assert second.messages == conversation("b")
