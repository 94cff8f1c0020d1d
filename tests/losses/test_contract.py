"""The contract of every loss: gradients, jit, extremes, any rank, numbers, form."""

import inspect
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxalign import losses
from tests.losses import cases_core, cases_policy, cases_preference
from tests.losses.arguments import arguments_of, hyperparameters_of, is_float, layouts

TABLES = (cases_core, cases_policy, cases_preference)
CASES = {name: case for table in TABLES for name, case in table.CASES.items()}
HYPERPARAMETERS = {
    name: case for table in TABLES for name, case in table.HYPERPARAMETERS.items()
}
MODULES = (losses, losses.divergence)
PUBLIC = {
    name: member
    for module in MODULES
    for name, member in inspect.getmembers(module, inspect.isfunction)
    if member.__module__.startswith("jaxalign.losses")
}
# All but those that sort the batch, and the one that makes a function.
ANY_RANK = [
    name for name in PUBLIC if name not in ("aot", "aot_unpaired", "alpha_score")
]


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


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_vmap_over_hyperparameters(name):
    loss = HYPERPARAMETERS[name]
    each = [loss(k) for k in (0.1, 0.7)]
    assert (each[0] != each[1]).any()
    mapped = jax.vmap(loss)(jnp.array([0.1, 0.7]))
    chex.assert_trees_all_close(mapped, jnp.stack(each), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", HYPERPARAMETERS)
def test_numpy_scalars_are_hyperparameters(name):
    loss = HYPERPARAMETERS[name]
    chex.assert_trees_all_close(loss(np.float32(0.3)), loss(0.3), rtol=1e-5)


@pytest.mark.parametrize("name", ANY_RANK)
@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 2)])
def test_more_axes_are_the_same_terms(name, shape):
    flat = evaluate(name, arguments_of(PUBLIC[name], (6,)))
    terms = evaluate(name, arguments_of(PUBLIC[name], shape))
    if name not in REDUCED:
        assert all(x.shape == shape for x in jax.tree.leaves(terms))
    terms = jax.tree.map(lambda x, y: x.reshape(y.shape), terms, flat)
    chex.assert_trees_all_close(terms, flat, rtol=1e-6)


@pytest.mark.parametrize("name", ANY_RANK)
def test_one_element_needs_no_axis(name):
    arguments = arguments_of(PUBLIC[name], (6,))
    batch = evaluate(name, [x[:1] for x in arguments])
    forms = {
        "arrays": [jnp.asarray(x[0]) for x in arguments],
        "numpy scalars": [x[0] for x in arguments],
        "Python numbers and lists": [x[0].tolist() for x in arguments],
    }
    for form in forms.values():
        terms = evaluate(name, form)
        assert all(x.ndim == 0 for x in jax.tree.leaves(terms))
        terms = jax.tree.map(lambda x, y: x.reshape(y.shape), terms, batch)
        chex.assert_trees_all_close(terms, batch, rtol=1e-6)


@pytest.mark.parametrize("name", [n for n in PUBLIC if n != "alpha_score"])
def test_lists_are_arrays(name):
    arguments = arguments_of(PUBLIC[name], (6,))
    terms = evaluate(name, [x.tolist() for x in arguments])
    chex.assert_trees_all_close(terms, evaluate(name, arguments), rtol=1e-6)


@pytest.mark.parametrize("name", ANY_RANK)
def test_vmap_of_grad_is_the_gradient_of_the_sum(name):
    arguments = arguments_of(PUBLIC[name], (6,))
    floats = tuple(i for i, x in enumerate(arguments) if is_float(x))
    total = lambda *x: sum(jnp.sum(y) for y in jax.tree.leaves(evaluate(name, x)))
    each = jax.vmap(jax.grad(total, floats))(*arguments)
    chex.assert_trees_all_close(
        each, jax.grad(total, floats)(*arguments), rtol=1e-5, atol=1e-7
    )


def test_vmap_of_grad_over_log_ratio_margins():
    # d/dm of -log sigmoid(beta m) = -beta / (1 + exp(beta m))
    margins = np.array([-3.0, 0.0, 5.0], np.float32)
    loss = lambda m: losses.dpo(m, 0.0, 0.0, 0.0, beta=0.1)
    gradients = -0.1 / (1.0 + np.exp(0.1 * margins))
    np.testing.assert_allclose(jax.vmap(jax.grad(loss))(margins), gradients, rtol=1e-6)


def test_a_wrong_shape_is_one_line():
    chosen, rejected = np.zeros(8, np.float32), np.zeros(7, np.float32)
    with pytest.raises(TypeError) as error:
        losses.dpo(chosen, rejected, chosen, chosen, beta=0.1)
    assert str(error.value) == "dpo: chosen [8] and rejected [7] differ"


@pytest.mark.parametrize("name", PUBLIC)
def test_wrong_shapes_and_dtypes_name_the_function_and_the_arguments(name):
    names = list(layouts(PUBLIC[name]))
    if not names:
        return  # a function of a hyperparameter only
    arguments = arguments_of(PUBLIC[name], (6,))
    if len(names) > 1:
        longer = [*arguments[:-1], np.concatenate([arguments[-1]] * 2)]
        with pytest.raises(TypeError, match=rf"{names[-1]} \[12.*differ") as error:
            evaluate(name, longer)
    else:
        with pytest.raises(TypeError, match="expected float") as error:
            evaluate(name, [np.arange(6)])
    text = str(error.value)
    assert text.startswith(f"{name}: {names[0]} ") and "\n" not in text


# Those that return sums, of whatever axes there are.
REDUCED = ("token_mean", "sequence_mean", "constant_length_mean")


def evaluate(name, arrays):
    """A public loss at these arrays, and hyperparameters of its own."""
    positional, keywords = hyperparameters_of(PUBLIC[name])
    return PUBLIC[name](*arrays, *positional, **keywords)


def public_name(case):
    """The function that a case is of: cases of one function differ after a plus."""
    return case.split("+")[0]


def test_every_loss_is_in_the_tables():
    assert set(map(public_name, CASES)) >= set(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_hyperparameters_are_in_the_tables(name):
    kinds = {p.kind for p in inspect.signature(PUBLIC[name]).parameters.values()}
    has_any = inspect.Parameter.KEYWORD_ONLY in kinds
    assert not has_any or name in set(map(public_name, HYPERPARAMETERS)), name


@pytest.mark.parametrize("name", PUBLIC)
def test_public_form(name):
    """An equation, arguments, result, source, doctest; arrays are positional."""
    text = inspect.getdoc(PUBLIC[name])
    for part in (" = ", "Args:\n", "Returns:\n", "Reference: ", ">>> "):
        assert part in text, part
    described = text.split("Args:\n")[1].split("Reference: ")[0]
    for parameter in inspect.signature(PUBLIC[name]).parameters.values():
        assert re.search(rf"\b{parameter.name}\b", described), parameter.name
        keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.name not in layouts(PUBLIC[name]) or not keyword_only
