"""Groups of rows by a field, and the means of each."""

import numpy as np
import pytest

from jaxalign.data import dataset_ops
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.records import Preference
from jaxalign.data.tokenize import tokenize
from jaxalign.evaluation import by_field
from jaxalign.evaluation.by_field import MISSING, RowMetric
from jaxalign.evaluation.intervals import bootstrap
from jaxalign.runtime import split_flags


def named(*args, **settings):
    return by_field.named_numbers(by_field.group_tables(*args, **settings))


def groups(values, field="x"):
    return by_field.field_groups([{field: v} for v in values], field).tolist()


def test_by_hand():
    kinds = {"kind": np.array(["a", "b", "a"])}
    metric = RowMetric(np.array([1.0, 5.0, 2.0]), has_interval=True)
    found = named(kinds, {"reward": metric}, units=np.arange(3))
    assert found["reward/kind=a"].mean == 1.5 and found["reward/kind=b"].mean == 5.0
    assert (found["rows/kind=a"], found["rows/kind=b"]) == (2, 1)
    assert np.isnan(found["reward/kind=b"].low)  # of a single prompt
    flat = by_field.flatten(found)
    # two prompts of 1 and 2: a quarter of the resamples has 1 twice, so 1 is the bound
    assert (flat["reward/kind=a_low"], flat["reward/kind=a_high"]) == (1.0, 2.0)
    assert named({}, {"reward": metric}, units=np.arange(3)) == {}


def test_intervals_are_over_units_and_weights_count():
    rng = np.random.default_rng(0)
    values, units = rng.random(40), np.arange(40) // 2
    kinds = {"kind": np.array(["a", "b"])[np.arange(40) // 20]}
    metrics = {
        "accuracy": RowMetric(values, has_interval=True, share=True),
        "loss": RowMetric(values, weights=np.arange(40)),
    }
    found = named(kinds, metrics, units=units, seed=3)
    expected = bootstrap(values[:20], units=units[:20], seed=3, share=True)
    assert found["accuracy/kind=a"] == expected
    weighted = (values[20:] * np.arange(20, 40)).sum() / np.arange(20, 40).sum()
    np.testing.assert_allclose(found["loss/kind=b"], weighted)  # sums in another order


@pytest.mark.parametrize("seed", range(3))
def test_the_groups_mean_is_the_mean_of_all(seed):
    """Of every field: of texts, numbers at their quantiles, objects, gaps."""
    rng = np.random.default_rng(seed)
    rows = [
        {
            "kind": str(rng.choice(["a", "b", " "])),
            "length": float(rng.normal()),
            "meta": {"level": int(rng.integers(3))} if rng.random() < 0.7 else {},
            "tags": ["x", "y"][: rng.integers(3)],
        }
        for _ in range(200)
    ]
    values, weights = rng.random(200), rng.random(200)
    fields = ("kind", "length", "meta.level", "tags")
    of_rows = by_field.group_rows(rows, fields)
    metrics = {"x": RowMetric(values), "y": RowMetric(values, weights=weights)}
    found = named(of_rows, metrics, units="each")
    for field in fields:
        names = by_field.group_order(of_rows[field])
        assert len(names) > 2
        parts = np.array([found[f"x/{field}={name}"] for name in names])
        counts = np.array([found[f"rows/{field}={name}"] for name in names])
        assert counts.sum() == 200
        # float64 sums in another order
        np.testing.assert_allclose((parts * counts).sum() / 200, values.mean())
        shares = np.array([weights[of_rows[field] == name].sum() for name in names])
        parts = np.array([found[f"y/{field}={name}"] for name in names])
        whole = np.average(values, weights=weights)
        np.testing.assert_allclose((parts * shares).sum() / shares.sum(), whole)


def test_rows_that_do_not_count_for_a_metric():
    metric = RowMetric(np.array([1.0, np.nan, np.nan]))
    kinds = {"kind": np.array(["a", "a", "b"])}
    found = named(kinds, {"x": metric}, units="each")
    assert found == {"x/kind=a": 1.0, "rows/kind=a": 2, "rows/kind=b": 1}


def test_values_as_groups():
    assert groups(["a", None, " ", float("nan"), "b"]) == ["a", *[MISSING] * 3, "b"]
    assert groups([True, False, 1, 1.0]) == ["true", "false", "1", "1"]
    rows = [{"a.b": 1, "a": {"b": 2}}, {"a": {"b": 2}}, {"a": 3}, {}]
    assert by_field.field_groups(rows, "a.b").tolist() == ["1", "2", MISSING, MISSING]


def test_many_numbers_are_divided_at_their_quartiles():
    assert set(groups(list(range(20)) * 2)) == set(map(str, range(20)))
    # not more groups than one for two rows
    assert set(groups(range(16))) == {"0..3", "4..7", "8..11", "12..15"}
    assert groups(range(4)) == ["0", "1", "2", "3"]
    found = groups([None, *map(str, range(40))])  # texts of numbers too, as CSV has
    assert found[0] == MISSING
    expected = [
        name for name in ("0..9", "10..19", "20..29", "30..39") for _ in "0" * 10
    ]
    assert found[1:] == expected
    # names tell their bounds apart, also of large numbers near each other
    near = [1_700_000_000 + i for i in range(40)]
    assert groups(near)[0] == "1700000000..1700000009"
    close = [0.1234 + i * 1e-7 for i in range(40)]
    assert groups(close)[0] == "0.1234..0.1234009"
    # most rows have one value: it is a group of its own
    assert set(groups([0.0] * 100 + [float(i) for i in range(1, 31)])) == {"0", "1..30"}


def test_fields_that_cannot_be_used():
    with pytest.raises(ValueError, match="x: 101 different values, which are not all"):
        groups([f"row {i}" for i in range(101)])
    with pytest.raises(ValueError, match=r"--split-by x: its values are objects; name"):
        groups([{"kind": "a"}])
    rows = [{"kind": "a", "meta": {"site": "b"}}]
    message = "kin: no held-out row .* did you mean kind\\? there are kind, meta.site"
    with pytest.raises(ValueError, match=message):
        by_field.field_groups(rows, "kin", "held-out row")


def test_examples_keep_the_fields_of_their_rows():
    tokenizer = tokenizers.train(["a"], vocab_size=261)
    ask = [{"role": "user", "content": "a"}]
    pairs = [Preference(ask, "b", f"c{i}", fields={"id": i}) for i in range(5)]
    examples, _ = tokenize(pairs, tokenizer, context=64)
    assert examples[3].fields == {"id": 3}
    assert dataset_ops.unpair(examples)[8].fields == {"id": 3}


def test_names_with_commas_or_apart():
    @split_flags.dataclasses.dataclass(frozen=True, kw_only=True)
    class Config(split_flags.SplitFlags):
        """Nothing else."""

    assert Config(split_by=("a,b", "c")).split_by == ("a", "b", "c")
    assert Config(split_by="a, b").split_by == ("a", "b")
