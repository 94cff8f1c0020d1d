"""Tables and the report of a comparison, by hand and by simulated judges."""

import numpy as np

from jaxalign.evaluation.win_rates import (
    comparison_page,
    comparison_plots,
    comparison_tables,
)
from jaxalign.evaluation.win_rates.judgement_columns import judgement_columns

ANSWERS = {"answer_a": "A long answer.", "answer_b": "Short."}


def reward_row(prompt, winner, a="x", b="y", lengths=(14, 6)):
    """A reward's judgement as `judgements.jsonl` has it."""
    probability = {"model_a": 1.0, "tie": 0.5, "model_b": 0.0}[winner]
    row = {"prompt_id": str(prompt), "prompt": f"Say {prompt}.", "winner": winner}
    row |= {"model_a": a, "model_b": b, "probability": probability}
    row |= {"first": None, "swapped": None, **ANSWERS}
    return row | {"length_a": lengths[0], "length_b": lengths[1], "category": None}


def judge_by_length(prompts, rng, consistent=True):
    """Judgements of y against x by a judge that prefers the longer answer.

    The answers of y are longer on 5 of 6 prompts.
    """
    rows = []
    for prompt in range(prompts):
        a, b = (int(n) for n in rng.integers(100, 400, 2))
        b += 0 if rng.random() < 1 / 3 else 300
        longer = float(a > b)
        row = reward_row(prompt, "tie", lengths=(a, b))
        rows.append(row | {"probability": longer, "first": longer, "swapped": longer})
    return rows


def test_a_judge_of_lengths_prefers_nothing_at_equal_length():
    rows = judge_by_length(400, np.random.default_rng(0))
    tables = comparison_tables.all_tables(judgement_columns(rows), ["x", "y"], {})
    (row,) = tables.first
    assert (row["model"], row["against"], row["prompts"]) == ("y", "x", 400)
    # y is longer on 2/3 of the prompts always, and on half of the others: 5/6, give or
    # take 3 deviations of sqrt(5/36 / 400) = 0.019
    assert abs(row["win rate"].mean - 5 / 6) < 0.057
    assert row["win rate"] == row["mean probability"]
    controlled = row["length-controlled"]
    assert controlled.low <= 0.5 <= controlled.high
    assert abs(controlled.mean - 0.5) < 0.1 < row["win rate"].mean - controlled.mean
    measures = {r["measure"]: r["value"].mean for r in tables.judge}
    assert measures["longer wins"] == 1.0
    assert measures[comparison_tables.CONSISTENCY] == 1.0
    headline = comparison_tables.headline(tables)
    assert set(headline) == {"by_model", "consistency", "first_bias"}


def test_length_control_leaves_a_preference_for_the_model():
    rng = np.random.default_rng(1)
    wins = rng.random(400) < 0.8  # of y, whatever the lengths
    rows = [
        reward_row(i, "model_b" if y else "model_a", lengths=rng.integers(1, 99, 2))
        for i, y in enumerate(wins)
    ]
    tables = comparison_tables.all_tables(judgement_columns(rows), ["x", "y"], {})
    controlled = tables.first[0]["length-controlled"]
    # lengths are unrelated to the verdicts, so their term moves the mean by about a
    # standard error: sqrt(.8 * .2 / 400) = 0.02, and the penalty a little
    assert abs(controlled.mean - wins.mean()) < 0.03
    assert 0.7 < controlled.low < controlled.high < 0.9


def test_equal_models_have_a_win_rate_of_exactly_a_half():
    rows = [reward_row(i, "tie", lengths=(9, 9)) for i in range(50)]
    tables = comparison_tables.all_tables(judgement_columns(rows), ["x", "y"], {})
    assert tables.first[0]["win rate"] == (0.5, 0.5, 0.5)
    assert tables.first[0]["length-controlled"].mean == 0.5
    assert "mean probability" not in tables.first[0]  # of a reward it is no news
    assert tables.judge == []  # equal lengths, and nobody was asked


def test_rows_by_group_and_models_that_never_met():
    rows = [reward_row(1, "model_a"), reward_row(2, "model_b"), reward_row(3, "tie")]
    rows += [reward_row(3, "model_b", b="z")]
    groups = {"kind": np.array(["math", "math", "(none)", "(none)"])}
    tables = comparison_tables.all_tables(
        judgement_columns(rows), ["x", "y", "z"], groups
    )
    assert [(r["model"], r["against"]) for r in tables.pairs] == [
        ("y", "x"),
        ("z", "x"),
    ]
    # of y over x: (0 + 1 + 1/2) / 3
    assert [r["win rate"].mean for r in tables.first] == [0.5, 1.0]
    row, others = tables.groups["kind"]
    assert row["kind"] == "math" and row["prompts"] == 2
    assert row["y"].mean == 0.5 and "z" not in row
    assert others["kind"] == "(none)" and others["z"].mean == 1.0
    assert tables.first[1]["length-controlled"] is None  # of a single pair
    # 14 and 6 characters: the longer wins once of 4, loses twice, and ties
    assert tables.judge[0]["value"].mean == 0.375


def test_the_report_shows_all_answers_with_their_verdicts(tmp_path):
    rows = [reward_row(i, "model_b") for i in range(5)]
    rows += [reward_row(4, "tie", b="z")]
    columns = judgement_columns(rows)
    tables = comparison_tables.all_tables(columns, ["x", "y", "z"], {})
    image = comparison_plots.plot_win_rate_matrix(
        tmp_path / "win_rates.png", ["x", "y", "z"], np.full((3, 3), np.nan)
    )
    assert image.stat().st_size > 1000
    sections = comparison_page.comparison_sections(tables, image, rows, examples=2)
    assert [s.title for s in sections][:1] == ["Against x"]
    shown = sections[-1].answers
    # 2 of 5 prompts, evenly: numbers 0 and 5 // 2
    assert shown.prompts == ["Say 0.", "Say 2."]
    assert shown.answers["y"] == ["Short."] * 2
    assert shown.answers["z"] == ["(not judged)"] * 2
    assert shown.notes == ["y beats x"] * 2
    last = comparison_page.side_by_side(rows, 9)
    assert last.notes[-1] == "y beats x; x and z tie" and len(last.prompts) == 5


def test_histograms_of_few_and_of_many_models(tmp_path):
    scores = {f"m{i}": np.arange(5.0) + i for i in range(6)}
    for name, part in (("few", {"": np.ones(3)}), ("many", scores)):
        path = tmp_path / f"{name}.png"
        assert comparison_plots.plot_score_histograms(path, part).stat().st_size > 1000
    # whole numbers have a bin each, centered on them
    edges = comparison_plots.bin_edges(np.array([1.0, 2.0, 4.0]))
    assert edges.tolist() == [0.5, 1.5, 2.5, 3.5, 4.5]
