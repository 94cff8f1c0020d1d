"""One device and eight, cut in any way: the same numbers, to float32 rounding.

With JAXALIGN_EVERY_MESH in the environment, every objective on every mesh.
"""

import os

import chex
import jax
import numpy as np
import optax
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jaxalign import sampling, sharding
from jaxalign.models import transformer
from jaxalign.training import state, step
from tests.support import quick
from tests.training import mesh_cases

KEY = jax.random.key(0)
SHAPES = [  # with so many micro-batches
    ({"data": 8}, 1),
    ({"fsdp": 8}, 2),
    ({"tensor": 8}, 4),
    ({"data": 2, "fsdp": 2, "tensor": 2}, 2),
]
EVERY = [(name, *shape) for name in mesh_cases.NAMES for shape in SHAPES]
# PPO's is the objective with the most in it: a policy, values, entropies. Pairwise
# losses differ in what they make of a pair's numbers: a few stand for them.
SOME = ("sft", "reward", "ranking", "kto", "group", "dpo_answers", "wpo", "tdpo1")
FEW = [(n, s, m) for n, s, m in EVERY if n == "ppo" or n in SOME and len(s) == 3]
BOTH = [(n, s, m) for n, s, m in FEW if n in ("ppo", "dpo_answers") and len(s) == 3]


def place(batch, mesh):
    """Rows are split; a number of the whole batch is everywhere."""
    whole = NamedSharding(mesh, PartitionSpec())
    put = lambda x: (
        sharding.place_batch(x, mesh) if np.ndim(x) else jax.device_put(x, whole)
    )
    return jax.tree.map(put, batch)


@pytest.mark.parametrize(
    "name, shape, micro",
    quick.only(BOTH, EVERY if "JAXALIGN_EVERY_MESH" in os.environ else FEW),
    ids=str,
)
def test_eight_devices_equal_one(rows, pairs, unpaired, name, shape, micro):
    case = mesh_cases.make_case(name, rows, pairs, unpaired)
    # Plain descent at rate 1: new - old parameters is -gradient.
    one = step.make_step(case.objective, optax.sgd(1.0))
    begun = state.create(case.params, optax.sgd(1.0), KEY)
    alone, here = one(begun, case.batch, *case.fixed)
    mesh = sharding.make_mesh(shape)
    many = step.make_step(
        case.objective, optax.sgd(1.0), micro_batches=micro if case.parts else 1
    )
    before = sharding.place(case.params, case.specs, mesh)
    cuts = {str(x.sharding.spec) for x in jax.tree.leaves(before)}
    assert len(cuts) > 1 or shape == {"data": 8}
    with jax.set_mesh(mesh):
        spread, there = many(
            state.create(before, optax.sgd(1.0), KEY),
            place(case.batch, mesh),
            *(
                sharding.place(x, case.specs, mesh) if isinstance(x, dict) else x
                for x in case.fixed
            ),
        )
    # float32 sums in another order: what they lose grows with what is added up, and
    # losses such as IPO's square and f-DPO's exponential have gradients of hundreds
    lost = 2e-6 * max(1.0, float(here["grad_norm"]))
    chex.assert_trees_all_close(here, jax.device_get(there), rtol=2e-5, atol=1e-6)
    chex.assert_trees_all_close(
        jax.device_get(alone.params),
        jax.device_get(spread.params),
        rtol=1e-5,
        atol=lost,
    )
    # and nothing has moved: the next step finds its input where this one did
    for after, placed in zip(
        jax.tree.leaves(spread.params), jax.tree.leaves(before), strict=True
    ):
        assert after.sharding.is_equivalent_to(placed.sharding, after.ndim)


@pytest.mark.parametrize(
    "shape",
    quick.only(
        [shape for shape, _ in SHAPES if len(shape) == 3], [s for s, _ in SHAPES]
    ),
    ids=str,
)
def test_answers_are_the_same_on_any_mesh(rows, shape):
    model = transformer.language_model(mesh_cases.CONFIG)
    params, batch = jax.jit(model.init)(KEY), rows(8)
    lengths = np.asarray(batch.lengths, np.int32) // 2 + 1
    tokens = np.asarray(batch.tokens)[:, :8]
    draw = lambda params, *told: sampling.generate(
        model,
        params,
        *told,
        jax.random.key(5),
        sampling.SamplingParams(max_new_tokens=4, stop_tokens=(3,)),
    )
    expected = draw(params, tokens, np.minimum(lengths, 8))
    mesh = sharding.make_mesh(shape)
    with jax.set_mesh(mesh):
        placed = sharding.place_batch((tokens, np.minimum(lengths, 8)), mesh)
        found = draw(sharding.place(params, model.specs(), mesh), *placed)
    # none of these draws lies so near to the edge of a token that rounding moves it
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_allclose(found.logp, expected.logp, rtol=1e-5, atol=1e-6)
