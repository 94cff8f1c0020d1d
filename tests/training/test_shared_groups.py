"""Answers that share their prompt in a row train as they would in rows of their own."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxalign import sharding
from jaxalign.batches import BRANCH_STRIDE, GroupBatch, from_lengths
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.training import (
    forward,
    group_methods,
    objectives,
    state,
    step,
)
from tests.support import quick

CONFIG = ModelConfig(
    vocab_size=23,
    width=16,
    hidden=24,
    layers=2,
    heads=4,
    kv_heads=2,
    head_dim=4,
    context=64,
)
KEY = jax.random.key(0)
PROMPTS, SAMPLES, ASKED, ROOM = 8, 4, 6, 5
UPDATE = optax.sgd(1.0)  # new - old parameters is -gradient


@pytest.fixture(scope="module")
def model():
    return transformer.language_model(CONFIG)


@pytest.fixture(scope="module")
def params(model):
    return model.init(KEY)


@pytest.fixture(scope="module")
def drawn():
    """Prompts of 1 to 6 tokens, 4 answers of 1 to 5 to each; noise for log-probs."""
    rng = np.random.default_rng(0)
    asked = np.append(rng.integers(1, ASKED, PROMPTS - 1), ASKED).repeat(SAMPLES)
    lengths = asked + rng.integers(1, ROOM + 1, len(asked))
    tokens = rng.integers(0, 23, (len(asked), ASKED + ROOM)).astype(np.int32)
    prompts = tokens[::SAMPLES].repeat(SAMPLES, axis=0)
    tokens = np.where(np.arange(ASKED + ROOM) < asked[:, None], prompts, tokens)
    sequences = from_lengths(tokens, lengths, asked)
    noise = 0.2 * rng.normal(size=(2, *tokens.shape)).astype(np.float32)
    return sequences, np.where(sequences.loss_mask, noise - 3.0, np.float32(0.0))


def batch_of(drawn, answers):
    sequences, (old_logp, ref_logp) = drawn
    told = {"answers": answers, "room": ROOM}
    shared, old_logp = forward.pack_shared_prompts(sequences, old_logp, **told)
    _, ref_logp = forward.pack_shared_prompts(sequences, ref_logp, **told)
    advantage = np.random.default_rng(1).normal(size=PROMPTS * SAMPLES)
    return GroupBatch(shared, old_logp, ref_logp, advantage.astype(np.float32))


def apart_of(drawn):
    shared = batch_of(drawn, 1)
    return GroupBatch(drawn[0], *drawn[1], shared.advantage)


def stepped(objective, params, batch, **knobs):
    update = step.make_step(objective, UPDATE, **knobs)
    fresh = jax.tree.map(jnp.array, params)  # the step takes what it is given
    after, metrics = update(state.create(fresh, UPDATE, KEY), batch)
    return after.params, metrics


def test_rows_by_hand():
    # the prompts (7 8) and (9), each with two answers
    tokens = [[7, 8, 1, 0], [7, 8, 2, 3], [9, 4, 0, 0], [9, 5, 6, 0]]
    lengths, asked = np.array([3, 4, 2, 3]), np.array([2, 2, 1, 1])
    sequences = from_lengths(np.array(tokens, np.int32), lengths, asked)
    logp = np.where(sequences.loss_mask, np.arange(16.0).reshape(4, 4), 0.0)
    found, aligned = forward.pack_shared_prompts(sequences, logp, answers=2, room=2)
    rows = found.sequences
    assert rows.tokens.tolist() == [[7, 8, 1, 0, 8, 2, 3], [0, 9, 4, 0, 9, 5, 6]]
    assert (rows.segments % BRANCH_STRIDE).tolist() == [
        [1, 1, 1, 0, 1, 1, 1],
        [0, 1, 1, 0, 1, 1, 1],
    ]
    assert (rows.segments // BRANCH_STRIDE)[0].tolist() == [0, 1, 1, 0, 2, 2, 2]
    real = np.asarray(rows.segments) > 0
    positions = np.where(real, rows.positions, 0)
    assert positions.tolist() == [[0, 1, 2, 0, 1, 2, 3], [0, 0, 1, 0, 0, 1, 2]]
    assert aligned.tolist() == [[0, 0, 2, 0, 0, 6, 7], [0, 0, 9, 0, 0, 13, 14]]
    own = found.per_answer(aligned)[:, :3]
    assert own.tolist() == [[0, 2, 0], [0, 6, 7], [0, 9, 0], [0, 13, 14]]
    np.testing.assert_array_equal(own != 0, found.per_answer(rows.loss_mask)[:, :3])


@pytest.mark.parametrize(
    "name, answers",
    quick.only([("grpo", 4)], [("grpo", 2), ("grpo", 4), ("gspo", 4), ("dapo", 2)]),
)
def test_loss_and_gradient_are_those_of_rows_apart(model, params, drawn, name, answers):
    method = group_methods.METHODS[name]
    objective = objectives.group(model, method.loss, method.mean(ROOM), kl_coef=0.3)
    alone, here = stepped(objective, params, apart_of(drawn))
    shared, there = stepped(objective, params, batch_of(drawn, answers))
    # float32: the same numbers, added up in rows of another shape
    chex.assert_trees_all_close(here, there, rtol=2e-5, atol=1e-6)
    chex.assert_trees_all_close(alone, shared, rtol=2e-5, atol=2e-6)
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), alone, params)
    assert min(jax.tree.leaves(moved)) > 1e-5


@pytest.mark.slow
def test_on_eight_devices_in_parts(model, params, drawn):
    method = group_methods.GRPO
    objective = objectives.group(model, method.loss, method.mean(ROOM), kl_coef=0.3)
    alone, here = stepped(objective, params, apart_of(drawn))
    mesh = sharding.make_mesh({"data": 2, "fsdp": 2, "tensor": 2})
    batch = batch_of(drawn, 2)
    with jax.set_mesh(mesh):
        spread, there = stepped(
            objective,
            sharding.place(params, model.specs(), mesh),
            sharding.place_batch(batch, mesh),
            micro_batches=2,
        )
    chex.assert_trees_all_close(here, jax.device_get(there), rtol=2e-5, atol=1e-6)
    chex.assert_trees_all_close(alone, jax.device_get(spread), rtol=2e-5, atol=2e-6)


@pytest.mark.slow
def test_on_policy_is_what_old_log_probs_of_its_own_give(model, params, drawn):
    method, batch = group_methods.GRPO, batch_of(drawn, 4)
    make = lambda **knobs: objectives.group(
        model, method.loss, method.mean(ROOM), kl_coef=0.3, temperature=0.7, **knobs
    )
    rows, apart = batch.sequences.rows(), batch.sequences.per_answer
    logps = jax.jit(lambda p: forward.token_logps(model, p, rows, temperature=0.7))
    known = dataclasses.replace(batch, old_logp=logps(params))
    before, here = stepped(make(), params, known)
    after, there = stepped(make(on_policy=True), params, batch)
    chex.assert_trees_all_close(before, after, rtol=1e-5, atol=1e-7)
    assert there["ratio"] == 1.0 and there["approxkl"] == 0.0
    chex.assert_trees_all_close(here, {n: there[n] for n in here}, rtol=1e-5, atol=1e-6)
    # what it compares, in numpy
    mask = np.asarray(apart(rows.loss_mask))
    told = (known.old_logp, batch.ref_logp, batch.old_logp)
    logp, ref, sampled = (np.asarray(apart(x))[mask] for x in told)
    answers = PROMPTS * SAMPLES
    expected = {
        "kl": (logp - ref).sum() / answers,
        "kl_k3": (np.expm1(ref - logp) - (ref - logp)).sum() / answers,
        "length": mask.sum() / answers,
        "logp_gap": np.abs(logp - sampled).max(),
    }
    found = {name: there[name] for name in expected}
    chex.assert_trees_all_close(found, expected, rtol=1e-4)


def test_answers_that_do_not_count_are_not_compared():
    mask = np.array([[False, True, True], [False, False, False]])
    logp, far = np.zeros((2, 3), np.float32), np.full((2, 3), -9.0, np.float32)
    ref = np.where(mask, np.float32(-0.5), far)
    found = objectives.rollout_diagnostics(logp, ref, np.where(mask, logp, far), mask)
    mean = {name: float(total / weight) for name, (total, weight) in found.items()}
    assert mean["kl"] == 1.0 and mean["length"] == 2.0 and mean["logp_gap"] == 0.0
