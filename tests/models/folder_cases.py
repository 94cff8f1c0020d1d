"""Folders of tiny models for the tests of untrusted files."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxalign.models import pretrained
from jaxalign.models.families import registry
from jaxalign.models.families.tensor_table import mapping_table


def write_folder(folder, config_json, *, reward=False, shapes=None):
    """Write a config.json, and the tensors that it asks for, full of zeros.

    Args:
      shapes: of tensors with another shape than the config's, by name.
    """
    (folder / "config.json").write_text(json.dumps(config_json))
    config = registry.read_config(config_json, "config.json", reward=reward)
    tensors = {x.name: x.shape for x in mapping_table(config)} | (shapes or {})
    other_head = "score." if not reward else "lm_head"
    zeros = {
        name: np.zeros(shape, np.float32)
        for name, shape in tensors.items()
        if not name.startswith(other_head)
    }
    save_file(zeros, folder / "model.safetensors")


def rewrite(folder, **changes):
    """Change fields of config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def error_of(folder):
    """The message of the error that loading a folder raises: one line."""
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        pretrained.load(folder)
    text = str(error.value)
    assert "\n" not in text and len(text) < 600, text
    return text
