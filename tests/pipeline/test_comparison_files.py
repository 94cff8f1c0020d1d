"""Judged comparisons of every layout, and one sentence for what is none."""

import json
import math

import numpy as np
import pytest

from jaxalign.pipeline.comparisons import (
    arena_inputs,
    baseline_comparisons,
    difficulties,
)
from jaxalign.pipeline.comparisons.comparison_files import read_comparisons

JUDGEMENT = {
    "prompt_id": "p1",
    "prompt": "Say hello.",
    "model_a": "base",
    "model_b": "tuned",
    "winner": "tie",
    "probability": 0.25,
    "first": 0.6,
    "swapped": -0.1,
    "answer_a": "Hello",
    "answer_b": "Hello **there**",
    "length_a": 5,
    "length_b": 15,
    "judge": "j",
    "category": None,
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_our_judgements(tmp_path):
    (found,) = read_comparisons(write(tmp_path / "judgements.jsonl", JUDGEMENT))
    assert (found.model_a, found.model_b) == ("base", "tuned")
    assert (found.outcome, found.win_probability) == (0.5, 0.25)
    assert (found.length_a, found.length_b, found.prompt) == (5, 15, "p1")
    turned = found.swap()
    assert (turned.model_a, turned.win_probability) == ("tuned", 0.75)
    assert (turned.length_a, turned.answer_b) == (15, "Hello")


def test_a_folder_of_compare_has_its_judgements_read_alone(tmp_path):
    write(tmp_path / "judgements.jsonl", JUDGEMENT)
    write(tmp_path / "answers.jsonl", {"prompt": "x", "answer": "y"})
    assert len(read_comparisons(tmp_path)) == 1
    assert len(read_comparisons([tmp_path, tmp_path / "judgements.jsonl"])) == 2


@pytest.mark.parametrize(
    "word, outcome",
    [
        ("left", 1.0),
        ("RIGHT", 0.0),
        ("tie (both bad)", 0.5),
        ("both_bad", 0.5),
        ("x", 1.0),
        ("y", 0.0),
    ],
)
def test_words_of_winners(tmp_path, word, outcome):
    path = tmp_path / "battles.csv"
    path.write_text(f"left,right,winner\nx,y,{word}\n")
    (found,) = read_comparisons(path)
    assert found.outcome == outcome == found.win_probability


def test_alpaca_evals_annotations(tmp_path):
    """The preference is for the second output; 0 is a draw, null a failure."""
    row = {
        "instruction": "Say hello.",
        "generator_1": "gpt4",
        "generator_2": "mine",
        "output_1": "Hello!",
        "output_2": "Hi",
    }
    preferences = [1.25, 0.0, None]
    rows = [row | {"preference": preference} for preference in preferences]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows))
    found = read_comparisons(path)
    assert [each.model_a for each in found] == ["mine"] * 3
    assert [each.win_probability for each in found[:2]] == [0.25, 0.5]
    assert math.isnan(found[2].win_probability)
    assert (found[0].length_a, found[0].length_b) == (2, 6)
    assert baseline_comparisons.find_baseline(found, None) == "gpt4"


def test_lengths_without_texts(tmp_path):
    path = tmp_path / "my-model.v2.csv"
    path.write_text("index,len_baseline,len_model,preference\n7,20,10,1.5\n8,20,10,\n")
    found = read_comparisons(path)
    assert (found[0].model_a, found[0].model_b) == ("my-model.v2", "baseline")
    assert (found[0].length_a, found[0].prompt) == (10, "7")
    arrays = baseline_comparisons.baseline_arrays(found)
    assert arrays.failed == 1 and arrays.probability.tolist() == [0.5]


BAD = {
    "a model against itself": ({"model_b": "base"}, "'base' is compared with itself"),
    "an unknown word": (
        {"winner": "model_c"},
        "unknown winner 'model_c': did you mean",
    ),
    "no verdict": (
        {"winner": ..., "probability": ...},
        "'winner' and 'probability' are",
    ),
    "no name": ({"model_a": " "}, "field 'model_a', the name of a model, is missing"),
    "a probability": (
        {"probability": 1.5},
        "field 'probability' is 1.5; expected 0 to 1",
    ),
    "a text": (
        {"probability": "much"},
        "field 'probability' is 'much'; expected a num",
    ),
    "a length": ({"length_b": -1}, "field 'length_b' is -1; expected 0 or more"),
    "no layout": (
        {"model_a": ..., "model_b": ...},
        "is no comparison: expected left, ri",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_row_is_one_sentence_with_its_line(tmp_path, name):
    change, words = BAD[name]
    row = {k: v for k, v in (JUDGEMENT | change).items() if v is not ...}
    path = write(tmp_path / "rows.jsonl", JUDGEMENT, row)
    with pytest.raises(ValueError) as error:
        read_comparisons(path)
    assert str(error.value).startswith(f"{path}:2: ") and words in str(error.value)
    assert "\n" not in str(error.value)


def test_an_empty_file_is_refused(tmp_path):
    path = tmp_path / "battles.csv"
    path.write_text("left,right,winner\n")
    with pytest.raises(ValueError, match="battles.csv holds no comparisons"):
        read_comparisons(path)


def test_a_preference_out_of_range_is_refused(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("index,len_baseline,len_model,preference\n0,1,2,0.5\n")
    with pytest.raises(
        ValueError, match=r"m.csv:2: field 'preference' is 0.5; expected"
    ):
        read_comparisons(path)


def test_the_baseline_is_in_every_comparison(tmp_path):
    rows = [JUDGEMENT, JUDGEMENT | {"model_b": "other"}, JUDGEMENT | {"model_a": "new"}]
    first, second, third = read_comparisons(write(tmp_path / "rows.jsonl", *rows))
    assert baseline_comparisons.find_baseline([first], None) == "base"
    assert baseline_comparisons.find_baseline([first, second], None) == "base"
    assert baseline_comparisons.find_baseline([first, third], None) == "tuned"
    with pytest.raises(ValueError, match="no model is in all 2 comparisons"):
        baseline_comparisons.find_baseline([second, third], None)
    with pytest.raises(
        ValueError, match="--baseline: unknown model 'bse': did you mean"
    ):
        baseline_comparisons.find_baseline([first], "bse")
    groups = baseline_comparisons.group_by_model([first, second, third], "base")
    assert {k: [x.win_probability for x in v] for k, v in groups.items()} == {
        "tuned": [0.75],
        "other": [0.75],
    }


def test_unknown_lengths_are_refused(tmp_path):
    bare = {k: v for k, v in JUDGEMENT.items() if not k.startswith(("len", "answer"))}
    found = read_comparisons(write(tmp_path / "rows.jsonl", JUDGEMENT, bare))
    arrays = baseline_comparisons.baseline_arrays(found)
    with pytest.raises(
        ValueError, match=r"rows.jsonl:2: the lengths of the answers are"
    ):
        baseline_comparisons.check_lengths(arrays)


def test_difficulties_join_by_id_text_and_position(tmp_path):
    comparisons = read_comparisons(write(tmp_path / "rows.jsonl", JUDGEMENT))
    by_id, by_text, by_index = (tmp_path / f"{k}.csv" for k in ("id", "text", "index"))
    by_id.write_text("prompt_id,instruction_difficulty\np0,1.5\np1,-2.5\n")
    by_text.write_text("instruction,instruction_difficulty\nSay hello.,0.5\n")
    by_index.write_text("index,instruction_difficulty\n0,9\n1,0.75\n")
    read, join = difficulties.read_difficulties, difficulties.join_difficulties
    assert join(read(by_id), comparisons).tolist() == [-2.5]
    assert join(read(by_text), comparisons).tolist() == [0.5]
    texts = ["Other", "Say hello."]
    assert join(read(by_index, texts), comparisons).tolist() == [0.75]
    with pytest.raises(
        ValueError, match="by index, which the comparison has not; for a"
    ):
        join(read(by_index), comparisons)
    by_id.write_text("prompt_id,instruction_difficulty\np0,1.5\n")
    with pytest.raises(
        ValueError, match="prompt_id 'p1', and 0 more of 1, have no diff"
    ):
        join(read(by_id), comparisons)


@pytest.mark.parametrize(
    "text, words",
    [
        ("index,instruction_difficulty\n0,nan\n", "x.csv:2: field 'instruction_diffic"),
        (
            "index,instruction_difficulty\n0,1\n0,2\n",
            "x.csv:3: index '0' is there twice",
        ),
        ("index,other\n0,1\n", "x.csv:2: field 'instruction_difficulty' is missing"),
        ("instruction_difficulty\n1\n", "x.csv:2: no field says which instruction"),
        ("index,instruction_difficulty\n", "x.csv holds no difficulties"),
    ],
)
def test_bad_difficulties_are_refused(tmp_path, text, words):
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        difficulties.read_difficulties(path)


def test_clusters_are_voters_then_prompts(tmp_path):
    votes = [JUDGEMENT | {"worker": worker} for worker in (3, 4, 3)]
    prompts = [JUDGEMENT | {"prompt_id": name} for name in "xyx"]
    read = lambda rows: read_comparisons(write(tmp_path / "rows.jsonl", *rows))
    found = arena_inputs.find_clusters(read(votes), "auto")
    assert found.field == "worker" and found.ids.tolist() == [0, 1, 0]
    found = arena_inputs.find_clusters(read(prompts), "auto")
    assert found.field == "prompt" and found.ids.tolist() == [0, 1, 0]
    assert arena_inputs.find_clusters(read(votes), "none").ids is None
    with pytest.raises(
        ValueError, match="rows.jsonl:1: --cluster voter: the row has no"
    ):
        arena_inputs.find_clusters(read(votes), "voter")
    with pytest.raises(ValueError, match="--cluster judge: all battles have the value"):
        arena_inputs.find_clusters(read(votes), "judge")


def test_style_is_of_texts_or_of_length_alone(tmp_path):
    other = JUDGEMENT | {"answer_a": "- one\n- two", "answer_b": "three"}
    rows = read_comparisons(write(tmp_path / "rows.jsonl", JUDGEMENT, other))
    style = arena_inputs.style_of(rows)
    assert style.names == ("length", "headings", "list items", "bold")
    assert np.sign(style.differences).tolist() == [[-1, 0, 0, -1], [1, 0, 1, 0]]
    bare = [{k: v for k, v in JUDGEMENT.items() if "answer" not in k}] * 2
    rows = read_comparisons(write(tmp_path / "rows.jsonl", *bare))
    assert arena_inputs.style_of(rows).names == ("length",)
