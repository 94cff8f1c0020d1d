"""One device and eight (2x2x2): the same loss and gradients, to float32 rounding."""

import chex
import jax
import numpy as np
import optax
import pytest

from jaxalign import sharding
from jaxalign.models import config, transformer
from jaxalign.training import objectives, state, step

KEY = jax.random.key(0)
SHAPE = {"data": 2, "fsdp": 2, "tensor": 2}


@pytest.fixture(scope="module")
def model():
    return transformer.language_model(
        config.ModelConfig(
            vocab_size=16,
            width=16,
            hidden=32,
            layers=2,
            heads=4,
            kv_heads=2,
            head_dim=8,
            context=12,
            rope_theta=1e4,
            norm_eps=1e-5,
            tied=False,
            dtype="float32",
            param_dtype="float32",
            remat="none",
        )
    )


@pytest.mark.parametrize("name", ["sft", "dpo", "token_dpo1"])
def test_eight_devices_equal_one(model, rows, pairs, name):
    params = jax.jit(model.init)(KEY)
    fixed = ()
    if name == "sft":
        objective, batch = objectives.sft(model), rows(16)
    else:
        objective = objectives.preference(model, objectives.pairwise(name, beta=0.1))
        batch = pairs(16)
    if name == "dpo":
        refs = np.random.default_rng(1).uniform(-30, -10, (2, 16)).astype(np.float32)
        batch = objectives.PairsWithReference(batch, *refs)
    if name == "token_dpo1":  # whose reference runs in the step
        fixed = (jax.jit(model.init)(jax.random.key(7)),)
    # Plain descent at rate 1: new - old parameters is -gradient.
    one = step.make_step(objective, optax.sgd(1.0))
    alone, here = one(state.create(params, optax.sgd(1.0), KEY), batch, *fixed)
    mesh = sharding.make_mesh(SHAPE)
    many = step.make_step(objective, optax.sgd(1.0), micro_batches=2)
    before = sharding.place(params, model.specs(), mesh)
    assert len({str(x.sharding.spec) for x in jax.tree.leaves(before)}) > 1
    with jax.set_mesh(mesh):
        spread, there = many(
            state.create(before, optax.sgd(1.0), KEY),
            sharding.place_batch(batch, mesh),
            *(sharding.place(x, model.specs(), mesh) for x in fixed),
        )
    # float32 sums in another order
    chex.assert_trees_all_close(here, jax.device_get(there), rtol=2e-5, atol=1e-6)
    chex.assert_trees_all_close(
        jax.device_get(alone.params),
        jax.device_get(spread.params),
        rtol=1e-5,
        atol=2e-6,
    )
    # and nothing has moved: the next step finds its input where this one did
    for after, placed in zip(
        jax.tree.leaves(spread.params), jax.tree.leaves(before), strict=True
    ):
        assert after.sharding.is_equivalent_to(placed.sharding, after.ndim)
