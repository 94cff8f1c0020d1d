"""No prompt that is held out is trained on, for any layout, source, order or flag."""

import dataclasses
import json

import numpy as np
import pytest

from jaxalign.data.records import Ranking
from jaxalign.data.records import ranking_pairs as pairs_of
from jaxalign.pipeline import datasets
from jaxalign.runtime.config import RunConfig
from tests.support.held_out_rows import (
    COPIES,
    LAYOUTS,
    PROMPTS,
    first_prompts,
    layout_row,
    load,
    split_prompts,
    text_policy,
    write_rows,
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_layout_trains_on_a_held_out_prompt(layout, tmp_path):
    train, held_out = split_prompts(
        load(write_rows(tmp_path / "a.jsonl", layout)), layout
    )
    assert not train & held_out
    # neither the order of the rows nor what is skipped moves the split
    order = np.random.default_rng(0).permutation(PROMPTS * COPIES)
    other = write_rows(tmp_path / "b.jsonl", layout, order=order, bad=(0, 3, 50))
    again = split_prompts(load(other, skip_bad_rows=True), layout)
    assert again == (train, held_out)
    # another share or seed holds out others
    assert (
        split_prompts(load(other, skip_bad_rows=True, held_out_seed=1), layout)[1]
        != held_out
    )
    assert (
        split_prompts(load(other, skip_bad_rows=True, held_out=0.5), layout)[1]
        > held_out
    )


def test_a_tie_in_the_first_row_changes_nothing(tmp_path):
    order = [*range(PROMPTS * COPIES)]
    first = load(write_rows(tmp_path / "tie.jsonl", "ultrafeedback"))  # row 0 has a tie
    tied, plain = order.index(0), order.index(1)
    order[tied], order[plain] = order[plain], order[tied]
    other = load(write_rows(tmp_path / "plain.jsonl", "ultrafeedback", order=order))
    for source in (first, other):
        assert source.has_rankings
        train, held_out = source.rankings()
        assert any(len(r.answers) == 2 for r in train)
        assert source.preferences() == (pairs_of(train), pairs_of(held_out))
    assert split_prompts(first, "ultrafeedback") == split_prompts(
        other, "ultrafeedback"
    )


@pytest.mark.parametrize("first, second", [("pair", "answers"), ("talks", "shp")])
def test_no_mixture_trains_on_what_a_part_holds_out(first, second, tmp_path):
    """Also where a part states a split of its own, which the rule would not make."""
    one = write_rows(tmp_path / "one.jsonl", first)
    folder = tmp_path / "two"
    folder.mkdir()
    rows = [layout_row(second, i, 0) for i in range(PROMPTS)]
    text = ["\n".join(map(json.dumps, part)) for part in (rows[:40], rows[40:])]
    (folder / "train.jsonl").write_text(text[0])
    (folder / "test.jsonl").write_text(text[1])
    rule = split_prompts(load(one), first)[1]
    source = load(f"{one}=1,{folder}=3")
    train, held_out = split_prompts(source, first)
    assert not train & held_out and held_out == rule | set(range(40, PROMPTS))
    config = RunConfig(data=f"{one}=1,{folder}=3")
    examples, held = datasets.tokenized_pairs(config, source, text_policy(), print)
    assert not set(examples.prompt_hashes) & {e.prompt_hash for e in held}
    assert len(set(examples.prompt_hashes)) == len(train)


def test_what_stories_hold_out_follows_the_rule(tmp_path):
    file = tmp_path / "stories.txt"
    story = lambda i: " ".join([f"q{i}", *["word"] * 30])
    file.write_text("\n".join(story(i % 40) for i in range(120)))
    source = datasets.load(RunConfig(data="stories", data_path=str(file)))
    train, held_out = map(first_prompts, source.prompts())
    assert held_out and not train & held_out
    assert first_prompts(source.demonstrations()[0]) == train


def test_prompts_come_once_however_many_rows_have_them(tmp_path):
    source = load(write_rows(tmp_path / "a.jsonl", "answers"))
    train, held_out = source.prompts()
    whole = [json.dumps(p.messages) for p in train + held_out]
    assert len(whole) == len(set(whole))
    assert isinstance(source.rankings()[0][0], Ranking)


@pytest.mark.parametrize("held_out, side", [(0.1, "held-out"), (0.999, "training")])
def test_a_share_that_leaves_a_side_empty_is_refused_with_counts(
    held_out, side, tmp_path, monkeypatch
):
    monkeypatch.setattr("os.cpu_count", lambda: 0)
    path = tmp_path / "few.jsonl"
    train = split_prompts(load(write_rows(tmp_path / "a.jsonl", "pair")), "pair")[0]
    few = [layout_row("pair", i, k) for i in sorted(train)[:2] for k in range(3)]
    path.write_text("\n".join(map(json.dumps, few)))
    said_so = rf"--held-out {held_out} leaves no {side} row of the 6 of .*\(2 different"
    config = RunConfig(data=str(path), held_out=held_out)
    for kind in ("preferences", "demonstrations"):
        with pytest.raises(ValueError, match=said_so):
            getattr(datasets.load(config), kind)()
    cached = dataclasses.replace(config, token_cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=said_so):
        datasets.tokenized_pairs(cached, datasets.load(cached), text_policy(), print)
    everything, nothing = load(path, held_out=0.0).preferences()
    assert (len(everything), nothing) == (6, [])
    with pytest.raises(ValueError, match="no rows are held out, and x needs some"):
        datasets.check_held_out(nothing, "x")


def test_a_file_of_no_known_kind_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("once\n")
    with pytest.raises(
        ValueError, match=r"notes.txt has the ending '.txt'; expected .jsonl, "
    ):
        load(path)
