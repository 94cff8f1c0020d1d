"""What holds for every loss: gradients, jit, extremes, vmap over knobs, form."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxalign import losses
from tests.losses import cases_core, cases_policy, cases_preference

TABLES = (cases_core, cases_policy, cases_preference)
CASES = {name: case for table in TABLES for name, case in table.CASES.items()}
KNOBS = {name: case for table in TABLES for name, case in table.KNOBS.items()}
MODULES = (losses, losses.divergence)
PUBLIC = {
    name: member
    for module in MODULES
    for name, member in inspect.getmembers(module, inspect.isfunction)
    if member.__module__.startswith("jaxalign.losses")
}


@pytest.mark.parametrize("name", CASES)
def test_gradients_agree_with_finite_differences(name):
    loss, arrays = CASES[name]
    # float64, where central differences of step 1e-6 are exact to about 1e-10 / 1e-6
    with jax.enable_x64(True):
        wide = tuple(jnp.asarray(a, jnp.float64) for a in arrays)
        check_grads(loss, wide, order=1, modes=["rev"], atol=1e-4, rtol=1e-4, eps=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_eager_equals_jit(name):
    loss, arrays = CASES[name]
    chex.assert_trees_all_close(jax.jit(loss)(*arrays), loss(*arrays), rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extremes_are_finite(name, size):
    loss, arrays = CASES[name]
    signs = [np.where(np.arange(a.size).reshape(a.shape) % 2, 1, -1) for a in arrays]
    far = tuple((s * size).astype(np.float32) for s in signs)
    every = tuple(range(len(far)))
    total = lambda *x: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(loss(*x)))
    chex.assert_tree_all_finite(jax.value_and_grad(total, every)(*far))


@pytest.mark.parametrize("name", KNOBS)
def test_vmap_over_knobs(name):
    each = [KNOBS[name](k) for k in (0.1, 0.7)]
    assert (each[0] != each[1]).any()
    found = jax.vmap(KNOBS[name])(jnp.array([0.1, 0.7]))
    chex.assert_trees_all_close(found, jnp.stack(each), rtol=1e-5, atol=1e-7)


def public_name(case):
    """The function that a case is of: cases of one function differ after a plus."""
    return case.split("+")[0]


def test_every_loss_is_in_the_tables():
    assert set(map(public_name, CASES)) >= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_knobs_are_in_the_tables(name):
    kinds = {p.kind for p in inspect.signature(PUBLIC[name]).parameters.values()}
    knobs = inspect.Parameter.KEYWORD_ONLY in kinds
    assert not knobs or name in set(map(public_name, KNOBS)), name


@pytest.mark.parametrize("name", PUBLIC)
def test_public_form(name):
    """An equation, a source and a doctest; data positional, shapes in the signature."""
    text = inspect.getdoc(PUBLIC[name])
    assert "Reference: " in text and ">>> " in text and " = " in text
    for parameter in inspect.signature(PUBLIC[name]).parameters.values():
        shaped = hasattr(parameter.annotation, "dims")
        assert not shaped or parameter.kind is not inspect.Parameter.KEYWORD_ONLY
