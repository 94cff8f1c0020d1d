"""Sampling parameters: ranges of the fields, and what a program is compiled for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.sampling import SamplingParams


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("max_new_tokens", 0, "max_new_tokens is 0; it must be at least 1"),
        ("samples", 0, "samples is 0; it must be at least 1"),
        ("top_k", 0, "top_k is 0; it must be at least 1"),
        ("top_p", 0.0, r"top_p is 0.0; it must be in \(0, 1\]"),
        ("top_p", 1.1, r"top_p is 1.1; it must be in \(0, 1\]"),
        ("temperature", -1.0, "temperature is -1.0; it must be at least 0"),
        ("temperature", np.float32(-0.5), "temperature is -0.5"),
    ],
)
def test_a_field_out_of_range_is_refused_by_its_name(field, value, message):
    with pytest.raises(ValueError, match=message):
        SamplingParams(**{"max_new_tokens": 2, field: value})


def test_the_temperature_is_the_only_leaf():
    settings = SamplingParams(max_new_tokens=3, temperature=0.5, stop_tokens=[1, 2])
    assert jax.tree.leaves(settings) == [0.5]
    assert settings.stop_tokens == (1, 2)
    assert hash(settings) == hash(
        SamplingParams(max_new_tokens=3, temperature=0.5, stop_tokens=(1, 2))
    )
    halved = jax.tree.map(lambda x: x / 2, settings)
    assert halved == SamplingParams(
        max_new_tokens=3, temperature=0.25, stop_tokens=(1, 2)
    )


@pytest.mark.parametrize(
    "temperature", [1, 1.0, np.float64(1), np.array(1, np.int32), jnp.bfloat16(1)]
)
def test_kinds_of_numbers_share_a_program(temperature):
    settings = SamplingParams(max_new_tokens=2, temperature=temperature)
    array = settings.with_float32_temperature().temperature
    assert array.dtype == jnp.float32 and not array.weak_type and array == 1.0


def test_other_fields_are_compiled_in():
    structure = lambda **fields: jax.tree.structure(
        SamplingParams(**{"max_new_tokens": 2} | fields)
    )
    assert structure(temperature=0.1) == structure(temperature=0.9)
    others = [{"top_k": 3}, {"top_p": 0.5}, {"samples": 2}, {"stop_tokens": (1,)}]
    assert all(structure(**other) != structure() for other in others)
