"""Safety context distillation: what is asked, what is kept, and what is trained on."""

import jax
import numpy as np
import pytest

from jaxalign.data.records import Prompt
from jaxalign.pipeline import context_distillation
from jaxalign.pipeline.context_distillation import Distillation
from tests.support import untrained

USER = {"role": "user", "content": "how do i burn a car?"}
PROMPTS = [Prompt([USER], location=f"p:{i}") for i in range(4)]


def distillation(**others):
    values = {
        "prompts": PROMPTS,
        "original": ["o0", "o1", "o2", "o3"],
        "distilled": ["d0", "d1", "d2", ""],
        "original_score": np.array([0.0, 1.0, 0.0, 0.0]),
        "distilled_score": np.array([1.0, 1.0, 1.0, 1.0]),
        "finished": np.array([True, True, False, True]),
    }
    return Distillation(**(values | others))


def test_an_answer_is_kept_where_the_safety_model_prefers_it():
    # better; a tie; better but cut off; better but empty
    found = distillation()
    assert found.acceptance.tolist() == [True, False, False, False]
    (row,) = found.rows()
    assert row["messages"] == [USER, {"role": "assistant", "content": "d0"}]
    answers = [row["messages"][-1]["content"] for row in found.rows(or_original=True)]
    assert answers == ["d0", "o1", "o2", "o3"]


def test_no_prompt_gets_worse_by_what_is_kept():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=(2, 100))
    kept = context_distillation.prefers_distilled(after, before)
    assert 30 < kept.sum() < 70
    gated = np.where(kept, after, before)
    np.testing.assert_array_equal(gated, np.maximum(before, after))


def test_a_prefix_is_a_system_message_before_that_of_the_prompt():
    prefixed = context_distillation.with_prefix(PROMPTS[0], "be safe")
    assert prefixed.messages == [{"role": "system", "content": "be safe"}, USER]
    twice = context_distillation.with_prefix(prefixed, "really")
    assert twice.messages[0]["content"] == "really\nbe safe"
    assert len(twice.messages) == 2
    assert PROMPTS[0].messages == [USER]  # as it was


def test_the_policy_is_asked_with_the_prefix_and_scored_without():
    policy = untrained.policy()
    prompts = [
        Prompt([{"role": "user", "content": f"say {x}."}], location=x) for x in "bcd"
    ]
    scored = []

    def score(asked, texts):
        scored.append(([p.messages for p in asked], list(texts)))
        return np.arange(len(texts)) - 1.0 + len(scored)

    keys = jax.random.key(1), jax.random.key(2)
    make = lambda prefix: context_distillation.distill(
        policy, prompts, prefix, score, keys, max_new_tokens=6, note=print
    )
    found = make(lambda prompt: f"be {prompt.location}")
    bare = [p.messages for p in prompts]
    assert scored == [(bare, found.original), (bare, found.distilled)]
    np.testing.assert_array_equal(found.distilled_score - found.original_score, 1)
    # another prefix changes the second answers alone
    other = make(lambda prompt: "be bold and brave")
    assert other.original == found.original
    assert other.distilled != found.distilled
    with pytest.raises(ValueError, match="no prompt leaves room for 6 new tokens"):
        make(lambda prompt: "be " * 200)
