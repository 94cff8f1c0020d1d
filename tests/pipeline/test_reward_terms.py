"""Weighted sums as `--reward` writes them."""

import pytest

from jaxalign.pipeline.reward_terms import reward_terms


def named(reward):
    return [(term.name, term.reward, term.weight) for term in reward_terms(reward)]


def test_sums_and_their_names():
    assert named("gsm8k=0.8,my.py:brief=0.2,runs/reward=1.0") == [
        ("gsm8k", "gsm8k", 0.8),
        ("brief", "my.py:brief", 0.2),
        ("reward", "runs/reward", 1.0),
    ]
    # without weights each is 1, as TRL has it; weights may be negative
    assert [w for *_, w in named("gsm8k,format")] == [1.0, 1.0]
    assert named("length:40=-1e-1") == [("length:40", "length:40", -0.1)]
    assert named("a.py:f=1,b.py:f=2,c.py:g=3") == [
        ("a.py:f", "a.py:f", 1.0),
        ("b.py:f", "b.py:f", 2.0),
        ("g", "c.py:g", 3.0),
    ]
    assert named("judge:runs/j=1,gsm8k=1")[0][0] == "judge:j"


def test_single_rewards_are_no_sums():
    single = ["gsm8k", "gsm8k:strict", "runs/a", "runs/a,runs/b", "programmed"]
    for reward in (*single, "judge:runs/j", "regex:a,b=1", "regex:x=1", "blue"):
        assert named(reward) == [], reward
    assert named("my.py:f") == [("f", "my.py:f", 1.0)]


def test_folders_with_signs_of_equality(tmp_path):
    for name in ("beta=0.1", "beta=0.2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    one, two = (str(tmp_path / name) for name in ("beta=0.1", "beta=0.2"))
    assert named(one) == named(f"{one},{two}") == []
    assert [w for *_, w in named(f"{one}=2,{two}=3")] == [2.0, 3.0]


def test_patterns_in_sums():
    """A pattern ends at its weight; it may hold commas and signs of equality."""
    assert named("gsm8k=1,regex:x=1,y=0.5,format=2") == [
        ("gsm8k", "gsm8k", 1.0),
        ("regex:x", "regex:x", 1.0),
        ("y", "y", 0.5),
        ("format", "format", 2.0),
    ]
    assert named("gsm8k=1,regex:a,b=0.5")[1] == ("regex:a,b", "regex:a,b", 0.5)
    assert [w for *_, w in named("regex:a=0.5,regex:b=0.5")] == [0.5, 0.5]


def test_functions_from_python():
    def brief(prompts, answers): ...

    assert named(brief) == [("brief", brief, 1.0)]
    assert named({"gsm8k": 0.8, brief: 0.2}) == [
        ("gsm8k", "gsm8k", 0.8),
        ("brief", brief, 0.2),
    ]


@pytest.mark.parametrize(
    "reward, hint",
    {
        "gsm8k,my.py:f=0.2": "gsm8k has no weight, .* write gsm8k=WEIGHT",
        "runs/a,runs/b=0.5": "runs/a has no weight",
        "gsm8k=1,gsm8k=2": "gsm8k is in the sum twice",
        "gsm8k=1e999": "weight of gsm8k is inf",
    }.items(),
)
def test_wrong_sums_are_refused(reward, hint):
    with pytest.raises(ValueError, match=hint):
        reward_terms(reward)
