"""Models and tokenizers as experiments find and leave them, in folders."""

import dataclasses
import datetime
from typing import Any, cast

import jax
from transformers import PreTrainedTokenizerFast

from jaxalign import streams
from jaxalign.data import chat
from jaxalign.data import tokenizer as tokenizers
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.models.folder_settings import FolderSettings
from jaxalign.models.pretrained_folder import PretrainedFolder, open_folder
from jaxalign.pipeline.datasets import Dataset
from jaxalign.runtime import defaults, distributed, hub
from jaxalign.runtime.config import RunConfig
from jaxalign.types import LanguageModel, Params


@dataclasses.dataclass(frozen=True)
class Policy:
    """A language model with its parameters and tokenizer.

    Attributes:
      context: the longest sequence that the run uses, at most what the model can.
      settings: what its folder says besides its parameters.
    """

    model: LanguageModel
    params: Params
    tokenizer: PreTrainedTokenizerFast
    context: int
    settings: FolderSettings = FolderSettings()

    @property
    def config(self) -> ModelConfig:
        """The shape of the model."""
        return cast(ModelConfig, self.model.config)

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """The tokens that end an answer: those of its folder, and of its tokenizer."""
        end = cast(int, self.tokenizer.eos_token_id)
        ours = (end, *chat.stop_tokens(self.tokenizer))
        return tuple(dict.fromkeys((*self.settings.stop_tokens, *ours)))


def toy_config(vocab_size: int, context: int, dtype: str) -> ModelConfig:
    """The small model that `--model toy` trains from nothing: 0.7 M parameters.

    Its rotary frequencies are for short texts: with the usual base it takes three times
    as long until it copies what it was told.
    """
    return ModelConfig(
        vocab_size=vocab_size,
        width=128,
        hidden=344,
        layers=3,
        heads=4,
        kv_heads=4,
        head_dim=32,
        context=context,
        rope_theta=max(100.0, context),
        tied=True,
        dtype=dtype,
        origin="toy",
    )


def tokenizer_of(
    config: RunConfig, source: Dataset
) -> tuple[PreTrainedTokenizerFast, int]:
    """The tokenizer of `--model`, and the longest sequence; no weights are read.

    Raises:
      ValueError, OSError: as `open_model_folder` and `folder_tokenizer`.
    """
    if config.model == "toy":
        made = tokenizers.train(source.texts(), vocab_size=source.vocab)
        return configure_tokenizer(config, made), config.context or source.context
    return folder_tokenizer(config, source, open_model_folder(config))


def open_model_folder(config: RunConfig) -> PretrainedFolder:
    """Open the folder `--model`: its config.json is parsed, no weights are read.

    Raises:
      ValueError, OSError: the folder does not hold a model.
    """
    folder = hub.model_folder(config.model)
    if not folder.is_dir():
        raise FileNotFoundError(
            f"--model {config.model}: no such folder, nor toy, nor ORG/NAME of a hub"
        )
    return open_folder(folder, dtype=config.dtype, remat=config.remat)


def folder_tokenizer(
    config: RunConfig, source: Dataset, folder: PretrainedFolder
) -> tuple[PreTrainedTokenizerFast, int]:
    """The tokenizer of an opened folder, and the longest sequence.

    Raises:
      ValueError, OSError: no tokenizer, an embedding smaller than the vocabulary, or a
        --context longer than the model's.
    """
    shape = folder.config
    tokenizer = configure_tokenizer(config, tokenizers.load(folder.path))
    tokenizers.check_embedding(tokenizer, shape.vocab_size)
    if (config.context or 0) > shape.context:
        raise ValueError(
            f"--context {config.context} is longer than the "
            f"{shape.context} positions of {config.model}"
        )
    suggested = source.context if shape.origin == "toy" else defaults.CONTEXT
    return tokenizer, min(config.context or suggested, shape.context)


def configure_tokenizer(
    config: RunConfig, tokenizer: PreTrainedTokenizerFast
) -> PreTrainedTokenizerFast:
    """A tokenizer, as the flags have it used.

    Raises:
      ValueError: --template-date is no day.
    """
    day = config.template_date
    if tokenizers.shows_date(tokenizer):
        day = distributed.broadcast_text(day)
    try:
        today = datetime.date.fromisoformat(day)
    except ValueError as error:
        raise ValueError(f"--template-date wants YYYY-MM-DD, not {day!r}") from error
    manner = tokenizers.TokenizationOptions(today, config.keep_special_tokens)
    tokenizers.set_tokenization_options(tokenizer, manner)
    return tokenizer


def load(config: RunConfig, source: Dataset, mesh: Any) -> Policy:
    """The policy in the folder `--model`, or a new small one for `toy`.

    Raises:
      ValueError, OSError: the folder does not hold a model; see the sentence.
    """
    if config.model == "toy":
        tokenizer, context = tokenizer_of(config, source)
        shape = toy_config(len(tokenizer), context, config.dtype)
        shape = dataclasses.replace(shape, remat=config.remat)
        model = transformer.language_model(shape)
        key = streams.key(jax.random.key(config.seed), "model")
        params = model.init(key, mesh)
        return Policy(model, params, tokenizer, context)
    folder = open_model_folder(config)
    tokenizer, context = folder_tokenizer(config, source, folder)
    settings = folder.settings  # refused before the weights are read
    model, params = folder.load_language_model(mesh)
    return Policy(model, params, tokenizer, context, settings)


def extend_longrope(policy: Policy, length: int) -> Policy:
    """The policy with one set of longrope factors in sampling and in training.

    The factors depend on the length of the row, which a sampler does not know: for rows
    beyond the original context, the long factors are used for all. `length` is known
    after prompts are tokenized, so the model is built again here, and here alone.

    Args:
      length: tokens of the longest row of the run.
    """
    scaling = policy.config.rope_scaling
    if scaling is None or scaling.kind != "longrope":
        return policy
    if length <= scaling.original_context:
        return policy
    shape = dataclasses.replace(
        policy.config, rope_scaling=dataclasses.replace(scaling, always_long=True)
    )
    return dataclasses.replace(policy, model=transformer.language_model(shape))
