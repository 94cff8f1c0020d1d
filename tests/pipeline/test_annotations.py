"""Annotation files in every layout, and what is refused, with file and line."""

import json

import numpy as np
import pytest

from jaxalign.evaluation.agreement.coefficients import krippendorff_alpha
from jaxalign.pipeline.annotations.layouts import Fields
from jaxalign.pipeline.annotations.reading import read_annotations

DETECTED = Fields()
LONG = "item,annotator,label\n1,ann,left\n1,bob,right\n2,ann,left\n2,bob,tie\n"


@pytest.fixture
def read(tmp_path):
    """Reads a file of this text; options are those of `read_annotations`."""

    def read(text, name="votes.csv", *, fields=DETECTED, **options):
        path = tmp_path / name
        path.write_text(text)
        return read_annotations([str(path)], fields, **options)

    return read


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def test_a_row_is_a_label(read):
    found = read(LONG)
    assert found.items == ["1", "2"] and found.annotators == ["ann", "bob"]
    assert found.scale.names == ["left", "tie", "right"]
    assert (found.scale.level, found.scale.votes, found.scale.tie) == (
        "nominal",
        True,
        1,
    )
    assert found.counts().tolist() == [[1, 0, 1], [1, 1, 0]]
    assert found.matrix().tolist() == [[0, 2], [0, 1]]


def test_the_three_ways_to_write_the_same_ratings(read):
    long = read("item,rater,score\na,x,1\na,y,2\nb,x,3\nb,y,3\nc,x,2\n")
    wide = read(
        "item,rater_x,rater_y\na,1,2\nb,3,3\nc,2,\n", fields=Fields(labels="rater*")
    )
    votes = [{"item": "a", "votes": [1, 2]}, {"item": "b", "votes": {"3": 2}}]
    listed = read(lines(*votes, {"item": "c", "votes": [2]}), "v.jsonl")
    for found in (long, wide, listed):
        assert found.scale.level == "ordinal" and found.scale.names == ["1", "2", "3"]
        np.testing.assert_array_equal(found.scale.values, [1, 2, 3])
        assert found.counts().tolist() == [[1, 1, 0], [0, 0, 2], [0, 1, 0]]
    assert wide.missing == 1 and wide.annotators == ["rater_x", "rater_y"]
    assert listed.annotators == []


def test_an_annotator_who_missed_the_first_item_is_one(read):
    found = read("id,rater1,rater2,rater3\na,,1,2\nb,1,1,2\n")
    assert found.annotators == ["rater2", "rater3", "rater1"] and found.missing == 1


def test_judgements_in_either_order_are_one_item(read):
    row = {"prompt_id": "p", "model_a": "m", "model_b": "k", "winner": "model_a"}
    turned = row | {"model_a": "k", "model_b": "m", "winner": "model_b", "judge": "y"}
    found = read(
        lines(row | {"judge": "x"}, turned, row | {"judge": "z", "winner": "tie"}),
        "judgements.jsonl",
    )
    assert found.items == ["p | k | m"] and found.annotators == ["x", "y", "z"]
    # m is second of k, m: both x and y say model_b
    assert found.scale.names == ["model_a", "tie", "model_b"]
    assert found.counts().tolist() == [[0, 1, 2]]


def test_an_item_shown_in_the_other_order_is_turned(read):
    text = "id,worker,winner,left,right\n0,x,left,A,B\n0,y,left,B,A\n0,z,tie,B,A\n"
    assert read(text).counts().tolist() == [[1, 1, 1]]
    with pytest.raises(
        ValueError, match=r"votes.csv:3: item '0' compares \('B', 'C'\)"
    ):
        read(text.replace("B,A", "B,C", 1))


def test_the_second_label_of_an_annotator_is_a_repeat(read):
    found = read(LONG + "1,ann,left\n2,ann,tie\n")
    assert found.repeats == [True, False]
    assert found.counts().tolist() == [[1, 0, 1], [1, 1, 0]]


def test_words_for_ties_and_missing_labels(read):
    text = LONG.replace("tie", "Both Bad") + "3,ann,n/a\n3,bob,left\n"
    found = read(text, missing=["N/A"])
    assert found.scale.names == ["left", "tie", "right"]
    assert found.missing == 1 and found.counts()[2].tolist() == [1, 0, 0]


def test_words_have_the_order_that_is_given(read):
    text = LONG.replace("left", "bad").replace("tie", "fair").replace("right", "good")
    assert read(text).scale.names == ["bad", "fair", "good"]  # by letters
    found = read(text, order=["good", "fair", "bad"])
    assert found.scale.names == ["good", "fair", "bad"]
    assert found.scale.level == "ordinal" and found.scale.ordered
    assert not read(text).scale.ordered
    with pytest.raises(ValueError, match=r"csv:5: label 'fair' is not in --order"):
        read(text, order=["good", "bad"])
    with pytest.raises(ValueError, match="--level ordinal needs an order"):
        read(text, level="ordinal")
    with pytest.raises(ValueError, match="--level interval needs labels that are num"):
        read(text, order=["good", "fair", "bad"], level="interval")


def test_numbers_keep_their_digits(read):
    found = read("item,rater,score\na,x,123456789\na,y,123456790\nb,x,0.1\nb,y,1e3\n")
    assert found.scale.names == ["0.1", "1000", "123456789", "123456790"]


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("item,annotator,label\n", DETECTED, "holds no labels"),
        (
            LONG.replace("bob", "ann"),
            DETECTED,
            "has one annotator only, 'ann'; agreement needs two or more",
        ),
        (
            LONG.replace("right", "left").replace("tie", "left"),
            DETECTED,
            "all 4 labels are 'left'",
        ),
        (
            LONG.replace("2,bob", "3,bob").replace("1,bob", "4,bob"),
            DETECTED,
            "no item has",
        ),
        (LONG, Fields(label="lable"), "csv: unknown field 'lable': did you mean label"),
        (LONG, Fields(labels="rater*"), r"votes.csv: unknown field 'rater\*'"),
        (
            LONG.replace("tie", "NaN"),
            DETECTED,
            "csv:5: the label of bob is nan; expected",
        ),
        (
            "a,b\n1,2\n",
            DETECTED,
            "csv: cannot tell .* --item and --annotator and --l",
        ),
        (
            "item,annotator,label\n1,,x\n1,ann,x\n",
            DETECTED,
            "csv:2: field 'annotator' is missing",
        ),
        ("item,votes\n1,x\n", Fields(labels="votes"), "expected a list of labels"),
        (
            "id,rater1,rater2\na,1,2\nb,x,2\n",
            DETECTED,
            "csv:3: label 'x' is no number, while most are numbers",
        ),
        (
            "id,rater1,rater2\na,1,2\nb,inf,2\n",
            DETECTED,
            "csv:3: the label of rater1 is",
        ),
    ],
)
def test_bad_files_are_one_sentence(read, text, fields, message):
    with pytest.raises(ValueError, match=message) as error:
        read(text, fields=fields)
    assert "\n" not in str(error.value)


def test_counts_of_votes_are_whole(read):
    with pytest.raises(
        ValueError, match=r"v.jsonl:1: field 'votes' has -1 votes for 'a'"
    ):
        read(lines({"votes": {"a": -1}}), "v.jsonl")


def test_public_files(public_data):
    """The values of the specification, of files in three layouts."""
    alphas = {
        ("pandalm-annotators/testset-v1.json", "nominal"): 0.8642,
        ("llmfao-battles/llmfao.csv", "nominal"): 0.2906,
        ("llmfao-battles/llmfao.csv", "ordinal"): 0.2876,
        ("harm-ratings/hate_speech_multi_score.csv", "nominal"): 0.484,
        ("harm-ratings/hate_speech_multi_score.csv", "ordinal"): 0.861,
        ("harm-ratings/violence_multi_score.csv", "nominal"): 0.367,
        ("harm-ratings/violence_multi_score.csv", "ordinal"): 0.766,
    }
    for (name, level), alpha in alphas.items():
        counts = read_annotations([str(public_data / name)], Fields()).counts()
        found = krippendorff_alpha(counts, level=level)
        digits = 4 if alpha < 0.3 or alpha > 0.862 else 3
        assert round(float(found), digits) == alpha, (name, level)
