"""The loop's state as it is saved, and the groups of metrics."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.runtime.loop import json_values
from jaxalign.runtime.metrics_logger import merge_groups
from jaxalign.training import reward_shift


def test_extras_keep_every_bit_of_arrays():
    """A float32 is a float64 exactly, and JSON has the shortest text of a float64."""
    third = jnp.float32(1.0) / jnp.float32(3.0)
    shift = reward_shift.RewardShift(jnp.float32(4.0), third)
    extras = {"beta": third, "shift": shift, "moments": None, "steps": [1, third]}
    values = json_values(extras)
    assert json.loads(json.dumps(values)) == values
    assert values["shift"] == reward_shift.to_json(shift)
    assert values["moments"] is None and values["steps"][0] == 1
    for value in (values["beta"], values["shift"][1], values["steps"][1]):
        assert np.float32(value) == np.float32(third)


def test_a_metric_of_two_groups_names_both():
    with pytest.raises(ValueError, match="'kl' is in two groups, rollout and update"):
        merge_groups({"rollout": {"kl": 1.0}, "update": {"loss": 0.0, "kl": 1.0}})
