"""A tiny policy of the toy world that nobody trained, where any policy will do."""

import dataclasses
from pathlib import Path

import jax

from jaxalign.data import tokenizer as tokenizers
from jaxalign.data import toy_world
from jaxalign.models import heads, transformer
from jaxalign.pipeline import model_folders, policies


def policy() -> policies.Policy:
    """The policy itself."""
    shown = [toy_world.demonstration(0, i).messages for i in range(50)]
    texts = [message["content"] for messages in shown for message in messages]
    tokenizer = tokenizers.train(texts, vocab_size=261)
    small = {"width": 32, "hidden": 48, "layers": 1, "heads": 2, "kv_heads": 2}
    shape = policies.toy_config(len(tokenizer), 96, "float32")
    model = transformer.language_model(dataclasses.replace(shape, head_dim=16, **small))
    return policies.Policy(model, model.init(jax.random.key(0), None), tokenizer, 96)


def save(folder: Path) -> Path:
    """Writes it to a folder, as `--model` reads it."""
    return model_folders.save(folder, policy())


def save_reward(folder: Path) -> Path:
    """Writes a reward model of the same trunk to a folder, as `--reward` reads it."""
    trunk = policy()
    model = heads.scalar_model(trunk.config)
    params = model.from_trunk(jax.random.key(1), trunk.params)
    model_folders.save_scalar(folder, model, params, trunk)
    return folder
