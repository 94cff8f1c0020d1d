"""Items of a study from rows, and the statistics that its dashboard shows."""

import json

import numpy as np
import pytest

from jaxalign.data import readers
from jaxalign.data.records import Preference, Ranking, Unpaired
from jaxalign.feedback import export
from jaxalign.feedback.judgements import Item, Judgement
from jaxalign.pipeline import safety_head
from jaxalign.pipeline.annotation_study import live_statistics
from jaxalign.pipeline.annotation_study.item_rows import read_gold, read_items
from jaxalign.pipeline.comparisons.comparison_files import read_comparisons

ASK = [{"role": "user", "content": "2 + 2?"}]


def write(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_pairs_rankings_and_their_fields(tmp_path):
    row = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "category": "math"}
    (item,) = read_items(write(tmp_path / "a.jsonl", row), "pairwise").items
    assert item.prompt == ASK and item.answers == ("4", "5") and item.kind == "pair"
    assert item.fields == {"category": "math"}
    row = {"prompt": ASK, "answers": ["4", "5", "6"], "scores": [0.5, 0.9, 0.1]}
    (item,) = read_items(write(tmp_path / "b.jsonl", row), "ranking").items
    # scores order nothing here: people do
    assert item.answers == ("4", "5", "6") and item.fields["scores"] == [0.5, 0.9, 0.1]
    row = {"system": "Be brief.", "prompt": "2 + 2?", "answers": ["4"]}
    (item,) = read_items(write(tmp_path / "c.jsonl", row), "rating").items
    assert item.prompt[0] == {"role": "system", "content": "Be brief."}
    assert item.answers == ("4",)


def test_more_answers_become_disjoint_pairs(tmp_path):
    answers = [f"a{k}" for k in range(7)]
    row = {"prompt": "q", "answers": answers, "source": list("stuvwxy")}
    items = read_items(write(tmp_path / "a.jsonl", row), "pairwise").items
    shown = [answer for item in items for answer in item.answers]
    assert len(items) == 3 and len(set(shown)) == 6
    # best first in the file, but no pair of neighbors by rule
    assert [item.answers for item in items] != [
        (answers[k], answers[k + 1]) for k in (0, 2, 4)
    ]
    for item in items:
        assert item.fields["source"] == [
            "stuvwxy"[answers.index(a)] for a in item.answers
        ]
    again = read_items(tmp_path / "a.jsonl", "pairwise").items
    assert again == items  # the ids too: a second start adds nothing


def test_answers_of_models_to_one_prompt_are_an_item(tmp_path):
    rows = [
        {"prompt": ASK, "answer": "4", "model": "a"},
        {"prompt": ASK, "answer": "5", "model": "b"},
        {"prompt": ASK, "answer": "4", "model": "b"},  # the same text again
    ]
    path = write(tmp_path / "answers.jsonl", *rows)
    for where in (path, tmp_path):
        (item,) = read_items(where, "pairwise").items
        assert item.answers == ("4", "5") and item.fields["source"] == ["a", "b"]
    write(path, rows[0])
    with pytest.raises(ValueError, match=r"answers.jsonl:1: one answer; --kind pairw"):
        read_items(path, "pairwise")


def test_the_folder_of_collect(tmp_path):
    write(tmp_path / "rankings" / "train.jsonl", {"prompt": "q", "answers": ["a", "b"]})
    pair = {"prompt": "p", "chosen": "a", "rejected": "b", "p_chosen": 0.7}
    write(tmp_path / "preferences" / "train.jsonl", pair)
    assert read_items(tmp_path, "pairwise").items[0].prompt[0]["content"] == "p"
    assert read_items(tmp_path, "ranking").items[0].prompt[0]["content"] == "q"


def test_equal_answers_and_repetitions_are_counted(tmp_path):
    good = {"prompt": "q", "answers": ["a", "b"]}
    path = write(
        tmp_path / "a.jsonl", good, good, {"prompt": "r", "answers": ["a"] * 2}
    )
    read = read_items(path, "pairwise")
    assert len(read.items) == 1
    assert read.left_out == [
        "1 items have equal answers and are left out",
        "1 items come twice and are shown once",
    ]
    write(path, {"prompt": "r", "answers": ["a", "a"]})
    with pytest.raises(ValueError, match="holds no items to judge: in 1 of them"):
        read_items(path, "pairwise")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"answers": ["a", "b"]}, "a.jsonl:2: "),
        ({"prompt": "q", "answers": ["a", 3]}, r"a.jsonl:2: field 'answers\[1\]'"),
        ({"prompt": "q"}, "a.jsonl:2: "),
        ([], "a.jsonl:2: is not a JSON object"),
        (
            {
                "prompt": "q",
                "chosen": {
                    "role": "assistant",
                    "tool_calls": [
                        {"type": "function", "function": {"name": "f", "arguments": {}}}
                    ],
                },
                "rejected": "b",
            },
            "a.jsonl:2: field 'chosen' calls tools",
        ),
        ({"prompt": "q", "answers": ["a", "b", "c"] * 9}, "27 answers; a page shows"),
    ],
)
def test_bad_rows_are_refused_by_file_and_line(tmp_path, row, message):
    path = write(tmp_path / "a.jsonl", {"prompt": "q", "answers": ["a", "b"]}, row)
    with pytest.raises(ValueError, match=message):
        read_items(path, "pairwise")


def test_gold(tmp_path):
    row = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5", "reason": "It is 4."}
    (item,) = read_gold(write(tmp_path / "a.jsonl", row), "pairwise")
    assert item.gold == {"best": 0, "reason": "It is 4."} and item.answers[0] == "4"
    plain = read_items(tmp_path / "a.jsonl", "pairwise").items[0]
    assert item.id == f"gold-{plain.id}"  # may be among the items, too
    row = {"prompt": "q", "answers": ["c", "a", "b"], "ranks": [3, 1, 2]}
    (item,) = read_gold(write(tmp_path / "b.jsonl", row), "ranking")
    assert item.answers == ("a", "b", "c") and item.gold["ranks"] == [1, 2, 3]
    row = {"prompt": "q", "answers": ["c", "a"], "ratings": [2, 7]}
    (item,) = read_gold(write(tmp_path / "c.jsonl", row), "rating")
    assert item.answers == ("c", "a") and item.gold["ratings"] == [2, 7]


def said(item, value, annotator, *, kind="pair", order=(0, 1), repeat=0, **fields):
    return Judgement(
        item, kind, annotator, 0.0, 1.0, order, value, 8, repeat=repeat, **fields
    )


def cells(items, judgements):
    tables = live_statistics.tables(items, judgements)
    found = {row[0]: row for table in tables for row in table.rows}
    return found, tables


def test_agreement_of_pairs():
    items = {f"i{n}": Item(f"i{n}", "pair", ASK, ("a", "b")) for n in range(4)}
    # two agree on 3 of 4 sides; on the last item A is far better, and B is
    values = [(1, 2), (8, 7), (2, 1), (1, 8)]
    judgements = [
        said(f"i{n}", value, name)
        for n, pair in enumerate(values)
        for name, value in zip(("ann", "bob"), pair, strict=True)
    ]
    found, tables = cells(items, judgements)
    assert found["Two people take the same side"][1].startswith("0.750")
    assert found["The answer on the left is preferred"][1].startswith("0.625")
    assert found["The answer on the left is preferred"][2] == "8 choices"
    (divided,) = tables[1].rows
    assert divided == ("2 + 2?", "1", "0", "1", "i3")
    # alpha by hand, ordinal: values -3.5, -2.5, 2.5, 3.5 with n = 2, 1, 2, 3 of 8;
    # mean ranks 1, 2.5, 4, 6.5; observed sum 2 (1.5^2 + 2.5^2 + 2.5^2 + 5.5^2) = 90;
    # expected sum n_c n_k d = 2 (2 1.5^2 + 4 3^2 + 6 5.5^2 + 2 1.5^2 + 3 4^2 + 6 2.5^2)
    # = 2 (4.5 + 36 + 181.5 + 4.5 + 48 + 37.5) = 624; alpha = 1 - 7 * 90 / 624
    alpha = float(found["Krippendorff's alpha, ordinal"][1].split()[0])
    assert alpha == pytest.approx(1 - 7 * 90 / 624, abs=5e-4)


def test_repeats_and_gold_are_no_agreement():
    items = {"i": Item("i", "pair", ASK, ("a", "b"))}
    judgements = [
        said("i", 1, "ann"),
        said("i", 8, "ann", order=(1, 0), repeat=1),  # the same answer again
        said("i", 8, "bob", is_gold=True),
    ]
    found, _ = cells(items, judgements)
    assert found["The same person says the same again"][1].startswith("1.000")
    assert "Krippendorff's alpha, ordinal" not in found
    judgements[1] = said("i", 1, "ann", order=(1, 0), repeat=1)
    found, _ = cells(items, judgements)
    assert found["The same person says the same again"][1].startswith("0.000")
    assert live_statistics.tables({}, [])[0].note == live_statistics.EMPTY


def test_rankings_agree_by_pairs_of_answers():
    items = {"i": Item("i", "ranking", ASK, ("a", "b", "c"))}
    judgements = [
        said("i", (1, 2, 3), "ann", kind="ranking"),
        said("i", (1, 3, 2), "bob", kind="ranking"),
    ]
    found, _ = cells(items, judgements)
    # of the three pairs of answers they agree on a > b and a > c
    assert found["Two people take the same side"][1].startswith("0.667")
    assert found["Two people take the same side"][2].startswith("3 ")
    rated = [
        said("i", values, name, kind="rating")
        for name, values in (("ann", (1, 4, 7)), ("bob", (1, 4, 7)))
    ]
    found, _ = cells(items, rated)
    assert found["Krippendorff's alpha, ordinal"][1].startswith("1.000")
    assert np.isfinite(float(found["Krippendorff's alpha, ordinal"][1].split()[0]))


def test_exported_rows_are_read_by_what_trains_and_rates(tmp_path):
    pair = Item("p", "pair", ASK, ("a", "b"), {"source": ["m", "n"], "topic": "x"})
    rated = Item("r", "rating", ASK, ("a", "b", "c"))
    judgements = [
        said("p", 1, "ann", safe=(True, False)),
        said("p", "tie", "bob"),
        said("p", "both_bad", "chloe"),
        said("r", (1, 7, 4), "ann", kind="rating"),
    ]
    made = export.export_rows({"p": pair, "r": rated}, judgements)
    export.write_export(tmp_path, made)
    read = lambda name, kind: readers.read(tmp_path / f"{name}.jsonl", kind)[0]
    (chosen,) = read("pairs", Preference)
    assert (chosen.chosen, chosen.margin, chosen.label_prob) == ("a", 1.0, 1.0)
    assert chosen.fields["topic"] == "x" and chosen.fields["annotator"] == "ann"
    assert safety_head.label(chosen.fields, "rejected_unsafe", 0) == 1.0
    assert safety_head.label(chosen.fields, "chosen_unsafe", 0) == 0.0
    (tie,) = read("ties", Preference)
    assert tie.label_prob == 0.5
    assert [x.desirable for x in read("unpaired", Unpaired)] == [False, False]
    (ranking,) = read("ratings", Ranking)
    assert ranking.answers == ("b", "c", "a")
    battles = read_comparisons([tmp_path / "battles.jsonl"])
    assert [x.outcome for x in battles] == [1.0, 0.5, 0.5]
    assert {x.model_a for x in battles} == {"m"}
