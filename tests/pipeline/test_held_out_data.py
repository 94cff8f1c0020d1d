"""--held-out-data: all rows of a file are held out, and none of them is trained on."""

import json

import pytest

from jaxalign.data import dataset_ops
from jaxalign.pipeline import datasets
from jaxalign.runtime.config import RunConfig
from tests.support.held_out_rows import (
    COPIES,
    PROMPTS,
    first_prompts,
    layout_row,
    load,
    text_policy,
    write_rows,
)


def test_a_file_of_its_own_is_held_out_whole_and_not_trained_on(tmp_path):
    data = write_rows(tmp_path / "data.jsonl", "pair")
    exam = tmp_path / "exam.jsonl"
    rows = [layout_row("pair", i, 2) for i in (3, 4, 100)]
    exam.write_text("\n".join(map(json.dumps, rows)))
    config = RunConfig(data=str(data), held_out_data=str(exam))
    source = datasets.load(config)
    for kind in (source.prompts, source.preferences, source.demonstrations):
        train, held_out = map(first_prompts, kind())
        assert held_out == {3, 4, 100} and train == set(range(PROMPTS)) - held_out
    train, held_out = datasets.tokenized_pairs(config, source, text_policy(), print)
    assert len(held_out) == 3 and len(train) == (PROMPTS - 2) * COPIES
    removed = [a.get("removed_from_training") for _, a in source.accounts()]
    assert 2 * COPIES in removed
    with pytest.raises(ValueError, match="nothing is left to train on"):
        load(exam, held_out_data=str(exam)).preferences()
    with pytest.raises(ValueError, match="toy states its own held-out split"):
        load("toy", held_out_data=str(exam))
    with pytest.raises(ValueError, match="is a folder: name a file"):
        load(data, held_out_data=str(tmp_path))


def test_a_mixture_keeps_its_weights_where_a_file_is_held_out(tmp_path):
    one, two = (write_rows(tmp_path / f"{k}.jsonl", "pair") for k in "ab")
    exam = tmp_path / "exam.jsonl"
    exam.write_text(json.dumps(layout_row("pair", 3, 0)))
    config = RunConfig(data=f"{one}=1,{two}=3", held_out_data=str(exam))
    train, held_out = datasets.tokenized_pairs(
        config, datasets.load(config), text_policy(), print
    )
    assert isinstance(train, dataset_ops.Mixture) and train.weights == [1.0, 3.0]
    assert list(map(len, train.parts)) == [(PROMPTS - 1) * COPIES] * 2
    assert not set(train.prompt_hashes) & {e.prompt_hash for e in held_out}


def test_stories_may_be_held_out_in_a_file_of_their_own(tmp_path):
    words = lambda k: " ".join(f"{k}w{i}" for i in range(30))
    for name, few in (("data", "abc"), ("exam", "bd")):
        (tmp_path / f"{name}.txt").write_text("\n".join(map(words, few)))
    source = load(
        "stories",
        data_path=str(tmp_path / "data.txt"),
        held_out_data=str(tmp_path / "exam.txt"),
    )
    for kind in (source.prompts, source.demonstrations):
        begin = [[r.messages[0]["content"][0] for r in side] for side in kind()]
        assert begin == [["a", "c"], ["b", "d"]]
