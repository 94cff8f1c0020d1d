"""Held-out numbers for each value of a field of the rows."""

import dataclasses

import numpy as np
import pytest

from experiments import kto, reward_model
from jaxalign.data import dataset_ops
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.examples import Example
from jaxalign.data.records import Preference
from jaxalign.data.tokenize import tokenize
from jaxalign.pipeline import by_field, datasets
from jaxalign.pipeline.datasets.record_splits import SplitRecords
from tests.support import small_runs

replace = dataclasses.replace


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_runs.prepare(tmp_path_factory.mktemp("fields"))


def labelled(pairs):
    """Pairs of two categories, in turn; the last has none."""
    with_fields = [
        replace(pair, fields={"category": ("kind", "harmless")[i % 2]})
        for i, pair in enumerate(pairs)
    ]
    return [*with_fields[:-1], pairs[-1]]


@pytest.fixture
def told(base, tmp_path, monkeypatch):
    """Flags of a run whose records have a category, as readers keep it."""
    load = datasets.load

    def with_fields(config):
        source = load(config)
        sides = tuple(map(labelled, source.preferences()))
        return replace(source, read=lambda kind: SplitRecords(*sides))

    monkeypatch.setattr(datasets, "load", with_fields)
    return {
        "model": str(base / "policy"),
        "data": str(base / "pairs.jsonl"),
        "out": tmp_path / "run",
        "held_out": 0.2,
        "mesh": "data=1",
        "steps": 1,
        "batch": 8,
        "split_by": "category",
    }


@pytest.mark.parametrize("module, answers", [(reward_model, 1), (kto, 2)])
def test_the_parts_make_the_whole(told, module, answers):
    numbers = module.main(module.Config(**told))
    names = ("(none)", "harmless", "kind")
    counts = np.array([numbers[f"eval/rows/{name}"] for name in names])
    parts = np.array([numbers[f"eval/accuracy/{name}"] for name in names])
    assert counts[0] == answers and counts.sum() == answers * 13
    whole = numbers["eval/accuracy"]
    np.testing.assert_allclose((parts * counts).sum() / counts.sum(), whole)
    assert numbers["eval/accuracy/kind_low"] <= parts[2]


@pytest.mark.parametrize("module", [reward_model, kto])
def test_a_field_that_is_not_there_is_refused(told, module, tmp_path):
    wrong = module.Config(**told | {"split_by": "topic"})
    with pytest.raises(ValueError, match="--split-by topic: no held-out .* category"):
        module.main(wrong)
    assert not (tmp_path / "run" / "reference").exists()
    cached = replace(wrong, token_cache=tmp_path / "cache")
    with pytest.raises(ValueError, match="--split-by needs fields of rows"):
        module.main(cached)


def test_by_hand():
    examples = [
        Example((), i, prompt_hash=i, fields={"kind": kind})
        for i, kind in enumerate("aba")
    ]
    found = by_field.metrics_by_value(
        "kind", examples, "reward", np.array([1.0, 5.0, 2.0])
    )
    assert found["reward/a"] == 1.5 and found["reward/b"] == 5.0
    assert (found["rows/a"], found["rows/b"]) == (2, 1)
    assert by_field.metrics_by_value(None, examples, "reward", np.zeros(3)) == {}


def test_a_number_of_each_row_is_no_category():
    tokenizer = tokenizers.train(["a"], vocab_size=261)
    ask = [{"role": "user", "content": "a"}]
    pairs = [Preference(ask, "b", f"c{i}", fields={"id": i}) for i in range(101)]
    examples, _ = tokenize(pairs, tokenizer, context=64)
    assert examples[3].fields == {"id": 3}
    assert dataset_ops.unpair(examples)[104].fields == {"id": 3}
    with pytest.raises(ValueError, match="--split-by id: 101 different values"):
        by_field.field_values(examples, "id")
