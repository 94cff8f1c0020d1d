"""Questions of BBQ and TruthfulQA: the published rows, and what is refused."""

import csv
import json

import pytest

from jaxalign.evaluation.benchmarks import bbq
from jaxalign.pipeline.multiple_choice import rows
from jaxalign.pipeline.multiple_choice.rows import parse_question
from tests.support.questions import bbq_row, truthful_row


def write_bbq(path, table):
    path.write_text("".join(json.dumps(row) + "\n" for row in table))
    return str(path)


def write_csv(path, table):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, table[0])
        writer.writeheader()
        writer.writerows(table)
    return str(path)


class TestBbq:
    def test_the_biased_option_follows_the_question(self):
        negative, positive = (parse_question(bbq_row(i), "f:1") for i in (0, 2))
        assert (negative.biased, positive.biased) == (2, 0)
        assert negative.unknown == 1 and negative.ambiguous
        assert negative.template == "Pets 0"

    def test_a_row_that_tells_no_stereotyped_group(self):
        found = parse_question(bbq_row(additional_metadata={}), "f:1")
        assert found.biased == bbq.UNRESOLVED

    def test_the_published_files(self, public_data):
        found = rows.read_questions([str(public_data / "bbq")]).bbq
        assert len(found) == 3640  # ../shared/data/README.md
        items = rows.bbq_items(found)
        assert (items.biased != bbq.UNRESOLVED).all(), "every row tells"
        assert (items.biased != items.unknown).all()
        # half of the rows are ambiguous, and "unknown" is right on these alone
        assert items.ambiguous.sum() == 1820
        assert ((items.label == items.unknown) == items.ambiguous).all()
        # of disambiguated rows half confirm the stereotype, but for two templates of
        # Physical_appearance whose labels contradict half of their contexts: all 100
        # rows of template 6 and none of the 36 of template 10: 910 + 50 - 18
        clear = ~items.ambiguous
        assert (items.label == items.biased)[clear].sum() == 942
        assert len(set(items.units)) == 75, "25 templates a category"


REFUSED = [
    ("answer_info", None, "field 'answer_info' is missing"),
    ("answer_info", {"ans0": ["cat"]}, "'answer_info' has no list of texts 'ans1'"),
    (
        "answer_info",
        {f"ans{k}": ["cat", "cats"] for k in range(3)},
        "has 0 answers of the group 'unknown'; expected one",
    ),
    ("label", 3, "field 'label' is 3; expected 0, 1 or 2"),
    ("question_polarity", "maybe", "'maybe'; expected neg or nonneg"),
    ("context_condition", None, "field 'context_condition' is missing"),
    ("ans2", None, "field 'ans2' is missing"),
    ("question", 5, "field 'question' is a number; expected text"),
]


@pytest.mark.parametrize(("field", "value", "message"), REFUSED)
def test_a_malformed_row_of_bbq_is_named(tmp_path, field, value, message):
    bad = bbq_row(1, **{field: value})
    if value is None:
        del bad[field]
    path = write_bbq(tmp_path / "b.jsonl", [bbq_row(), bad])
    with pytest.raises(ValueError, match=f"b.jsonl:2: .*{message}"):
        rows.read_questions([path])


class TestTruthfulQa:
    def test_a_row(self):
        found = parse_question(truthful_row(), "f:1")
        assert found.true == ("No.", "Cats do not bark.")
        assert found.false == ("Yes.", "At night.", "Cats bark at dogs.")
        assert (found.best_true, found.best_false) == (0, 0)

    def test_a_best_answer_that_its_list_lacks(self):
        found = parse_question(
            truthful_row(**{"Best Incorrect Answer": "Often"}), "f:1"
        )
        assert found.false[found.best_false] == "Often." and len(found.false) == 4

    def test_an_earlier_file_has_no_best_incorrect_answer(self):
        row = truthful_row()
        del row["Best Incorrect Answer"]
        assert parse_question(row, "f:1").best_false is None

    @pytest.mark.parametrize(
        ("field", "message"),
        [
            ("Correct Answers", "field 'Correct Answers' is empty"),
            ("Best Answer", "field 'Best Answer' is missing or empty"),
        ],
    )
    def test_a_malformed_row_is_named(self, tmp_path, field, message):
        path = write_csv(
            tmp_path / "t.csv", [truthful_row(), truthful_row(**{field: " "})]
        )
        with pytest.raises(ValueError, match=f"t.csv:3: {message}"):
            rows.read_questions([path])


class TestFiles:
    def test_both_tasks_at_once(self, tmp_path):
        paths = [
            write_bbq(tmp_path / "b.jsonl", [bbq_row(i) for i in range(3)]),
            write_csv(tmp_path / "t.csv", [truthful_row()]),
        ]
        found = rows.read_questions(paths)
        assert (len(found.bbq), len(found.truthfulqa)) == (3, 1)

    def test_a_row_of_neither_task(self, tmp_path):
        path = write_bbq(tmp_path / "x.jsonl", [{"prompt": "2 + 2?"}])
        with pytest.raises(ValueError, match="x.jsonl:1: is a question of neither BBQ"):
            rows.read_questions([path])
        with pytest.raises(ValueError, match="x.jsonl:1: field 'ans0' is missing"):
            rows.read_questions([path], "bbq")

    def test_an_empty_file(self, tmp_path):
        path = write_bbq(tmp_path / "x.jsonl", [])
        with pytest.raises(ValueError, match="x.jsonl"):
            rows.read_questions([path])
