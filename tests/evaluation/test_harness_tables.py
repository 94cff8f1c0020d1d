"""The harness's results as tables: every metric, and Zephyr's four columns."""

import numpy as np

from jaxalign.evaluation.benchmarks import harness_tables

RESULTS = {
    "results": {
        "arc_challenge": {
            "name": "arc_challenge",
            "alias": "arc_challenge",
            "sample_len": 1172,
            "acc,none": 0.55,
            "acc_stderr,none": 0.01,
            "acc_norm,none": 0.6203,
            "acc_norm_stderr,none": 0.0142,
        },
        "hellaswag": {"acc_norm,none": 0.8, "acc_norm_stderr,none": 0.004},
        "mmlu": {"acc,none": 0.25, "acc_stderr,none": 0.0036, "alias": "mmlu"},
        "gsm8k": {"exact_match,strict-match": 0.4, "exact_match_stderr,strict": "N/A"},
        "wikitext": {
            "word_perplexity,none": 12.5,
            "word_perplexity_stderr,none": "N/A",
        },
    },
    "n-shot": {"arc_challenge": 25, "hellaswag": 0, "mmlu": 5, "gsm8k": 5},
    "n-samples": {"arc_challenge": {"original": 1172, "effective": 1172}},
    "higher_is_better": {
        "arc_challenge": {"acc": True, "acc_norm": True},
        "wikitext": {"word_perplexity": False},
        "mmlu": {"acc": True},
    },
}


def test_every_metric_has_a_row_with_its_interval():
    rows = harness_tables.result_rows(RESULTS)
    assert [(row["task"], row["metric"], row["shots"]) for row in rows] == [
        ("arc_challenge", "acc ↑", 25),
        ("arc_challenge", "acc_norm ↑", 25),
        ("hellaswag", "acc_norm", 0),
        ("mmlu", "acc ↑", 5),
        ("gsm8k", "exact_match (strict-match)", 5),
        ("wikitext", "word_perplexity ↓", None),
    ]
    # 0.55 +- 1.959964 * 0.01
    np.testing.assert_allclose(rows[0]["value"], (0.55, 0.5304, 0.5696), atol=1e-4)
    assert rows[0]["examples"] == 1172 and rows[3]["examples"] is None
    assert np.isnan(rows[5]["stderr"]) and np.isnan(rows[5]["value"].low)


def test_the_leaderboard_shows_tasks_with_its_own_number_of_examples():
    row = harness_tables.leaderboard_row(
        RESULTS, model="zephyr", size="7.2B", alignment="dDPO"
    )
    assert row == {
        "model": "zephyr",
        "size": "7.2B",
        "alignment": "dDPO",
        "ARC (25-shot acc_norm)": "62.03",
        "HellaSwag (10-shot acc_norm)": None,  # it was run with 0
        "MMLU (5-shot acc)": "25.00",
        "TruthfulQA (0-shot mc2)": None,  # it was not run
    }


def test_plots_show_what_lies_between_0_and_1_and_should_be_high():
    lines = harness_tables.plotted_scores(RESULTS)
    assert {task: [*line] for task, line in lines.items()} == {
        "arc_challenge": ["acc", "acc_norm"],
        "mmlu": ["acc"],
    }
