"""Policies: language models with their tokenizers, from folders or new."""

import dataclasses
import datetime
from typing import Any, cast

import jax

from jaxalign import streams
from jaxalign.data import chat
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
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
      context: tokens of the longest sequence in the run, at most the model's context.
      settings: stop tokens, generation settings and dtype of the model's folder.
    """

    model: LanguageModel
    params: Params
    tokenizer: PreTrainedTokenizerFast
    context: int
    settings: FolderSettings = FolderSettings()

    @property
    def config(self) -> ModelConfig:
        """The model's sizes and options."""
        return cast(ModelConfig, self.model.config)

    @property
    def stop_tokens(self) -> tuple[int, ...]:
        """Tokens that end an answer: those of the folder, then the tokenizer's."""
        end = cast(int, self.tokenizer.eos_token_id)
        turn_ends = chat.stop_tokens(self.tokenizer)
        return tuple(dict.fromkeys((*self.settings.stop_tokens, end, *turn_ends)))


def toy_config(vocab_size: int, context: int, dtype: str) -> ModelConfig:
    """The small model of `--model toy`, randomly initialized: 0.7 M parameters.

    Its rotary base is small, for short texts: with the usual 10,000 it takes three
    times as many steps to learn to copy words of the prompt.

    Args:
      context: tokens of the longest sequence.
      dtype: of the computation, such as "bfloat16".
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
    """The tokenizer of `--model`, and the context of the run; reads no weights.

    Raises:
      ValueError, OSError: as `open_model_folder` and `folder_tokenizer`.
    """
    if config.model == "toy":
        tokenizer = tokenizers.train(source.texts(), vocab_size=source.vocab)
        return configure_tokenizer(config, tokenizer), config.context or source.context
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
    """The tokenizer of an opened folder, and the context of the run.

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
    """Set a tokenizer's options from the flags: the date, and special tokens in texts.

    Raises:
      ValueError: --template-date is not a date.
    """
    day = config.template_date
    if tokenizers.shows_date(tokenizer):
        day = distributed.broadcast_text(day)
    try:
        today = datetime.date.fromisoformat(day)
    except ValueError as error:
        raise ValueError(f"--template-date {day!r}: expected YYYY-MM-DD") from error
    options = tokenizers.TokenizationOptions(today, config.keep_special_tokens)
    tokenizers.set_tokenization_options(tokenizer, options)
    return tokenizer


def load(config: RunConfig, source: Dataset, mesh: Any) -> Policy:
    """Load the policy of the folder `--model`, or initialize the one of `toy`.

    Args:
      mesh: for the parameters; None for one device.

    Raises:
      ValueError, OSError: the folder does not hold a model that can be read.
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
