"""Estimators of answers and groups: any leading axes, numbers and lists."""

import inspect

import chex
import jax
import numpy as np
import pytest

from jaxalign import estimators
from tests.losses.arguments import arguments_of, hyperparameters_of, layouts

FUNCTIONS = {
    name: function
    for name, function in inspect.getmembers(estimators, inspect.isfunction)
    if any(layout.startswith("*") for layout, _ in layouts(function).values())
}


def evaluate(name, arrays):
    """The estimator at these arrays, and hyperparameters of its own."""
    positional, keywords = hyperparameters_of(FUNCTIONS[name])
    return FUNCTIONS[name](*arrays, *positional, **keywords)


def test_all_but_hidden_states_and_controllers_take_any_rank():
    others = {n for n, _ in inspect.getmembers(estimators, inspect.isfunction)}
    assert others - set(FUNCTIONS) == {
        *("token_logprobs", "token_statistics", "next_token_logprobs"),
        *("next_token_kl", "next_token_log_sum_square", "target_statistics"),
        "map_logits",
        *("adaptive_kl_coefficient", "proportional_kl_coefficient"),
    }


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(2, 3), (1, 3, 2)])
def test_more_axes_are_the_same_numbers(name, shape):
    flat = evaluate(name, arguments_of(FUNCTIONS[name], (6,)))
    more = evaluate(name, arguments_of(FUNCTIONS[name], shape))
    assert all(x.shape[: len(shape)] == shape for x in jax.tree.leaves(more))
    more = jax.tree.map(lambda x, y: x.reshape(y.shape), more, flat)
    # the same float32 sums, which XLA may add in another order for another shape
    chex.assert_trees_all_close(more, flat, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_answer_needs_no_axis_and_may_be_lists(name):
    arguments = [x[:1] for x in arguments_of(FUNCTIONS[name], (6,))]
    batch = evaluate(name, arguments)
    one = evaluate(name, [x[0].tolist() for x in arguments])
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x[None], one), batch, rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_shapes_are_one_line(name):
    names = list(layouts(FUNCTIONS[name]))
    arguments = arguments_of(FUNCTIONS[name], (6,))
    if len(names) == 1:
        return
    arguments[-1] = np.concatenate([arguments[-1]] * 2)
    with pytest.raises(TypeError, match=rf"\A{name}: {names[0]} .* differ.*\Z"):
        evaluate(name, arguments)
