"""Rows of data sets: pairs, ties, unpaired answers, rankings, battles."""

import json

import pytest

from jaxalign.feedback.export import aggregate_rows, export_rows, write_export
from jaxalign.feedback.judgements import Item, Judgement

ASK = [{"role": "user", "content": "2 + 2?"}]
PAIR = Item("p", "pair", ASK, ("4", "5"), {"source": ["a", "b"], "category": "math"})
FOUR = Item("r", "ranking", ASK, ("w", "x", "y", "z"))
ITEMS = {"p": PAIR, "r": FOUR}


def said(value, order=(0, 1), item=PAIR, annotator="ann", levels=8, **fields):
    return Judgement(
        item.id, item.kind, annotator, 5.0, 2.0, order, value, levels, **fields
    )


def one(judgement, name, items=ITEMS, **options):
    rows = export_rows(items, [judgement], **options).rows
    (row,) = rows[name]
    return row


def test_a_pair_is_unswapped():
    # position 8 is the right answer by far: answers[1], or answers[0] where swapped
    row = one(said(8), "pairs")
    assert (row["chosen"], row["rejected"]) == ("5", "4")
    assert row["strength"] == -3.5 and row["source"] == ["b", "a"]
    row = one(said(8, order=(1, 0)), "pairs")
    assert (row["chosen"], row["rejected"]) == ("4", "5") and row["strength"] == 3.5
    assert row["annotator"] == "ann" and row["category"] == "math"
    assert row["item"] == "p" and row["prompt"] == ASK


def test_margins_are_llama_2s_small_ones():
    # significantly better 1, better 2/3, slightly 1/3, negligibly 0
    margins = [one(said(k), "pairs")["margin"] for k in range(1, 9)]
    assert margins == pytest.approx([1, 2 / 3, 1 / 3, 0, 0, 1 / 3, 2 / 3, 1], abs=1e-12)
    assert one(said(1, levels=2), "pairs")["margin"] == 0
    assert one(said(1, levels=3), "pairs")["margin"] == 0


def test_ties_and_both_bad_and_soft_labels():
    for tie in (said("tie"), said(2, levels=3)):
        row = one(tie, "ties")
        assert row["label_prob"] == 0.5 and row["margin"] == 0
        assert row["chosen"] == "4" and row["strength"] == 0
    rows = export_rows(ITEMS, [said("both_bad")]).rows
    assert [(r["completion"], r["label"]) for r in rows["unpaired"]] == [
        ("4", False),
        ("5", False),
    ]
    assert rows["pairs"] == rows["ties"] == []
    row = one(said(1), "pairs", soft_label=lambda judgement: 0.9)
    assert row["label_prob"] == 0.9


def test_safety_labels_follow_the_answers():
    # answers[0] is safe, answers[1] is not, and answers[1] is chosen
    row = one(said(8, safe=(True, False)), "pairs")
    assert row["chosen_unsafe"] is True and row["rejected_unsafe"] is False
    assert "chosen_unsafe" not in one(said(8), "pairs")


def test_rankings_and_ratings_in_the_order_of_the_item():
    row = one(said((3, 3, 2, 1), item=FOUR, order=(3, 1, 0, 2), levels=0), "rankings")
    assert row["answers"] == ["w", "x", "y", "z"] and row["ranks"] == [3, 3, 2, 1]
    rated = FOUR._replace(kind="rating")
    row = one(said((7, 1, 4, 4), item=rated), "ratings", {"r": rated})
    assert row["ratings"] == [7, 1, 4, 4]


def test_battles_of_named_models():
    winners = {8: "model_b", 1: "model_a", "tie": "tie", "both_bad": "tie (bothbad)"}
    for value, winner in winners.items():
        row = one(said(value), "battles")
        assert (row["model_a"], row["model_b"]) == ("a", "b")
        assert row["winner"] == winner and row["annotator"] == "ann"
    for source in (["a", "a"], ["a", None], ["a"], None):
        item = PAIR._replace(fields={"source": source})
        assert export_rows({"p": item}, [said(1)]).rows["battles"] == []
    # several turns: no common prompt, so a battle alone
    battle = PAIR._replace(kind="battle")
    rows = export_rows({"p": battle}, [said(1, item=battle)]).rows
    assert len(rows["battles"]) == 1 and not rows["pairs"]


def test_what_is_left_out_is_counted():
    judgements = [
        said(1, is_gold=True),
        said(1, repeat=1),
        said("skip"),
        said("skip", annotator="bob"),
        said(1)._replace(item="gone"),
    ]
    made = export_rows(ITEMS, judgements)
    assert not any(made.rows.values())
    assert made.left_out == {
        "of gold items": 1,
        "repeats": 1,
        "skips": 2,
        "of unknown items": 1,
    }


def test_aggregated_rows():
    # strengths 3.5, 0.5, -1.5: mean 5/6, two of three votes for the first answer
    judgements = [said(1), said(4, annotator="b"), said(6, annotator="c")]
    (row,) = aggregate_rows(ITEMS, judgements).rows["pairs"]
    assert row["strength"] == pytest.approx(2.5 / 3)
    assert row["label_prob"] == pytest.approx(2 / 3) and row["annotators"] == 3
    assert row["chosen"] == "4" and row["margin"] == pytest.approx((2.5 / 3 - 0.5) / 3)
    # a tie counts half: 1.5 of 2
    (row,) = aggregate_rows(ITEMS, [said(1), said("tie")]).rows["pairs"]
    assert row["label_prob"] == 0.75
    (row,) = aggregate_rows(ITEMS, [said(1), said(8)]).rows["ties"]
    assert row["label_prob"] == 0.5
    rows = aggregate_rows(ITEMS, [said("both_bad")] * 2 + [said(1)]).rows
    assert len(rows["unpaired"]) == 2 and not rows["pairs"]
    ranks = [(1, 2, 3, 4), (2, 1, 3, 3)]
    judgements = [said(r, item=FOUR, annotator=str(r)) for r in ranks]
    (row,) = aggregate_rows(ITEMS, judgements).rows["rankings"]
    assert row["ranks"] == [1.5, 1.5, 3, 3.5]


def test_files_are_written_whole_and_old_ones_go(tmp_path):
    (tmp_path / "ties.jsonl").write_text("old")
    counts = write_export(tmp_path, export_rows(ITEMS, [said(1), said(8)]))
    assert counts == {"pairs": 2, "battles": 2}
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "battles.jsonl",
        "pairs.jsonl",
    ]
    lines = (tmp_path / "pairs.jsonl").read_text().splitlines()
    assert [json.loads(line)["chosen"] for line in lines] == ["4", "5"]
