"""The step: micro-batches equal one batch, one trace, donation, NaN, loss goes down."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxalign import batches
from jaxalign.training import objectives, state, step
from tests.support import quick

KEY = jax.random.key(0)


def one_step(objective, params, batch, micro_batches):
    """With plain gradient descent at rate 1, new - old parameters is -gradient."""
    optimizer = optax.sgd(1.0)
    update = step.make_step(objective, optimizer, micro_batches=micro_batches)
    after, metrics = update(state.create(params, optimizer, KEY), batch)
    return jax.tree.map(jnp.subtract, params, after.params), metrics


def refs(n, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform(-9, -1, n).astype(np.float32)


def rollouts(rows, n):
    rng = np.random.default_rng(3)
    sequences = rows(n)
    noise = lambda: rng.normal(size=sequences.tokens.shape).astype(np.float32)
    return batches.RolloutBatch(sequences, -2 + noise(), noise(), noise(), noise())


@pytest.fixture
def cases(bigram, scalar, rows, pairs, unpaired):
    """Every objective with parameters and a batch of 8 rows of unequal length."""
    params, scores = bigram.init(KEY), scalar.init(KEY)
    referenced = pairs(8).with_reference(refs(8, 1), refs(8, 2))
    thumbs = unpaired(8).with_reference(refs(8, 1), refs(8, 2) - 20)
    mask = np.arange(3)[None, :] < np.array([3, 2, 3, 1, 2, 3, 3, 2])[:, None]
    ranked = batches.RankingBatch(rows(24), mask, np.arange(8))
    named = objectives.pairwise_loss
    return {
        "sft": (objectives.sft(bigram), params, rows(8)),
        "reward": (objectives.reward(scalar, center=0.01), scores, pairs(8)),
        "ranking": (objectives.ranking(scalar), scores, ranked),
        "dpo": (
            objectives.preference(bigram, named("dpo", beta=0.1)),
            params,
            referenced,
        ),
        "orpo": (
            objectives.preference(bigram, named("orpo", lam=0.1)),
            params,
            pairs(8),
        ),
        "kto": (objectives.kto(bigram, beta=0.1), params, thumbs),
        "ppo": (
            objectives.ppo(bigram, scalar, entropy_coef=0.01),
            {"policy": params, "value": scores},
            rollouts(rows, 8),
        ),
    }


@pytest.mark.parametrize("micro_batches", quick.only([4], [1, 4]))
@pytest.mark.parametrize("name", ["sft", "kto"])
def test_where_a_part_trains_its_gradient_is_the_same(cases, name, micro_batches):
    """And the rest has no optimizer state, no copy, and is not donated."""
    objective, params, batch = cases[name]
    frozen, trains = {"embed": params["embed"]}, {"unembed": params["unembed"]}
    whole = jax.tree_util.Partial(lambda frozen, trained: frozen | trained, frozen)
    optimizer = optax.sgd(1.0, momentum=0.9)
    update = step.make_step(
        objective, optimizer, micro_batches=micro_batches, merge=whole
    )
    after, metrics = update(state.create(trains, optimizer, KEY), batch)
    full, expected = one_step(objective, params, batch, micro_batches)
    found = params["unembed"] - after.params["unembed"]
    # another program adds up the same float32 products
    np.testing.assert_allclose(found, full["unembed"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-6)
    sizes = [x.size for x in jax.tree.leaves(after.opt_state)]
    assert sum(sizes) == params["unembed"].size
    assert not params["embed"].is_deleted()


@pytest.mark.parametrize(
    "name", quick.only(["kto"], "sft reward ranking dpo orpo kto ppo".split())
)
def test_micro_batches_of_unequal_weight_equal_one_batch(cases, name):
    objective, params, batch = cases[name]
    # A mean of means would be wrong here: the micro-batches weigh differently.
    parts = step.split_micro_batches(jax.tree.map(jnp.asarray, batch), 4)
    weights = [
        float(objective(params, jax.tree.map(lambda x, m=m: x[m], parts))[1][0])
        for m in range(4)
    ]
    assert name == "kto" or len(set(weights)) > 1
    whole_grads, whole = one_step(objective, params, batch, 1)
    grads, metrics = one_step(objective, params, batch, 4)
    # float32 sums in another order: a few ulp of numbers of order 1
    chex.assert_trees_all_close(grads, whole_grads, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(metrics, whole, rtol=1e-5, atol=1e-6)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(grads)) > 1e-3
    assert {"loss", "weight", "grad_norm", "finite"} <= set(metrics)


def test_micro_batches_keep_rows_and_groups_whole():
    batch = {
        "row": jnp.arange(4),
        "answers": jnp.arange(8)[:, None] * jnp.ones((1, 3), int),
        "knob": jnp.asarray(0.5),
    }
    micro = step.split_micro_batches(batch, 2)
    # row r has answers 2r and 2r + 1; micro-batch m has rows m and m + 2
    assert micro["row"].tolist() == [[0, 2], [1, 3]]
    assert micro["answers"][:, :, 0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert micro["knob"].tolist() == [0.5, 0.5]


def test_rows_that_do_not_divide_are_refused(bigram, rows):
    update = step.make_step(objectives.sft(bigram), optax.sgd(1.0), micro_batches=3)
    with pytest.raises(ValueError, match="8 rows is not divisible by 3 micro-batches"):
        update(state.create(bigram.init(KEY), optax.sgd(1.0), KEY), rows(8))


def test_one_trace_and_the_state_is_donated(bigram, rows):
    chex.clear_trace_counter()
    optimizer = optax.adam(1e-2)
    traced = chex.assert_max_traces(objectives.sft(bigram), n=1)
    update = step.make_step(traced, optimizer)
    params = bigram.init(KEY)
    first = state.create(params, optimizer, KEY)
    now = first
    for seed in range(3):
        now, _ = update(now, rows(8, seed))
    assert first.params["embed"].is_deleted()
    assert first.opt_state[0].mu["embed"].is_deleted()
    assert int(now.step) == 3
    # ... but not what the state was made of, which may be the reference as well
    assert not params["embed"].is_deleted() and not KEY.is_deleted()
    given = state.create(params, optimizer, KEY, copy=False)
    update(given, rows(8))
    assert params["embed"].is_deleted()


def test_an_optimizer_whose_state_changes_its_dtype_is_refused(bigram):
    init = lambda params: {"count": jnp.zeros((), jnp.int32)}
    update = lambda grads, state, params=None: (grads, {"count": state["count"] + 0.5})
    counting = optax.GradientTransformation(init, update)
    with pytest.raises(AssertionError, match="dtype"):
        state.create(bigram.init(KEY), counting, KEY)


def test_a_state_that_is_not_donated_is_still_there(bigram, rows):
    optimizer = optax.adam(1e-2)
    update = step.make_step(objectives.sft(bigram), optimizer, donate=False)
    first = state.create(bigram.init(KEY), optimizer, KEY)
    again = [update(first, rows(8))[0] for _ in range(2)]
    chex.assert_trees_all_equal(*(jax.device_get(x.params) for x in again))
    assert not first.params["embed"].is_deleted()


def test_frozen_parameters_are_arguments_of_the_compiled_step(bigram, rows):
    params, optimizer = bigram.init(KEY), optax.sgd(1.0)
    put = lambda frozen, trainable: frozen | trainable
    merge = jax.tree_util.Partial(put, {"embed": params["embed"]})
    update = step.make_step(objectives.sft(bigram), optimizer, merge=merge)
    now = state.create({"unembed": params["unembed"]}, optimizer, KEY)
    traced = update.trace(now, rows(8))
    # params["embed"] is the one array that neither the state nor the batch holds
    given = len(jax.tree.leaves((now, rows(8)))) + 1
    assert len(traced.jaxpr.in_avals) == given
    assert max((np.size(x) for x in traced.jaxpr.consts), default=0) < 2
    assert update.lower(now, rows(8)).as_text() == traced.lower().as_text()


def test_a_step_that_is_not_finite_keeps_the_state(bigram, rows, on_device):
    sft = objectives.sft(bigram)

    def poisoned(params, batch):
        total, rest = sft(params, batch["rows"])
        # The slope of the root at 0 is infinite: a finite loss without a gradient.
        hole = lambda: jnp.sqrt(0.0 * params["embed"].sum())
        total = total + jax.lax.cond(batch["hole"], hole, lambda: 0.0)
        return total * batch["factor"] + batch["offset"], rest

    optimizer = optax.adam(1e-2)
    update = step.make_step(poisoned, optimizer)
    clean = {"rows": on_device(rows(8)), "hole": jnp.asarray(False)}
    clean |= {"factor": jnp.asarray(1.0), "offset": jnp.asarray(0.0)}
    good, metrics = update(state.create(bigram.init(KEY), optimizer, KEY), clean)
    assert metrics["finite"]
    before = jax.device_get((good.step, good.params, good.opt_state))
    for poison in (
        {"factor": jnp.asarray(jnp.inf)},
        {"offset": jnp.asarray(jnp.nan)},  # the gradient is finite
        {"hole": jnp.asarray(True)},  # the loss is finite
    ):
        good, metrics = update(good, clean | poison)
        assert not metrics["finite"]
        assert np.isfinite(metrics["loss"]) == ("hole" in poison)
        assert np.isfinite(metrics["grad_norm"]) == ("offset" in poison)
    chex.assert_trees_all_equal(
        before, jax.device_get((good.step, good.params, good.opt_state))
    )
    after, metrics = update(good, clean)
    assert metrics["finite"] and int(after.step) == 2


def test_a_batch_where_nothing_counts_changes_no_number_to_nan(bigram, rows):
    empty = dataclasses.replace(rows(4), loss_mask=np.zeros((4, 12), bool))
    grads, metrics = one_step(objectives.sft(bigram), bigram.init(KEY), empty, 1)
    assert all(not np.any(g) for g in jax.tree.leaves(grads))
    assert metrics["loss"] == 0 and metrics["finite"]
    assert np.isnan(metrics["answer_length"])


def test_the_loss_goes_down(bigram, rows):
    optimizer = optax.adam(0.1)
    update = step.make_step(objectives.sft(bigram), optimizer, micro_batches=2)
    now, losses = state.create(bigram.init(KEY), optimizer, KEY), []
    for _ in range(30):
        now, metrics = update(now, rows(8))
        losses.append(float(metrics["loss"]))
    # Adam's 30 steps of 0.1 can move each logit by several nats.
    assert losses[-1] < 0.5 * losses[0]
