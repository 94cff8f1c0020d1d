"""Rollouts: the sampler beside the trainer, and what the value model starts from."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from experiments import ppo
from jaxalign.batches import from_lengths
from jaxalign.models import heads, transformer
from jaxalign.pipeline import (
    model_folders,
    policies,
    ppo_setup,
    rollouts,
    trainable,
)


def test_sampled_logps_are_compared_where_they_count():
    model = transformer.language_model(policies.toy_config(16, 16, "float32"))
    params = model.init(jax.random.key(0))
    sequences = from_lengths(jnp.array([[3, 4, 5, 0]]), jnp.array([3]), jnp.array([1]))
    zero = jnp.zeros((1, 4))
    told = lambda sampled: rollouts.logprobs(
        model, params, params, sequences, sampled, temperature=0.7
    )
    logp, ref_logp, _ = told(zero)
    np.testing.assert_array_equal(logp, ref_logp)
    # half a nat too low at an answer token; anything on the prompt and on padding
    off = logp + jnp.array([[9.0, 0.0, -0.5, 9.0]])
    seen = told(off)[2]
    np.testing.assert_allclose(seen["logp_gap"], 0.5, rtol=1e-5)
    assert seen["kl"] == seen["kl_k3"] == 0.0 and seen["length"] == 2.0


def test_the_value_model_starts_where_it_is_told(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    checked = []
    check = lambda folder, policy: checked.append(str(folder))
    monkeypatch.setattr(model_folders, "check_vocabulary", check)
    monkeypatch.setattr(
        model_folders, "load_scalar", lambda folder, *_, **__: (None, str(folder))
    )
    monkeypatch.setattr(heads, "scalar_model", lambda *args, **kwargs: None)
    monkeypatch.setattr(trainable, "add_scalar_head", lambda *args: "policy")
    policy, folder = SimpleNamespace(config=None, params=None), str(tmp_path)

    def start(**flags):
        config = ppo.Config(**flags)
        return ppo_setup.init_value_model(config, policy, config.value)

    assert start(reward=folder) == (None, folder)
    assert start(reward=folder, value="policy") == (None, "policy")
    assert start(reward="programmed") == (None, "policy")
    assert start(reward="programmed", value=folder) == (None, folder)
    assert checked == [folder] * 2
