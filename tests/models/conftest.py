"""A tiny transformer, and rows of different lengths."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxalign.batches import TokenBatch, from_lengths
from jaxalign.models import peft, transformer
from jaxalign.models.config import ModelConfig
from jaxalign.models.families import registry
from jaxalign.types import LanguageModel, Params
from tests.models import folder_cases, peft_cases
from tests.support.families import FAMILIES

# Six query heads share three key heads; head_dim * heads is not the width.
TINY = ModelConfig(
    vocab_size=22,
    width=24,
    hidden=36,
    layers=3,
    heads=6,
    kv_heads=3,
    head_dim=8,
    context=32,
    tied=False,
)
LENGTHS = np.array([9, 4, 1, 7], np.int32)


@pytest.fixture(scope="session")
def tiny() -> LanguageModel:
    return transformer.language_model(TINY)


@pytest.fixture(scope="session")
def variant():
    """A function: the tiny model with other fields of its configuration."""
    return lambda **changes: transformer.language_model(
        dataclasses.replace(TINY, **changes)
    )


@pytest.fixture(scope="session", params=FAMILIES)
def family(request) -> str:
    """Each family in turn."""
    return request.param


@pytest.fixture(scope="session")
def settings():
    """A function: the fields of the config.json of a family's tiny model."""

    def of(name: str, *, reward: bool = False) -> dict[str, Any]:
        table = registry.FAMILIES[name]
        head = table.reward if reward else table.language
        ours = {"architectures": [head], "model_type": name}
        return FAMILIES[name] | ours | ({"num_labels": 1} if reward else {})

    return of


@pytest.fixture(scope="session")
def tiny_of(settings):
    """A function: a family's tiny model, its layers scanned to compile faster."""

    def of(name: str, **changes: Any) -> LanguageModel:
        config = registry.read_config(settings(name), name)
        changed = dataclasses.replace(config, **{"unroll": 1} | changes)
        return transformer.language_model(changed)

    return of


@pytest.fixture(scope="session")
def draw():
    """A function: parameters of a model from numpy; compiling `init` takes seconds."""

    def make(model: Any) -> Params:
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(model.init, jax.random.key(0))

        # norms differ from 1, which would hide where they are applied
        def draw_leaf(path: tuple[Any, ...], x: jax.ShapeDtypeStruct) -> jax.Array:
            mean = 1.0 if path[-1].key == "scale" else 0.0
            return jnp.asarray(rng.normal(mean, 0.25, x.shape), x.dtype)

        return jax.tree_util.tree_map_with_path(draw_leaf, shapes)

    return make


@pytest.fixture(scope="session")
def params(tiny, draw) -> Params:
    return draw(tiny)


@pytest.fixture(scope="session")
def rows() -> TokenBatch:
    tokens = np.random.default_rng(0).integers(0, TINY.vocab_size, (4, 9))
    return from_lengths(tokens.astype(np.int32), LENGTHS, np.ones(4, np.int32))


@pytest.fixture(scope="session")
def hidden(tiny, params):
    """The forward pass of a batch: [B T D], as numpy."""
    compiled = jax.jit(tiny.hidden)

    def run(batch: TokenBatch) -> np.ndarray:
        read = compiled(params, batch.tokens, batch.positions, batch.segments)
        return np.asarray(read)

    return run


@pytest.fixture(scope="session")
def adapter(params) -> Params:
    """An adapter of rank 4 without zeros."""
    return peft_cases.adapter_of(params, "query|out|gate|down", rank=4)


@pytest.fixture
def saved(tiny, adapter, tmp_path):
    """The adapter in PEFT's format, with alpha 8."""
    peft.save(tmp_path, tiny, adapter, alpha=8.0, base="somewhere")
    return tmp_path


@pytest.fixture(scope="module")
def tiny_folder(settings, tmp_path_factory):
    """A function: a folder of a family, its tensors full of zeros."""

    def make(family: str, *, reward: bool = False, **changes: Any) -> Path:
        folder = tmp_path_factory.mktemp(family)
        config_json = settings(family, reward=reward) | changes
        folder_cases.write_folder(folder, config_json, reward=reward)
        return folder

    return make
