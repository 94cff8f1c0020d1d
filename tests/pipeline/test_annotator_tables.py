"""The dashboard's tables: what is left out, whose row is whose, and texts."""

import numpy as np

from jaxalign.feedback.judgements import Item, Judgement
from jaxalign.pipeline.annotation_study import annotator_tables

PROMPT = [{"role": "user", "content": "2 + 2?"}]


def item(name):
    return Item(name, "pair", PROMPT, ("4", "5"))


def judged(name, annotator, position, order=(0, 1), **more):
    fields = {"levels": 8} | more
    return Judgement(name, "pair", annotator, 0.0, 3.0, order, position, **fields)


def study(seed=0, pairs=30):
    """Two who agree on the better answer, and one who takes the left side always."""
    rng = np.random.default_rng(seed)
    items = {f"i{k}": item(f"i{k}") for k in range(pairs)}
    rows = []
    for name in items:
        for annotator in ("ann", "bob", "left"):
            order = (1, 0) if rng.random() < 0.5 else (0, 1)
            better = int(name[1:]) % 2
            position = 1 if annotator == "left" or order[0] == better else 8
            rows.append(judged(name, annotator, position, order))
    return items, rows


def table(tables, title):
    (found,) = (t for t in tables if t.title == title)
    columns = found.columns[1:]
    return {name: dict(zip(columns, rest, strict=True)) for name, *rest in found.rows}


def test_each_annotator_has_a_row():
    tables = annotator_tables.tables(*study())
    rows = table(tables, "Annotators")
    assert list(rows) == ["ann", "bob", "left"]
    assert rows["left"]["Left"].startswith("1.00 [")
    assert rows["ann"]["Pairs"] == "30"
    assert float(rows["ann"]["Agrees"][:4]) > float(rows["left"]["Agrees"][:4])
    bias = {name: float(row["Side bias"].split()[0]) for name, row in rows.items()}
    assert bias["left"] > 1 > abs(bias["ann"])


def test_what_a_strength_means_is_what_others_say():
    rows = table(annotator_tables.tables(*study()), "What strengths mean")
    assert list(rows) == ["3.5"]  # of all
    # the two agree with each other, and both with the third on half of the pairs
    assert 0.5 < float(rows["3.5"]["same side"][:4]) < 0.85


def test_gold_repeats_skips_and_other_kinds_are_left_out():
    items, rows = study()
    plain = annotator_tables.tables(items, rows)
    noise = [
        judged("i0", "ann", 8, is_gold=True),
        judged("i0", "ann", 8, repeat=1),
        judged("i0", "ann", "skip"),
        judged("i0", "ann", "both_bad"),
        Judgement("i0", "rating", "ann", 0.0, 1.0, (0, 1), (3, 4)),
        judged("gone", "ann", 1),
    ]
    assert annotator_tables.tables(items, rows + noise) == plain


def test_a_young_study_has_no_tables():
    items, rows = study(pairs=2)
    assert annotator_tables.tables(items, rows) == ()
