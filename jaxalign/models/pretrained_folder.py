"""A Hugging Face folder, opened: parsed and validated once, before weights are read."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from jax.sharding import Mesh
from jax.typing import DTypeLike

from jaxalign.models import folder_settings, hf_files
from jaxalign.models.config import ModelConfig, Remat
from jaxalign.models.families import registry
from jaxalign.models.families.tensor_table import (
    embed_and_unembed,
    mapping_table,
    name_aliases,
)
from jaxalign.models.folder_settings import FolderSettings
from jaxalign.models.heads import scalar_model
from jaxalign.models.hf_params import read_params
from jaxalign.models.transformer import language_model
from jaxalign.types import LanguageModel, Params, ScalarModel


@dataclasses.dataclass(frozen=True)
class PretrainedFolder:
    """The configuration and the open files of a folder.

    Attributes:
      path: of the folder.
      config: of the model.
      config_json: content of config.json.
      files: the tensors, memory-mapped; None where the folder has none.
    """

    path: Path
    config: ModelConfig
    config_json: Mapping[str, Any]
    files: hf_files.TensorFiles | None

    @property
    def tensors(self) -> hf_files.TensorFiles:
        """The tensors.

        Raises:
          FileNotFoundError: the folder has none.
        """
        return self.files or hf_files.TensorFiles(self.path)

    @property
    def settings(self) -> FolderSettings:
        """The settings beside the architecture and the parameters.

        Raises:
          FileNotFoundError: the folder has no tensors.
          ValueError: a field of generation_config.json of the wrong type.
        """
        return folder_settings.read(self.path, self.config_json, self.tensors.dtype)

    def load_language_model(self, mesh: Mesh | None) -> tuple[LanguageModel, Params]:
        """Build the language model and read its parameters, see `pretrained.load`."""
        model = language_model(self.config)
        return model, read_params(self.tensors, model, mesh)

    def load_scalar_model(self, mesh: Mesh | None) -> tuple[ScalarModel, Params]:
        """Build the reward model and read its parameters, see `load_reward`."""
        model = scalar_model(self.config)
        return model, read_params(self.tensors, model, mesh)


def open_folder(
    path: str | os.PathLike[str],
    *,
    dtype: DTypeLike = jnp.bfloat16,
    param_dtype: DTypeLike = jnp.float32,
    remat: Remat = "none",
    reward: bool = False,
) -> PretrainedFolder:
    """Parse config.json, and validate it against the headers of the tensors.

    Where config.json ties the unembedding to the embedding but the files have both, the
    two are tied only if they are equal, as in transformers 5.

    Args:
      dtype: of the computation.
      param_dtype: of the parameters.
      remat: what the backward pass recomputes, see `ModelConfig`.
      reward: whether the folder has a reward model.

    Raises:
      FileNotFoundError: a missing file.
      ValueError: an unknown architecture or setting, a tensor of another shape, or a
        damaged file.
    """
    folder = Path(path)
    config_json = hf_files.read_config_json(folder)
    files = hf_files.TensorFiles(folder) if hf_files.has_weights(folder) else None
    config = registry.read_config(
        config_json,
        f"{folder}/config.json",
        reward=reward,
        names=files.files if files else None,
        dtype=jnp.dtype(dtype).name,
        param_dtype=jnp.dtype(param_dtype).name,
        remat=remat,
    )
    if files:
        mappings = mapping_table(config)
        files.rename(name_aliases(config, mappings))
        files.check_shapes(mappings)
        ends = embed_and_unembed(config)
        if config.tied and not reward and not files.is_tied(*ends):
            config = dataclasses.replace(config, tied=False)
    return PretrainedFolder(folder, config, config_json, files)
