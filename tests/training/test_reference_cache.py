"""The reference's log-probs: kept equals computed, and kept only for its own rows."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxalign import sharding
from jaxalign.training import reference_cache

KEY = jax.random.key(0)


@pytest.fixture
def counted(bigram):
    """The bigram, and a list that grows each time its forward is traced."""
    traces = []

    def hidden(*arguments):
        traces.append(1)
        return bigram.hidden(*arguments)

    return bigram._replace(hidden=hidden), traces


@pytest.fixture
def data(pairs):
    """Two batches of four pairs, the last pair of each only filling up."""
    return [pairs(4, seed=1), pairs(4, seed=2, first_row=100)]


def test_kept_equals_computed_and_is_read_not_computed(
    counted, data, tmp_path, bigram_logps
):
    model, traces = counted
    params = model.init(KEY)
    knobs = {"data": data, "folder": tmp_path}
    fresh = reference_cache.compute_reference_logps(model, params, data, **knobs)
    assert len(traces) == 1  # one compiled function for all batches
    kept = reference_cache.compute_reference_logps(model, params, iter(()), **knobs)
    assert len(traces) == 1
    assert fresh.row.tolist() == [0, 1, 2, 100, 101, 102]
    for name in ("row", "sums"):
        np.testing.assert_array_equal(getattr(fresh, name), getattr(kept, name))
    batch = data[1]
    attached = kept.attach(batch)
    on_the_fly = reference_cache.reference_logp_fn(model)(params, batch)
    np.testing.assert_array_equal(attached.reference.chosen[:3], on_the_fly[:3, 0])
    np.testing.assert_array_equal(attached.reference.rejected[:3], on_the_fly[:3, 1])
    assert attached.reference.chosen[3] == 0  # the pair that only fills up
    by_numpy = bigram_logps(params, batch.rejected.tokens) * batch.rejected.loss_mask
    np.testing.assert_allclose(
        attached.reference.rejected[:3], by_numpy.sum(-1)[:3], rtol=1e-5
    )


def test_the_shared_length_is_the_shorter_answers(bigram, data, bigram_logps):
    params, batch = bigram.init(KEY), data[0]
    attached = reference_cache.compute_reference_logps(bigram, params, data).attach(
        batch
    )
    shorter = np.minimum(*(x.loss_mask.sum(-1) for x in (batch.chosen, batch.rejected)))
    for side, found in (
        (batch.chosen, attached.reference.chosen_shared),
        (batch.rejected, attached.reference.rejected_shared),
    ):
        logp = bigram_logps(params, side.tokens)
        for i in range(3):  # the fourth pair only fills up
            first = np.flatnonzero(side.loss_mask[i])[: shorter[i]]
            np.testing.assert_allclose(found[i], logp[i, first].sum(), rtol=1e-5)


def test_rows_are_found_in_any_order(bigram, data):
    scores = reference_cache.compute_reference_logps(bigram, bigram.init(KEY), data)
    backwards = jax.tree.map(lambda x: x[::-1], data[0])
    straight = scores.attach(data[0])
    np.testing.assert_array_equal(
        scores.attach(backwards).reference.chosen, straight.reference.chosen[::-1]
    )


def test_another_reference_or_other_data_is_scored_anew(bigram, data, tmp_path):
    params, others = bigram.init(KEY), bigram.init(jax.random.key(1))
    score = lambda params, data: reference_cache.compute_reference_logps(
        bigram, params, data, data=data, folder=tmp_path
    )
    first = score(params, data)
    assert not np.array_equal(score(others, data).sums, first.sums)
    tokens = data[0].chosen.tokens.copy()
    tokens[data[0].chosen.loss_mask] = 0
    changed = dataclasses.replace(data[0].chosen, tokens=tokens)
    changed = [dataclasses.replace(data[0], chosen=changed), data[1]]
    assert not np.array_equal(score(params, changed).sums, first.sums)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_damaged_file_is_computed_again(bigram, data, tmp_path):
    score = lambda: reference_cache.compute_reference_logps(
        bigram, bigram.init(KEY), data, data="rows", folder=tmp_path
    )
    first = score()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(score().sums, first.sums)


def test_unpaired_rows_and_a_mesh_give_the_same(bigram, unpaired):
    params, batch = bigram.init(KEY), unpaired(8)
    mesh = sharding.make_mesh({"data": 4, "tensor": 2})
    here = reference_cache.compute_reference_logps(bigram, params, [batch])
    spread = reference_cache.compute_reference_logps(bigram, params, [batch], mesh=mesh)
    np.testing.assert_allclose(here.sums, spread.sums, rtol=1e-6)
    attached = here.attach(batch)
    np.testing.assert_array_equal(
        attached.reference.mismatched_answers, here.sums[:, 1]
    )


def test_what_cannot_be_is_refused(bigram, data, pairs, tmp_path):
    params = bigram.init(KEY)
    scores = reference_cache.compute_reference_logps(bigram, params, data)
    with pytest.raises(KeyError, match=r"no reference log-probs for rows \[50, 51\]"):
        scores.attach(pairs(3, first_row=50))
    with pytest.raises(ValueError, match="needs `data`"):
        reference_cache.compute_reference_logps(bigram, params, data, folder=tmp_path)
    with pytest.raises(ValueError, match="no batches"):
        reference_cache.compute_reference_logps(bigram, params, [])
    broken = {**params, "embed": params["embed"] * np.nan}
    with pytest.raises(FloatingPointError, match=r"rows \[0, 1, 2, 100"):
        reference_cache.compute_reference_logps(bigram, broken, data)


def test_the_fingerprint_is_of_names_types_shapes_and_bytes():
    tree = {"a": np.arange(6.0), "b": [np.ones(2, np.int32), "text"]}
    mark = reference_cache.fingerprint(tree)
    assert mark == reference_cache.fingerprint(jax.tree.map(lambda x: x, tree))
    changes = [
        {**tree, "a": np.arange(6.0).reshape(2, 3)},
        {**tree, "a": np.arange(6.0).astype(np.float32)},
        {"c": tree["a"], "b": tree["b"]},
        {**tree, "b": [np.ones(2, np.int32), "texts"]},
    ]
    assert len({mark, *map(reference_cache.fingerprint, changes)}) == 5
    mesh = sharding.make_mesh({"fsdp": 8})
    array = np.arange(16, dtype=np.float32)
    cut = sharding.place({"a": array}, {"a": sharding.spec("width")}, mesh)
    assert reference_cache.fingerprint(cut) == reference_cache.fingerprint({"a": array})
