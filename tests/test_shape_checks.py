"""The check of shapes and dtypes: conversions, and errors of one line."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.types import Array, Bool, Float, Int, Scalar, typed

X = np.array([0.5, -1.0, 2.0], np.float32)
TOKENS = np.ones((3, 2), np.float32)


@typed
def example(
    x: Float[Array, "*B"],
    tokens: Float[Array, "*B T"],
    mask: Bool[Array, "*B T"] | None = None,
    ids: Int[Array, "*B"] | None = None,
    *,
    scale: Scalar = 1.0,
    margin: Scalar | Float[Array, "*B"] = 0.0,
    steps: int = 1,
    after: Callable[[Array], Array] = lambda x: x,
) -> Float[Array, "*B"]:
    return after(scale * x - margin + jnp.sum(tokens, axis=-1))


CASES = {
    "a size": (
        ([X, TOKENS[:2]], {}),
        "example: x [3] and tokens [2 2] differ in B",
    ),
    "two axes for one": (
        ([TOKENS, TOKENS], {}),
        "example: x [3 2] and tokens [3 2] differ in B",
    ),
    "the same layout": (
        ([X, TOKENS, TOKENS[:, :1] > 0], {}),
        "example: tokens [3 2] and mask [3 1] differ",
    ),
    "a missing axis": (
        ([X, 1.0], {}),
        "example: tokens has shape []; expected [*B T]",
    ),
    "a dtype": (
        ([np.arange(3), TOKENS], {}),
        "example: x is int64 [3]; expected float",
    ),
    "integers for a mask": (
        ([X, TOKENS, np.ones((3, 2), np.int32)], {}),
        "example: mask is int32 [3 2]; expected bool",
    ),
    "no array": (
        (["abc", TOKENS], {}),
        "example: x is 'abc'; expected float [*B]",
    ),
    "a vector for a number": (
        ([X, TOKENS], {"scale": X}),
        "example: scale has shape [3]; expected a number",
    ),
    "a list for a number": (
        ([X, TOKENS], {"scale": [1.0]}),
        "example: scale is [1.0]; expected a number",
    ),
    "a vector of another length": (
        ([X, TOKENS], {"margin": X[:2]}),
        "example: x [3] and margin [2] differ",
    ),
    "another type": (
        ([X, TOKENS], {"steps": "many"}),
        "example: steps is 'many'; expected int",
    ),
    "a missing argument": ([[X], {}], "example: missing a required argument: 'tokens'"),
    "an unknown argument": (
        ([X, TOKENS], {"size": 1}),
        "example: got an unexpected keyword argument 'size'",
    ),
    "a result": (
        ([X, TOKENS], {"after": lambda x: x[None]}),
        "example: the result is f32[1,3](jax); expected float [*B]",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_errors_are_one_line(name):
    (args, kwargs), text = CASES[name]
    with pytest.raises(TypeError) as error:
        example(*args, **kwargs)
    assert str(error.value) == text


def test_ragged_lists_are_one_line():
    with pytest.raises(TypeError, match=r"\Aexample: tokens is not an array.*\Z"):
        example(X, [[1.0], [1.0, 2.0], [1.0]])


def test_errors_of_the_function_itself_are_left_alone():
    def fail(x):
        raise TypeError("its own\nerror")

    with pytest.raises(TypeError, match=r"\Aits own\nerror\Z"):
        example(X, TOKENS, after=fail)


def test_the_error_is_the_same_while_tracing():
    with pytest.raises(TypeError, match=r"\Aexample: x \[3\] and tokens \[2 2\]"):
        jax.jit(example)(X, TOKENS[:2])


def test_lists_and_numbers_become_arrays():
    # sum over T is 2: x + 2 - margin
    expected = [1.5, 0.0, 3.0]
    terms = example(X.tolist(), TOKENS.tolist(), margin=[1.0, 1.0, 1.0])
    np.testing.assert_array_equal(terms, expected)
    np.testing.assert_array_equal(example([1, 2, 3], TOKENS), [3.0, 4.0, 5.0])
    assert float(example(1, [1, 1], margin=np.int32(1))) == 2.0


@pytest.mark.parametrize("number", [2, 2.0, np.float32(2), np.int64(2), jnp.int32(2)])
def test_hyperparameters_are_any_number(number):
    np.testing.assert_array_equal(example(X, TOKENS, scale=number), 2 * X + 2)


def test_numbers_stay_as_weakly_typed_as_they_are():
    # a Python number takes the other's dtype, an array of float32 does not
    tokens = jnp.ones(2, jnp.bfloat16)
    assert example(1.0, tokens).dtype == jnp.bfloat16
    assert example(1, tokens).dtype == jnp.bfloat16
    assert example(np.float32(1), tokens).dtype == jnp.float32


def test_arrays_pass_as_they_are():
    inputs = []

    @typed
    def keep(x: Float[Array, "*B"]) -> Float[Array, "*B"]:
        inputs.append(x)
        return x

    for x in (X, jnp.asarray(X)):
        keep(x)
        assert inputs[-1] is x
