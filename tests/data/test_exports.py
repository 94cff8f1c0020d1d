"""Exports of annotation tools, as small files in their documented layouts."""

import json

import pytest

from jaxalign.data import readers
from jaxalign.data.exports import expand_rows
from jaxalign.data.records import Demonstration, Preference, Prompt, Ranking

ASKED = [{"role": "user", "content": "2 + 2?"}]
DATA = {"prompt": "2 + 2?", "answer1": "4", "answer2": "5", "category": "sums"}


def annotation(value, by=7, kind="pairwise", **more):
    result = {
        "type": kind,
        "from_name": "pw",
        "to_name": "answer1,answer2",
        "value": value,
    }
    return {"id": "a", "completed_by": by, "result": [result], **more}


def task(*annotations, data=DATA):
    return {"id": 3, "data": data, "annotations": list(annotations), "predictions": []}


def write(path, rows, lines=False):
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    path.write_text(text)
    return path


def pairs(path, kind=Preference):
    found, report = readers.read(path, kind)
    return found, report


class TestLabelStudio:
    def test_each_annotation_is_a_pair(self, tmp_path):
        rows = [
            task(
                annotation({"selected": "left"}, lead_time=4.2),
                annotation({"selected": "right"}, by={"id": 9, "email": "x@y.org"}),
                annotation({"choices": ["answer1"]}, kind="choices"),
            )
        ]
        found, report = pairs(write(tmp_path / "export.json", rows))
        assert [(p.chosen, p.rejected) for p in found] == [
            ("4", "5"),
            ("5", "4"),
            ("4", "5"),
        ]
        assert all(p.prompt == ASKED for p in found)
        assert [p.fields["annotator"] for p in found] == ["7", "x@y.org", "7"]
        first = found[0].fields
        assert (first["category"], first["item"], first["seconds"]) == (
            "sums",
            "3",
            4.2,
        )
        assert report.usable == report.total == 3

    def test_what_was_skipped_or_tied_is_counted(self, tmp_path):
        rows = [
            task(
                annotation({"selected": "left"}),
                annotation({"selected": "left"}, was_cancelled=True),
                annotation({"choices": ["Tie"]}, kind="choices"),
                {"completed_by": 1, "result": [{"type": "textarea", "value": {}}]},
            ),
            task(),
        ]
        found, report = pairs(write(tmp_path / "export.json", rows))
        assert len(found) == 1 and report.total == 5
        assert report.reasons == {
            "skipped by the annotator": 1,
            "with a tie": 1,
            "without a comparison": 1,
            "without an annotation": 1,
        }

    @pytest.mark.parametrize(
        "ranker", [["c", "a", "b"], {"_": [], "rank": ["c", "a", "b"]}]
    )
    def test_a_ranker_is_a_ranking(self, tmp_path, ranker):
        items = [{"id": i, "title": i, "body": f"text {i}"} for i in "abc"]
        data = {"prompt": "2 + 2?", "items": items}
        rows = [task(annotation({"ranker": ranker}, kind="ranker"), data=data)]
        path = write(tmp_path / "export.json", rows)
        assert readers.has_ranking_rows(path)
        (ranking,), _ = pairs(path, Ranking)
        assert ranking.answers == ("text c", "text a", "text b")
        assert len(pairs(path)[0]) == 3  # all pairs

    @pytest.mark.parametrize("kind", [Demonstration, Prompt])
    def test_every_kind_of_record_can_be_read(self, tmp_path, kind):
        rows = [task(annotation({"selected": "right"}))]
        found, _ = pairs(write(tmp_path / "export.json", rows), kind)
        assert found and isinstance(found[0], kind)

    @pytest.mark.parametrize(
        "row, message",
        [
            (task(annotation({"selected": "up"})), "'up' names none of answer1"),
            (task(annotation({"choices": ["a", "b"]})), "2 choices; expected one"),
            (task(annotation({"selected": "left"}), data={"x": "1"}), "which fields"),
            (
                task(annotation({"selected": "left"}), data={"x1": "1", "x2": "2"}),
                "has no prompt beside its answers",
            ),
            (task(annotation({"ranker": {"a": [1], "b": [2]}})), "buckets a, b"),
        ],
    )
    def test_what_cannot_be_read_is_one_sentence(self, tmp_path, row, message):
        path = write(tmp_path / "export.json", [row])
        with pytest.raises(ValueError, match=message) as error:
            pairs(path)
        assert str(error.value).startswith(f"{path}:")


FIELDS = {"prompt": "2 + 2?", "response1": "4", "response2": "5"}


class TestArgilla:
    def test_nested_records(self, tmp_path):
        ranked = lambda first, second: [
            {"value": "response1", "rank": first},
            {"value": "response2", "rank": second},
        ]
        order = ["response2", "response1"]
        responses = [
            {"value": order, "user_id": "u1"},
            {"value": ranked(1, 2), "user_id": "u2", "status": "submitted"},
            {"value": ranked(1, 1), "user_id": "u3", "status": "submitted"},
            {"value": order, "user_id": "u4", "status": "draft"},
        ]
        row = {
            "id": "r1",
            "status": "completed",
            "fields": FIELDS,
            "metadata": {"category": "sums"},
            "suggestions": {},
            "responses": {
                "preference": responses,
                "comment": [{"value": "good", "user_id": "u1"}],
            },
            "vectors": {},
        }
        found, report = pairs(write(tmp_path / "records.json", [row]))
        assert [(p.chosen, p.fields["annotator"]) for p in found] == [
            ("5", "u1"),
            ("4", "u2"),
        ]
        assert report.reasons == {"with a tie": 1, "with a response that is draft": 1}
        assert found[0].fields["category"] == "sums"
        assert found[0].fields["item"] == "r1"

    def test_flattened_records(self, tmp_path):
        row = FIELDS | {
            "id": "r1",
            "_server_id": None,
            "status": "completed",
            "preference.responses": ["response1", "response2", "tie"],
            "preference.responses.users": ["u1", "u2", "u3"],
            "preference.responses.status": ["submitted", None, "submitted"],
            "preference.suggestion": "response1",
        }
        found, report = pairs(write(tmp_path / "records.jsonl", [row], lines=True))
        assert [(p.chosen, p.fields["annotator"]) for p in found] == [
            ("4", "u1"),
            ("5", "u2"),
        ]
        assert report.reasons == {"with a tie": 1}
        assert set(found[0].fields) == {"annotator", "item"}

    def test_version_1(self, tmp_path):
        ranks = [{"rank": 2, "value": "response1"}, {"rank": 1, "value": "response2"}]
        given = [{"user_id": "u1", "value": ranks, "status": "submitted"}]
        row = FIELDS | {"preference": given, "preference-suggestion": None}
        (pair,), _ = pairs(write(tmp_path / "old.jsonl", [row], lines=True))
        assert (pair.chosen, pair.fields["annotator"]) == ("5", "u1")

    def test_ratings_of_each_answer(self, tmp_path):
        row = FIELDS | {
            "response1_rating.responses": [2, 3],
            "response1_rating.responses.users": ["u1", "u2"],
            "response2_rating.responses": [5, 3],
            "response2_rating.responses.users": ["u1", "u2"],
        }
        found, report = pairs(write(tmp_path / "rated.jsonl", [row], lines=True))
        assert [(p.chosen, p.fields["annotator"]) for p in found] == [("5", "u1")]
        assert report.reasons == {"with a tie": 1}

    def test_two_questions_that_compare_are_refused(self, tmp_path):
        given = [{"value": "response1", "user_id": "u1"}]
        row = {"fields": FIELDS, "responses": {"better": given, "safer": given}}
        with pytest.raises(ValueError, match="better, safer all compare"):
            pairs(write(tmp_path / "records.json", [row]))


def line(schemes, **more):
    text = "2 + 2?<br>A. 4<br>B. 5"
    row = {"user_id": "ann", "instance_id": "7", "displayed_text": text}
    return row | {"label_annotations": schemes, "span_annotations": []} | more


class TestPotato:
    def test_binary_and_scale(self, tmp_path):
        rows = [
            line({"preference": {"selection": "B"}}),
            line({"strength": {"scale_value": "-2"}}),
            line({"preference": {"selection": "tie"}}),
            line({"strength": {"scale_value": "0"}}),
            line({"comment": {"text_box": "good"}}),
        ]
        path = write(tmp_path / "annotated_instances.jsonl", rows, lines=True)
        found, report = pairs(path)
        assert [(p.chosen, p.rejected) for p in found] == [("5", "4"), ("4", "5")]
        assert all(p.prompt == ASKED for p in found)
        assert found[1].fields == {"annotator": "ann", "item": "7", "strength": 2.0}
        assert report.reasons == {"with a tie": 2, "without a comparison": 1}

    def test_joined_with_the_data(self, tmp_path):
        row = line({"preference": {"selection": "A"}}, displayed_text="anything")
        row |= {"prompt": "2 + 2?", "responses": ["4", "5"], "topic": "sums"}
        (pair,), _ = pairs(write(tmp_path / "joined.jsonl", [row], lines=True))
        assert (pair.prompt, pair.chosen) == (ASKED, "4")
        assert pair.fields["topic"] == "sums"

    @pytest.mark.parametrize(
        "text, message",
        [("4 or 5", "join the lines"), ("A. 4<br>B. 5", "no prompt before")],
    )
    def test_without_prompt_or_answers_it_says_what_to_do(
        self, tmp_path, text, message
    ):
        row = line({"preference": {"selection": "A"}}, displayed_text=text)
        with pytest.raises(ValueError, match=message):
            pairs(write(tmp_path / "bare.jsonl", [row], lines=True))


def test_other_rows_are_passed_on():
    rows = [
        ("f:1", {"prompt": "x", "chosen": "a", "rejected": "b"}),
        ("f:2", {"data": "text", "annotations": []}),
        ("f:3", {"fields": ["a"], "responses": ["x", "y"], "prompt": "q"}),
        ("f:4", None),
    ]
    assert list(expand_rows(rows)) == rows
