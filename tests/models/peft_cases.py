"""Adapters for the tests of PEFT's format, and the files that PEFT writes."""

import json

import jax
import numpy as np
from safetensors.numpy import load_file, save_file

from jaxalign.models import lora, pretrained
from jaxalign.models.peft_settings import CONFIG
from jaxalign.models.peft_tensors import TENSORS

# differences of float32 weights near 1: their rounding, and that of a product's sum;
# twice that where two products are subtracted
ROUNDING, TWICE = 1e-5, 2e-5
KEY = jax.random.key(0)
ALL = "attention.*|feed_forward.*"
FUSED = ["phi3", "gpt2", "gpt_neox"]  # their queries, keys and values are one matrix


def logits_of(model, params, rows):
    hidden = model.hidden(params, rows.tokens, rows.positions, rows.segments)
    return np.asarray(hidden @ model.unembed(params))


def adapter_of(params, targets, rank=2):
    """An adapter without zeros."""
    adapter = lora.init(KEY, params, rank=rank, targets=targets)
    noise = lambda x: 0.1 * np.random.default_rng(1).normal(size=x.shape)
    return jax.tree.map(lambda x: x + noise(x).astype(np.float32), adapter)


def changes_of(model, params, loaded, folder):
    """The change of each tensor of a saved model by an adapter, of those that change.

    Args:
      loaded: the adapter and its scale.
    """
    adapter, scale = loaded
    merged = lora.merge(lora.attach(params, adapter, scale=scale))
    pretrained.save(folder / "new", model, merged)
    pretrained.save(folder / "old", model, params)
    new, old = (load_file(folder / x / "model.safetensors") for x in ("new", "old"))
    return {x: new[x] - old[x] for x in old if not np.array_equal(new[x], old[x])}


def write_adapter(folder, tensors, **settings):
    """Write an adapter of rank 4 and alpha 8, as PEFT does."""
    prefix = "base_model.model."
    save_file({prefix + k: x for k, x in tensors.items()}, folder / TENSORS)
    defaults = {"peft_type": "LORA", "r": 4, "lora_alpha": 8}
    (folder / CONFIG).write_text(json.dumps(defaults | settings))
    return folder


def module(layer, name):
    """The name of a module of a layer's attention in the file."""
    return f"model.layers.{layer}.self_attn.{name}"
