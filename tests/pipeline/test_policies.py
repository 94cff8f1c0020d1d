"""Models as experiments load them: what is computed again, and where they lie."""

import collections
import dataclasses

import chex
import jax
import numpy as np
import optax
import pytest

from experiments import ppo, sft
from jaxalign import sharding
from jaxalign.batches import from_lengths
from jaxalign.models import heads, hf_files, rope, transformer, transformer_graph
from jaxalign.models.families import registry
from jaxalign.pipeline import datasets, model_folders, policies
from jaxalign.training import forward, objectives, state, step


@pytest.fixture(scope="module")
def source():
    """The toy data."""
    return datasets.load(sft.Config())


@pytest.fixture(scope="module")
def steps(source):
    """Of each mode, the temporaries of a step, its metrics and its parameters."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 100, (8, 64), dtype=np.int32)
    batch = from_lengths(tokens, np.full(8, 64), np.full(8, 8))
    found = {}
    for remat in ("none", "dots", "full"):
        policy = policies.load(sft.Config(remat=remat, context=64), source, None)
        assert policy.config.remat == remat
        descent = optax.sgd(1.0)  # new - old parameters is -gradient
        current = state.create(policy.params, descent, jax.random.key(0))
        update = step.make_step(objectives.sft(policy.model), descent)
        compiled = update.lower(current, batch).compile()
        after, metrics = update(current, batch)
        temporaries = compiled.memory_analysis().temp_size_in_bytes
        found[remat] = (temporaries, jax.device_get((metrics, after.params)))
    return found


def test_the_shipped_toy_model_runs(small_toy_model, source):
    """0.7 M parameters, counted by hand; the other tests have a smaller toy model."""
    tokenizer, context = policies.tokenizer_of(sft.Config(), source)
    vocabulary = len(tokenizer)
    config = small_toy_model(vocabulary, context, "float32")
    assert config != policies.toy_config(vocabulary, context, "float32")
    model = transformer.language_model(config)
    params = model.init(jax.random.key(0))
    # of 3 layers: 4 projections of attention, 3 of the MLP, and 2 norms
    layer = 4 * 128 * 128 + 3 * 128 * 344 + 2 * 128
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    # with a tied embedding and the last norm
    assert count == 128 * vocabulary + 3 * layer + 128
    assert round(count / 1e6, 1) == 0.7
    batch = from_lengths(np.arange(32)[None], np.array([32]), np.array([8]))
    logp = forward.token_logps(model, params, batch)
    assert np.isfinite(logp).all() and (np.asarray(logp)[:, 8:] < 0).all()


@pytest.mark.slow
def test_remat_takes_less_memory(steps):
    none, dots, full = (steps[remat][0] for remat in ("none", "dots", "full"))
    assert full < dots and full < none


@pytest.mark.slow
@pytest.mark.parametrize("remat", ["dots", "full"])
def test_remat_changes_no_number(steps, remat):
    # the same operations; XLA fuses them otherwise, and float32 rounds otherwise
    chex.assert_trees_all_close(steps[remat][1], steps["none"][1], rtol=1e-5, atol=2e-6)


def test_longer_rows_than_longrope_started_with_all_count_as_long():
    scaling = rope.RopeScaling(
        "longrope", original_context=16, short=(1.0,) * 8, long=(2.0,) * 8
    )
    shape = dataclasses.replace(
        policies.toy_config(32, 64, "float32"), head_dim=16, rope_scaling=scaling
    )
    policy = policies.Policy(transformer.language_model(shape), {}, None, 64)
    assert policies.extend_longrope(policy, 16) is policy
    assert policies.extend_longrope(policy, 17).config.rope_scaling.always_long
    plain = policies.Policy(
        transformer.language_model(policies.toy_config(32, 64, "float32")), {}, None, 64
    )
    assert policies.extend_longrope(plain, 64) is plain


def test_a_folder_is_parsed_once_and_its_model_built_once(
    source, tmp_path, monkeypatch
):
    """With a remat and a dtype that no other test builds a model for."""
    tokenizer, context = policies.tokenizer_of(sft.Config(context=64), source)
    shape = policies.toy_config(len(tokenizer), context, "float32")
    model = transformer.language_model(shape)
    params = model.init(jax.random.key(0))
    model_folders.save(tmp_path, policies.Policy(model, params, tokenizer, context))
    calls = collections.Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counted(*args, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, counted)

    count(hf_files, "read_config_json")
    count(registry, "read_config")
    count(hf_files, "TensorFiles")
    count(transformer_graph, "TransformerGraph")
    config = sft.Config(model=str(tmp_path), dtype="bfloat16", remat="dots")
    policy = policies.load(config, source, None)
    assert policy.config.remat == "dots" and policy.config.dtype == "bfloat16"
    assert calls == dict.fromkeys(
        ("read_config_json", "read_config", "TensorFiles", "TransformerGraph"), 1
    )


@pytest.mark.slow
def test_reward_models_are_cut_as_policies_are(source, tmp_path):
    policy = policies.load(ppo.Config(), source, None)
    model = heads.scalar_model(policy.config)
    made = model.init(jax.random.key(0))
    model_folders.save_scalar(tmp_path, model, made, policy.tokenizer)
    mesh = sharding.make_mesh({"fsdp": 4, "tensor": 2})
    with jax.set_mesh(mesh):
        model, params = model_folders.load_scalar(
            tmp_path, "float32", "full", mesh=mesh
        )
    assert model.config.remat == "full"
    places = sharding.shardings(mesh, model.specs(), params)
    for leaf, place in zip(
        jax.tree.leaves(params), jax.tree.leaves(places), strict=True
    ):
        assert leaf.sharding.is_equivalent_to(place, leaf.ndim)
    np.testing.assert_array_equal(params["embed"], made["embed"])
