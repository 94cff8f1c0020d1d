"""Language models to be evaluated, and the flags of programs that evaluate them."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from jax.sharding import Mesh
from transformers import PreTrainedTokenizerFast

from jaxalign.data import tokenizer as tokenizers
from jaxalign.models.pretrained_folder import PretrainedFolder
from jaxalign.pipeline import policies
from jaxalign.runtime import defaults, flags
from jaxalign.runtime.config import Dtype, RunConfig
from jaxalign.runtime.mesh import mesh_of
from jaxalign.runtime.report_config import ReportConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig(ReportConfig):
    """Flags of programs that run models and write a report."""

    context: int | None = None
    """Longest sequence in tokens; by default the model's own, up to 4,096."""
    rows: int = flags.resumable(64)
    """Sequences that are computed at one time."""
    mesh: str = flags.resumable("")
    """Devices on each mesh axis, such as data=2,fsdp=4; by default all on data."""
    dtype: Dtype = "float32"
    """The type of the models' computation."""
    template_date: str = ""
    """The date, YYYY-MM-DD, for chat templates that show one; by default today's."""
    keep_special_tokens: bool = False
    """Show special tokens that neither begin nor end turns in the texts of answers."""
    compilation_cache: str | None = flags.resumable(None)
    """A folder that keeps compiled programs from one start to the next, or off; by
    default JAX_COMPILATION_CACHE_DIR, or a cache folder of the user's."""


def run_config(config: EvaluationConfig, **settings: Any) -> RunConfig:
    """The flags of a training run with the same settings of models, and others.

    Args:
      **settings: further fields of `RunConfig`, such as `model` and `data`.
    """
    shared = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(RunConfig)
        # an empty text is "not given", as --data of a program that need not have it
        if getattr(config, field.name, "") != "" and field.name not in ("out", "resume")
    }
    return RunConfig(**(shared | settings))


def split_name(text: str) -> tuple[str, str]:
    """The name and the path of a model that is given as PATH or NAME=PATH.

    Without a name the path is the name.

    >>> split_name("sft=runs/sft/policy"), split_name("runs/lr=1e-3/policy")
    (('sft', 'runs/sft/policy'), ('runs/lr=1e-3/policy', 'runs/lr=1e-3/policy'))
    """
    name, equals, path = text.strip().partition("=")
    if not equals or "/" in name or Path(text).exists():
        return text.strip(), text.strip()
    return name, path


def evaluation_mesh(config: EvaluationConfig) -> Mesh:
    """The device mesh of --mesh.

    Raises:
      ValueError: names the flag; there are too few devices, or devices without use.
    """
    return mesh_of(run_config(config))


class OpenedModel(NamedTuple):
    """A language model's folder before its weights are read.

    Attributes:
      folder: its configuration, validated.
      context: tokens of the longest sequence, as `policies.Policy.context`.
    """

    folder: PretrainedFolder
    tokenizer: PreTrainedTokenizerFast
    context: int


def open_model(config: EvaluationConfig, folder: str) -> OpenedModel:
    """Open the folder of a language model, or ORG/NAME of a hub; reads no weights.

    Raises:
      ValueError, OSError: the folder does not hold a language model that can be read.
    """
    settings = run_config(config, model=folder)
    opened = policies.open_model_folder(settings)
    longest = opened.config.context
    if (config.context or 0) > longest:
        raise ValueError(
            f"--context {config.context} is longer than the {longest} positions of "
            f"{folder}"
        )
    tokenizer = policies.configure_tokenizer(settings, tokenizers.load(opened.path))
    tokenizers.check_embedding(tokenizer, opened.config.vocab_size)
    context = min(config.context or defaults.CONTEXT, longest)
    return OpenedModel(opened, tokenizer, context)


def load_policy(
    config: EvaluationConfig, folder: str, mesh: Mesh | None
) -> policies.Policy:
    """Load a language model and its tokenizer from a folder, or ORG/NAME of a hub.

    Raises:
      ValueError, OSError: as `open_model`, and weights that cannot be read.
    """
    opened = open_model(config, folder)
    settings = opened.folder.settings  # refused before the weights are read
    model, params = opened.folder.load_language_model(mesh)
    return policies.Policy(model, params, opened.tokenizer, opened.context, settings)
