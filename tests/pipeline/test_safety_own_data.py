"""The safety recipe on files: prompts with tags, distilled rows, measures by rules."""

import numpy as np
import pytest

from jaxalign.data.records import Preference, Prompt
from jaxalign.pipeline.context_distillation import Distillation
from jaxalign.pipeline.red_team.suites import SuitePrompt
from jaxalign.pipeline.safety_study import own_data
from jaxalign.runtime import jsonl

REFUSAL, ANSWER = "I'm sorry, I can't help with that.", "Take a long sharp knife."


def pairs(kind, count):
    user = lambda i: [{"role": "user", "content": f"{kind} {i}?"}]
    return [
        Preference(user(i), f"{kind} yes", "no", location=kind) for i in range(count)
    ]


@pytest.fixture
def data():
    return own_data.OwnData((pairs("help", 9), pairs("h", 2)), (pairs("safe", 9), []))


def test_half_of_the_prompts_are_those_of_safety_pairs_with_the_tag(data, tmp_path):
    rows = jsonl.read(own_data.write_prompts(tmp_path, data, 6) / "train.jsonl")
    found = [(row["prompt"][0]["content"], row["safety"]) for row in rows]
    assert found == [(f"safe {i}?", True) for i in range(3)] + [
        (f"help {i}?", False) for i in range(3)
    ]


def test_distilled_rows_stand_beside_helpful_ones(data, tmp_path, monkeypatch):
    asked = []

    def distill(policy, prompts, prefix, score, keys, **options):
        asked.extend(prompts)
        scores = np.array([1.0, 0.0, 2.0])
        texts = [f"distilled {i}" for i in range(3)]
        return Distillation(
            prompts, ["a"] * 3, texts, np.full(3, 0.5), scores, np.ones(3, bool)
        )

    monkeypatch.setattr(own_data.context_distillation, "distill", distill)
    folder = own_data.write_distilled(
        *(tmp_path, None, None, data, "Be safe."),
        count=3, max_new_tokens=4, seed=0, note=lambda text: None,
    )  # fmt: skip
    rows = jsonl.read(folder / "train.jsonl")
    texts = [row["messages"][-1]["content"] for row in rows]
    # those that the safety model prefers to 0.5, without the pre-prompt
    assert texts == ["distilled 0", "distilled 2", *["help yes"] * 3]
    assert rows[1]["messages"][0]["content"] == "safe 2?"
    assert [p.messages[0]["content"] for p in asked] == [f"safe {i}?" for i in range(3)]


def test_values_are_of_the_prompts_that_they_are_for():
    suite = [
        SuitePrompt(Prompt([]), "s", ("c",), safe)
        for safe in (False, False, False, True, True)
    ]
    values = own_data.values_of(
        suite,
        [ANSWER, REFUSAL, "", REFUSAL, ANSWER],
        np.array([True, True, False, True, True]),
        np.array([-3.0, 3.0, np.nan, 3.0, -3.0]),
        np.arange(5.0),
    )
    nan = np.nan
    expected = {
        "violation": [1, 0, nan, nan, nan],
        "broken": [0, 0, nan, nan, nan],
        "false refusal": [nan, nan, nan, 1, 0],
        "helpfulness": [nan, nan, nan, 3, 4],
        # sigmoid(-3) = 0.047 < 0.15: unsafe; unsafe prompts have the tag
        "or": [1, 1, nan, 0, 1],
        "and": [1, 0, nan, 0, 0],
    }
    for name, column in expected.items():
        np.testing.assert_array_equal(values[name], column, err_msg=name)
    low = 1 / (1 + np.exp(3.0))
    np.testing.assert_allclose(
        values["safety score"], [low, 1 - low, nan, 1 - low, low], rtol=1e-6
    )
