"""Subsets, mixtures and mapped data sets: the same rows, not copied."""

import dataclasses
import itertools
import json

import jax
import numpy as np
import pytest
from chex import assert_trees_all_equal

from jaxalign.data import (
    dataset_ops,
    loader,
    token_cache,
    tokenize,
)
from jaxalign.data import examples as examples_of
from jaxalign.data.dataset_ops import Mixture, Subset
from jaxalign.data.records import (
    Preference,
    Unpaired,
    assistant_message,
)
from tests.support.token_examples import (
    PROMPT,
    numbered_pairs,
)


def test_a_view_is_some_of_the_rows(tokenizer, tmp_path):
    there = token_cache.write(tmp_path / "x", numbered_pairs(20), tokenizer, context=64)
    held_out = Subset(there, np.flatnonzero(there.rows % 10 == 9))
    assert [e.row for e in held_out] == [9, 19] and len(held_out) == 2
    assert held_out[-1].row == 19 and held_out[:1][0].row == 9
    batch = next(loader.batches(held_out, 2, kind=Preference, seed=0, shuffle=False))
    assert batch.row.tolist() == [9, 19]


@pytest.fixture
def mixture(tokenizer, tmp_path):
    """A small part on disk with a weight of 3, and a large one in memory, of 1."""
    small = token_cache.write(
        tmp_path / "small", numbered_pairs(5), tokenizer, context=64
    )
    large, _ = tokenize.tokenize(numbered_pairs(200, "x"), tokenizer, context=64)
    return Mixture([small, large], [3.0, 1.0])


def test_a_mixture_gives_each_part_its_share(mixture):
    assert len(mixture) == 205
    rows = [mixture[i].row for i in range(205)]
    assert len(set(rows)) == 205 and rows == sorted(rows)
    batches = loader.batches(mixture, 8, kind=Preference, seed=0)
    found = np.concatenate([b.row for b in itertools.islice(batches, 50)])
    small = found <= rows[4]
    assert small.mean() == 0.75
    # each part is shuffled anew in each of its epochs
    epochs = found[small].reshape(-1, 5)
    assert {tuple(sorted(epoch)) for epoch in epochs} == {tuple(rows[:5])}
    assert len({tuple(epoch) for epoch in epochs}) > 10
    assert len(set(found[~small])) == 100
    first = next(loader.batches(mixture, 8, kind=Preference, seed=0))
    one = dataclasses.replace(mixture[rows.index(first.row[0])], row=0)
    length = len(one.sequences[0].tokens)
    assert first.chosen.tokens[0, :length].tolist() == one.sequences[0].tokens.tolist()


def test_a_mixture_goes_on_after_a_stop_and_with_any_processes(mixture, monkeypatch):
    def rows(count, state=None):
        batches = loader.batches(mixture, 8, kind=Preference, seed=0)
        if state:
            batches.set_state(state)
        found = [batch.row.tolist() for batch in itertools.islice(batches, count)]
        return found, json.loads(json.dumps(batches.get_state()))

    whole, _ = rows(9)
    _, state = rows(4)
    assert rows(5, state)[0] == whole[4:]
    for processes in (2, 4):
        monkeypatch.setattr(jax, "process_count", lambda n=processes: n)
        shares = []
        for index in range(processes):
            monkeypatch.setattr(jax, "process_index", lambda k=index: k)
            shares.append(rows(5, state)[0])
        for batch, parts in zip(whole[4:], zip(*shares, strict=True), strict=True):
            assert sorted(sum(parts, [])) == sorted(batch)
    mixture.weights[0] = 2.0
    with pytest.raises(ValueError, match="cannot go on with the data"):
        rows(1, state)


def test_mixtures_that_cannot_be(mixture):
    part = mixture.parts[0]
    for parts, weights in (([], []), ([part], [1, 2])):
        with pytest.raises(ValueError, match="needs parts, each with a weight"):
            Mixture(parts, weights)
    with pytest.raises(ValueError, match="part 2 of the mixture has no training rows"):
        Mixture([part, []], [1, 1])
    with pytest.raises(ValueError, match="above 0"):
        Mixture([part, part], [1, 0])


def test_an_evaluation_of_a_mixture_sees_every_row_once(mixture):
    batches = loader.evaluation_batches(mixture, 8, kind=Preference)
    found = np.concatenate([batch.row[batch.valid] for batch in batches])
    assert found.tolist() == [mixture[i].row for i in range(205)]


def test_batches_of_some_examples_are_theirs_among_all(tokenizer, tmp_path):
    """KTO's mismatched answers, too, which are of neighbours in the whole data set."""
    records = [
        Preference([*PROMPT, assistant_message(str(i)), *PROMPT], "a", "b")
        for i in range(9)
    ]
    found, _ = tokenize.tokenize(records, tokenizer, context=64)
    data = dataset_ops.unpair(found)
    (whole,) = loader.evaluation_batches(data, 18, kind=Unpaired)
    indices = np.array([3, 8, 17])
    some = list(loader.evaluation_batches(data, 2, kind=Unpaired, indices=indices))
    rows = np.concatenate([batch.row[batch.valid] for batch in some])
    assert rows.tolist() == data.rows[[3, 8, 17]].tolist() == [6, 16, 17]
    for batch, at in zip(some, ([3, 8], [17]), strict=True):
        expected = jax.tree.map(lambda x, at=at: x[at], whole)
        shown = jax.tree.map(lambda x, at=at: x[: len(at)], batch)
        assert_trees_all_equal(shown, expected)


def test_a_mixture_stays_one_when_its_rows_are_changed(mixture, tokenizer):
    for changed in (
        dataset_ops.mask_special_tokens(mixture, tokenizer),
        dataset_ops.unpair(mixture),
    ):
        assert isinstance(changed, Mixture) and changed.weights == mixture.weights
        numbers = [example.row for example in changed]
        assert len(set(numbers)) == len(changed) and numbers == changed.rows.tolist()


def test_margins_are_not_taken_for_soft_labels(tokenizer):
    examples = lambda **more: tokenize.tokenize(
        [Preference(PROMPT, "yes", "no", **more)], tokenizer, context=64
    )[0]
    for usable in ({}, {"label_prob": 0.75}, {"label_prob": 0.75, "margin": 1.0}):
        dataset_ops.check_soft_labels(examples(**usable))
    with pytest.raises(ValueError, match="'label_prob', which no row has"):
        dataset_ops.check_soft_labels(examples(margin=1.0))


def test_views_know_the_soft_labels(mixture):
    each = np.array([example.label_prob for example in mixture], np.float32)
    np.testing.assert_array_equal(examples_of.example_label_probs(mixture), each)
    assert len(np.unique(each)) > 2
    some = Subset(mixture, np.array([3, 1]))
    np.testing.assert_array_equal(examples_of.example_label_probs(some), each[[3, 1]])
