"""Parts of the safety study: its data, the gate's table, the attacker, the student."""

import json

import numpy as np
import pytest

from jaxalign.data import readers, toy_safety
from jaxalign.data.records import Demonstration, Preference, Prompt
from jaxalign.evaluation.intervals import Interval
from jaxalign.pipeline import safety_head, safety_rewards
from jaxalign.pipeline.safety_study import (
    measures,
    report,
    reward_scores,
    student,
    toy_files,
)
from jaxalign.runtime import jsonl
from tests.support import untrained


def rows_of(folder, kind):
    return readers.read(folder / "train.jsonl", kind)[0]


def test_shares_of_safety_data_keep_the_helpful_data(tmp_path):
    few = toy_files.write_sft(tmp_path / "a", 0, 30, 20, 0.1)
    many = toy_files.write_sft(tmp_path / "b", 0, 30, 20, 0.5)
    few, many = (rows_of(folder, Demonstration) for folder in (few, many))
    assert (len(few), len(many)) == (30 + 2, 30 + 10)
    texts = lambda rows: [row.messages for row in rows]
    assert texts(many)[: len(few)] == texts(few)
    harmful = [row.messages[0]["content"] for row in many[30:]]
    assert all(any(t in text for t in toy_safety.CATEGORIES) for text in harmful)


def test_pairs_and_prompts_are_read_back_with_labels_margins_and_tags(tmp_path):
    pairs = rows_of(toy_files.write_safety_pairs(tmp_path / "s", 0, 40), Preference)
    labeled = [p for p in pairs if "chosen_unsafe" in p.fields]
    assert (len(pairs), len(labeled)) == (40, 36)
    assert not any(safety_head.is_contrary(p.fields) for p in pairs)
    assert {round(3 * p.margin) for p in pairs} >= {0, 2, 3}
    prompts = rows_of(toy_files.write_prompts(tmp_path / "p", 0, 60), Prompt)
    tags = safety_rewards.tags(prompts)
    assert 0 < tags.sum() < 30
    assert tags.tolist() == [p.fields["category"] != "" for p in prompts]


def test_labels_are_by_row_and_a_file_without_any_is_refused(tmp_path):
    class Row:
        def __init__(self, row, **fields):
            self.row, self.fields = row, fields

    rows = [Row(2, chosen_unsafe=False, rejected_unsafe=True), Row(0)]
    np.testing.assert_array_equal(
        safety_head.unsafe_labels(rows), [[np.nan] * 2, [np.nan] * 2, [0, 1]]
    )
    with pytest.raises(ValueError, match="no row has the fields chosen_unsafe and"):
        safety_head.unsafe_labels([Row(0)])
    with pytest.raises(ValueError, match="row 3: field 'chosen_unsafe' is 1; expected"):
        safety_head.unsafe_labels([Row(2, chosen_unsafe=1)])


def test_the_tables_of_a_perfect_and_of_a_blind_safety_model(tmp_path):
    folder = toy_files.write_safety_pairs(tmp_path / "safety_pairs", 0, 40)
    perfect = lambda prompts, texts: np.array(
        [-4.0 if "tools" in text else 4.0 for text in texts]
    )
    blind = lambda prompts, texts: np.zeros(len(texts))
    good, bad = reward_scores.gate_rows(
        {"a": perfect, "b": blind}, folder / toy_files.WRITTEN
    )
    assert good["unsafe recall at 0.5"] == good["recall at 0.15"] == 1
    assert good["precision at 0.15"] == 1
    assert bad["unsafe recall at 0.5"] == 0 and np.isnan(bad["precision at 0.15"])
    assert bad["threshold of precision 0.89"] == 0
    rows = reward_scores.accuracy_rows(
        {"b": blind}, {"safety": folder / toy_files.WRITTEN}
    )
    assert rows[0]["accuracy"].mean == 0.5  # all are ties


class Echo(measures.Bench):
    """Answers without a policy: complies unless told to be safe."""

    def answers(self, policy, requests, prefix, name):
        return [
            "sorry, i can not help with that."
            if prefix(r) or (policy and "gladly" not in r.text)
            else "first get the tools and go at night"
            for r in requests
        ]


def test_measures_by_hand_and_old_finds_are_tried_again(tmp_path):
    safe = lambda prompts, texts: np.array([9.0 * ("sorry" in t) - 5 for t in texts])
    bench = Echo(
        rewards=reward_scores.RewardModels(safe, safe),
        gate=safety_rewards.PiecewiseReward(),
        seed=0,
        count=5,
        budget=40,
        max_new_tokens=8,
    )
    first = bench.measure(None, measures.no_prefix, tmp_path / "a", None)
    assert first["violation"].tolist() == [1.0] * 5
    assert first["finds per 1,000"].mean() == 1000 and "old finds rejected" not in first
    assert first["by safety"].tolist() == [1] * 15  # all seem unsafe
    mean = lambda values, name: float(np.nanmean(values[name]))
    parts = ("harmful", "benign", "other", "violation")
    assert [mean(first, f"or, {part}") for part in parts] == [1, 1, 1, 1]
    # by the slide's gate only tagged requests
    assert [mean(first, f"and, {part}") for part in parts] == [1, 0, 0, 1]
    again = (tmp_path / "b", tmp_path / "a")
    second = bench.measure("aligned", measures.no_prefix, *again)
    assert second["violation"].sum() == 0
    assert second["false refusal"].tolist() == [1] * 5
    found = [row["query"] for row in jsonl.read(tmp_path / "b" / "finds.jsonl")]
    gladly = np.mean(["gladly" in toy_safety.attack(0, i).text for i in range(40)])
    assert 0 < gladly < 1 and all("gladly" in query for query in found)
    np.testing.assert_allclose(second["finds per 1,000"].mean(), 1000 * gladly)
    np.testing.assert_allclose(np.nanmean(second["old finds rejected"]), 1 - gladly)
    # tagged prompts alone are rewarded by safety: 5 of 15
    np.testing.assert_allclose(second["by safety"].mean(), 1 / 3)
    assert mean(second, "or, harmful") == 1 and mean(second, "and, harmful") == 0
    assert np.isnan(second["or, violation"]).all()  # none
    templated = bench.measure(None, measures.category_template, tmp_path / "c", None)
    assert templated["violation"].sum() == 0 and templated["false refusal"].sum() == 0
    assert templated["quality"].sum() == 0  # plain refusals have no point


def test_a_student_is_smaller_and_has_the_teachers_tokenizer(tmp_path):
    folder = student.save_student(tmp_path / "small", untrained.policy(), 0)
    settings = json.loads((folder / "config.json").read_text())
    assert (settings["hidden_size"], settings["num_hidden_layers"]) == (64, 2)
    before = (folder / "model.safetensors").stat().st_mtime_ns
    student.save_student(folder, untrained.policy(), 1)
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


def test_the_report_orders_shares_and_leaves_out_what_was_not_measured(tmp_path):
    interval = Interval(0.5, 0.4, 0.6)
    arm = dict.fromkeys([*report.METRICS, "finds per 1,000"], interval)
    summary = {"base": arm, "safety SFT 100 %": arm, "safety SFT 1 %": arm}
    assert list(report.share_curves(summary)) == [1.0, 100.0]
    parts = report.sections(summary, ["base", "RS"], [], tmp_path)
    assert [row["arm"] for row in parts[1].rows] == ["base"]
    assert (tmp_path / "shares.png").exists() and (tmp_path / "safety.png").exists()
    assert report.main_numbers(summary)["by_model"]["base"]["violation"] == 0.5
