"""Accuracy against length: groups, and the published baseline on LLMBar."""

import json

import numpy as np
import pytest

from jaxalign.evaluation.reward_benchmarks import length_bias

# ../shared/data/golden.md
LLMBAR = {
    "Adversarial_GPTInst": 0.130,
    "Adversarial_GPTOut": 0.447,
    "Adversarial_Manual": 0.174,
    "Adversarial_Neighbor": 0.119,
    "Natural": 0.560,
}


@pytest.mark.parametrize(("name", "expected"), LLMBAR.items())
def test_longer_wins_on_llmbar(public_data, name, expected):
    rows = json.loads((public_data / "llmbar" / f"{name}_dataset.json").read_text())
    right = np.array([len(row[f"output_{row['label']}"]) for row in rows])
    wrong = np.array([len(row[f"output_{3 - row['label']}"]) for row in rows])
    # three published decimals
    assert length_bias.longer_wins(right, wrong).mean() == pytest.approx(
        expected, abs=5e-4
    )


def test_accuracy_by_which_answer_is_longer():
    # pairs: (chosen longer, right), (chosen longer, wrong), (rejected longer, wrong),
    # (rejected longer, wrong), (equal, right)
    results = np.array([1.0, 0.0, 0.0, 0.0, 1.0])
    chosen, rejected = np.array([9, 8, 2, 3, 4]), np.array([5, 5, 5, 5, 4])
    found = length_bias.length_accuracy(results, chosen, rejected, units="each")
    means = {name: value.mean for name, (value, _) in found.items()}
    assert means == pytest.approx(
        {
            "all": 0.4,
            "longer wins": 0.4,
            "difference": 0.0,
            "chosen longer": 0.5,
            "rejected longer": 0.0,
            "equal lengths": 1.0,
        }
    )
    assert [count for _, count in found.values()] == [5, 5, 5, 2, 2, 1]


def test_groups_are_a_partition():
    rng = np.random.default_rng(0)
    chosen, rejected = rng.integers(0, 20, (2, 500))  # 0 characters too
    groups = length_bias.length_groups(chosen, rejected)
    np.testing.assert_array_equal(np.sum(list(groups.values()), axis=0), 1)


def test_a_kind_of_pair_that_is_absent():
    found = length_bias.length_accuracy(
        np.ones(2), np.array([5, 6]), np.array([1, 1]), units="each"
    )
    assert found["rejected longer"] == (None, 0)
