"""Load and save Hugging Face folders: language models and reward models."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jaxalign import sharding
from jaxalign.models.config import ModelConfig, Remat
from jaxalign.models.families import registry
from jaxalign.models.hf_params import write_model
from jaxalign.models.pretrained_folder import open_folder
from jaxalign.types import LanguageModel, Params, ScalarModel

MAX_SHARD_BYTES = 5 * 10**9  # of a file of tensors


def load(
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike = jnp.bfloat16,
    param_dtype: DTypeLike = jnp.float32,
    mesh: Mesh | None = None,
    remat: Remat = "none",
) -> tuple[LanguageModel, Params]:
    """Load a language model from a Hugging Face folder.

    Args:
      path: a folder with config.json and safetensors files.
      dtype: of the computation.
      param_dtype: of the parameters.
      mesh: devices to load the parameters to; None for the default device.
      remat: what the backward pass recomputes, see `ModelConfig`.

    Returns:
      The model as pure functions, and its parameters.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: an unknown architecture or setting, a missing or unknown tensor, a
        wrong shape, or a damaged file.
    """
    folder = open_folder(path, dtype=dtype, param_dtype=param_dtype, remat=remat)
    return folder.load_language_model(mesh)


def load_reward(
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike = jnp.bfloat16,
    param_dtype: DTypeLike = jnp.float32,
    mesh: Mesh | None = None,
    remat: Remat = "none",
) -> tuple[ScalarModel, Params]:
    """Load a reward model (`...ForSequenceClassification` with one label).

    Its head has a bias, which is 0 where the folder has none.

    Args, Returns and Raises as `load`.
    """
    folder = open_folder(
        path, dtype=dtype, param_dtype=param_dtype, remat=remat, reward=True
    )
    return folder.load_scalar_model(mesh)


def read_config(
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike = jnp.bfloat16,
    param_dtype: DTypeLike = jnp.float32,
    reward: bool = False,
) -> ModelConfig:
    """The configuration of the model in a folder; weights are not needed.

    Args:
      dtype: of the computation.
      param_dtype: of the parameters.
      reward: whether the folder has a reward model.

    Raises:
      FileNotFoundError, ValueError: as `load`.
    """
    folder = open_folder(path, dtype=dtype, param_dtype=param_dtype, reward=reward)
    return folder.config


def save(
    path: str | os.PathLike[str],
    model: LanguageModel,
    params: Params,
    *,
    tokens: Mapping[str, Any] | None = None,
    generation: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    card: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Save a language model as a Hugging Face folder, for transformers and `load`.

    Args:
      path: of the folder, created or overwritten.
      tokens: ids of special tokens for config.json and generation_config.json, such as
        eos_token_id (a list for several tokens) and pad_token_id.
      generation: other fields of generation_config.json.
      dtype: of the tensors in the files; by default that of the parameters.
      card: text of README.md, the model card.
      max_shard_bytes: above this, tensors go to several files with an index.

    Raises:
      ValueError: a configuration that its family cannot have, or parameters of another
        model.
      OSError: the folder cannot be written.
    """
    config, ids = cast(ModelConfig, model.config), dict(tokens or {})
    config = dataclasses.replace(config, param_dtype=dtype or config.param_dtype)
    texts: dict[str, Any] = {
        "config.json": registry.write_config(config, **ids),
        "generation_config.json": {**(generation or {}), **ids},
    }
    texts |= {"README.md": card} if card else {}
    write_model(
        Path(path), config, params, texts, max_shard_bytes=max_shard_bytes, dtype=dtype
    )


def save_reward(
    path: str | os.PathLike[str],
    model: ScalarModel,
    params: Params,
    *,
    tokens: Mapping[str, Any] | None = None,
    dtype: str | None = None,
    card: str | None = None,
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Save a reward model, for `AutoModelForSequenceClassification` and `load_reward`.

    transformers takes the score of the last token that is not `pad_token_id` (for a
    tokenizer without a padding token, of the last token of a single row): texts must
    not end with that token. It has no bias: a bias other than 0 is saved as an extra
    tensor, and scores there differ by it.

    Args and Raises as `save`.
    """
    config = cast(ModelConfig, model.config)
    config = dataclasses.replace(config, param_dtype=dtype or config.param_dtype)
    settings = registry.write_config(config, reward=True, **(tokens or {}))
    if not np.any(sharding.to_host(params["head"]["bias"])):
        params = params | {"head": {"weight": params["head"]["weight"]}}
    texts: dict[str, Any] = {"config.json": settings}
    texts |= {"README.md": card} if card else {}
    write_model(
        Path(path), config, params, texts, max_shard_bytes=max_shard_bytes, dtype=dtype
    )
