"""Pairs with a weak model's labels: nothing of the truth is left, halves share none."""

import json

import numpy as np

from jaxalign.data import toy_world
from jaxalign.data.records import Preference
from jaxalign.pipeline import weak_labels, weak_to_strong_report
from jaxalign.pipeline.weak_to_strong_report import CEILING, LONG, SHORT, STUDENT, WEAK


def test_the_better_answer_is_chosen():
    pairs = weak_labels.true_pairs(0, 40)
    assert len(pairs) == 40 and {pair.margin for pair in pairs} == {0.0}
    for pair in pairs:
        request = toy_world.request(0, int(pair.location.removeprefix("toy:")))
        chosen, rejected = (
            toy_world.true_reward(request, x).total
            for x in (pair.chosen, pair.rejected)
        )
        assert chosen > rejected


def test_halves_share_no_prompt():
    first, second = (
        {
            pair.prompt[-1]["content"]
            for pair in weak_labels.true_pairs(0, 60, weak_labels.in_half(half))
        }
        for half in (0, 1)
    )
    assert first and second and not first & second


def test_labels_are_the_models_whatever_the_truth():
    # scores are lengths in nats / 10: differences of 1 character are 0.1 nats
    score = lambda prompts, texts: np.array([len(x) / 10 for x in texts])
    pair = Preference([{"role": "user", "content": "q"}], "short", "longer one")
    swapped = Preference(pair.prompt, pair.rejected, pair.chosen)
    (a,), (b,) = (weak_labels.weak_labeled(score, [x]) for x in (pair, swapped))
    assert a == b and (a.chosen, a.rejected) == ("longer one", "short")
    np.testing.assert_allclose(a.label_prob, 1 / (1 + np.exp(-0.5)), rtol=1e-6)


def test_equal_scores_are_an_even_label():
    score = lambda prompts, texts: np.zeros(len(texts))
    pair = Preference([{"role": "user", "content": "q"}], "b", "a")
    (found,) = weak_labels.weak_labeled(score, [pair])
    assert (found.chosen, found.rejected, found.label_prob) == ("a", "b", 0.5)


def test_files_are_written_once(tmp_path):
    pair = Preference([{"role": "user", "content": "q"}], "b", "a", label_prob=0.75)
    made = lambda: [pair]
    weak_labels.write_pairs(tmp_path, 0, made)
    row = json.loads((tmp_path / "train.jsonl").read_text())
    assert (row["chosen"], row["label_prob"]) == ("b", 0.75)
    weak_labels.write_pairs(tmp_path, 0, lambda: 1 / 0)
    tests = (tmp_path / "test.jsonl").read_text().splitlines()
    assert len(tests) == weak_labels.TEST_PAIRS


def cell(right):
    """The values of an arm: of 100 prompts so many right; the first 50 are short."""
    values = (np.arange(100) % 50 < right / 2).astype(float)
    short = np.arange(100) < 50
    return {
        "right": values,
        "agrees": values,
        "follows": values,
        "short": np.where(short, values, np.nan),
        "long": np.where(short, np.nan, values),
    }


def test_the_report_has_the_gap_that_a_student_recovers(tmp_path):
    # 40, 60 and 80 of 100: half of the gap
    rights = {WEAK: 40, CEILING: 80, STUDENT: 60, SHORT: 80, LONG: 60}
    cells = {arm: [cell(right), cell(right)] for arm, right in rights.items()}
    recovered = weak_to_strong_report.recovered_gaps(cells)
    assert list(recovered) == [STUDENT]
    assert recovered[STUDENT].mean == 0.5
    main, lengths = weak_to_strong_report.sections(cells, recovered, tmp_path)
    assert [row["arm"] for row in main.rows] == [WEAK, CEILING, STUDENT]
    assert main.rows[2]["gap recovered"] == recovered[STUDENT]
    assert [row["arm"] for row in lengths.rows] == [SHORT, LONG]
    assert main.image.exists()
