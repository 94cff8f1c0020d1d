"""A smaller model with the tokenizer of a larger one, which it learns from."""

import dataclasses
from pathlib import Path

import jax

from jaxalign import streams
from jaxalign.models import transformer
from jaxalign.pipeline import model_folders
from jaxalign.pipeline.policies import Policy


def save_student(folder: Path, teacher: Policy, seed: int) -> Path:
    """Writes a new model of a fifth of the toy's size, untrained, to a folder.

    A folder that has one already is left as it is.
    """
    if (folder / "config.json").exists():
        return folder
    shape = dataclasses.replace(
        teacher.config, width=64, hidden=172, layers=2, heads=2, kv_heads=2
    )
    model = transformer.language_model(shape)
    params = model.init(streams.key(jax.random.key(seed), "student"), None)
    student = dataclasses.replace(teacher, model=model, params=params)
    return model_folders.save(folder, student)
