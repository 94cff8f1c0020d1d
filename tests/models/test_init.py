"""New parameters: their key, shardings and scales."""

import chex
import jax
import numpy as np
import pytest

from jaxalign import sharding


@pytest.fixture(scope="module")
def initial(tiny):
    return tiny.init(jax.random.key(5))


def test_init_is_determined_by_its_key(tiny, initial):
    chex.assert_trees_all_equal(tiny.init(jax.random.key(5)), initial)
    other = tiny.init(jax.random.key(6))
    assert not np.array_equal(other["embed"], initial["embed"])
    # layers differ from each other
    assert not np.array_equal(*initial["blocks"]["attention"]["query"][:2])


def test_init_on_a_mesh_is_sharded(tiny, initial):
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    sharded = tiny.init(jax.random.key(5), mesh)
    places = sharding.shardings(mesh, tiny.specs(), initial)
    jax.tree.map(lambda x, s: chex.assert_equal(x.sharding, s), sharded, places)
    # the same numbers wherever they are made, up to the compiler's multiply-adds
    chex.assert_trees_all_close(
        jax.device_get(sharded), jax.device_get(initial), rtol=1e-6
    )


def test_init_scale(initial):
    """Weights keep the variance of what they read; what is added shrinks by 2 L."""
    at, ff = initial["blocks"]["attention"], initial["blocks"]["feed_forward"]
    expected = [
        (ff["gate"], 24**-0.5),
        (at["query"], 24**-0.5),
        (ff["down"], (36 * 2 * 3) ** -0.5),
        (at["out"], (6 * 8 * 2 * 3) ** -0.5),
        (initial["embed"], 24**-0.5),
    ]
    for leaf, std in expected:
        # n >= 528 numbers: the standard error of std is std / sqrt(2 n) <= 3.1 %
        np.testing.assert_allclose(np.std(leaf), std, rtol=0.1)
    np.testing.assert_array_equal(initial["norm"]["scale"], 1.0)
