"""Models and tokenizers as experiments find and leave them, in folders."""

import copy
import dataclasses
import datetime
import itertools
import json
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from transformers import PreTrainedTokenizerFast

from jaxalign import json_files, sharding, streams
from jaxalign.data import chat
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.tokenizer import PAD
from jaxalign.models import heads, pretrained, transformer
from jaxalign.models.config import ModelConfig, Remat
from jaxalign.models.folder_settings import FolderSettings
from jaxalign.models.pretrained_folder import PretrainedFolder, open_folder
from jaxalign.pipeline import model_cards
from jaxalign.pipeline.datasets import Dataset
from jaxalign.rewards import reward_model
from jaxalign.runtime import defaults, distributed, hub
from jaxalign.runtime.config import RunConfig, TrainConfig
from jaxalign.types import LanguageModel, Params, ScalarModel

SCALE = "normalisation.json"  # of a reward model's scores, beside it


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
    """The same policy where its sampler and its trainer turn rows of `length` alike.

    With longrope a text of another length is turned otherwise, and a sampler does not
    know how long it will be: beyond the original context, all count as long.
    """
    scaling = policy.config.rope_scaling
    if (
        scaling is None
        or scaling.kind != "longrope"
        or length <= scaling.original_context
    ):
        return policy
    shape = dataclasses.replace(
        policy.config, rope_scaling=dataclasses.replace(scaling, always_long=True)
    )
    return dataclasses.replace(policy, model=transformer.language_model(shape))


def save(folder: Path, policy: Policy, config: TrainConfig | None = None) -> Path:
    """Writes a Hugging Face folder, which `--model` and transformers read back.

    Args:
      config: of the run that made it, for its model card and `--save-dtype`.
    """
    stops = policy.stop_tokens
    ids: dict[str, Any] = special_tokens(policy.tokenizer)
    ids["eos_token_id"] = list(stops) if len(stops) > 1 else stops[0]
    pretrained.save(
        folder,
        policy.model,
        policy.params,
        tokens=ids,
        generation=policy.settings.generation,
        dtype=output_dtype(policy, config),
        card=model_cards.model_card(config) if config else None,
    )
    save_tokenizer(folder, policy.tokenizer)
    return folder


def output_dtype(policy: Policy, config: TrainConfig | None) -> str:
    """The type that a model is saved in: that of the folder it was made from."""
    told = config.save_dtype if config else "auto"
    return policy.settings.dtype if told == "auto" else told


def special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The ids that config.json names."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: getattr(tokenizer, name) for name in names}
    return {name: int(x) for name, x in ids.items() if x is not None}


def save_scalar(
    folder: Path,
    model: ScalarModel,
    params: Params,
    policy: Policy | PreTrainedTokenizerFast,
    *,
    scale: reward_model.Scale | None = None,
    config: TrainConfig | None = None,
) -> None:
    """Writes a reward model, which transformers loads as a sequence classifier.

    Args:
      policy: that it was made from, or its tokenizer.
      scale: by which its head was normalised; kept beside, for `load_scale`.
      config: as of `save`.
    """
    if not isinstance(policy, Policy):
        policy = Policy(cast(Any, model), params, policy, 0)
    model, params, tokenizer = with_pad_token(model, params, policy)
    pretrained.save_reward(
        folder,
        model,
        params,
        tokens=special_tokens(tokenizer),
        dtype=output_dtype(policy, config),
        card=model_cards.model_card(config, reward=True) if config else None,
    )
    save_tokenizer(folder, tokenizer)
    if jax.process_index() == 0:
        (folder / SCALE).unlink(missing_ok=True)
        if scale is not None:
            (folder / SCALE).write_text(json.dumps(scale._asdict()))


def with_pad_token(
    model: ScalarModel, params: Params, policy: Policy
) -> tuple[ScalarModel, Params, PreTrainedTokenizerFast]:
    """A reward model whose padding token ends no text.

    transformers reads the score of the last token that is not the padding token: where
    that is the end of a text as well (as tokenizers without one are often told), it
    would read another score. Such a tokenizer gets a token of its own, and the
    embedding a row of zeros where it has none to spare.
    """
    tokenizer = policy.tokenizer
    if tokenizer.pad_token_id not in (None, *policy.stop_tokens):
        return model, params, tokenizer
    tokenizer = copy.deepcopy(tokenizer)
    names = itertools.chain([PAD], (f"<|pad_{i}|>" for i in itertools.count()))
    name = next(x for x in names if x not in tokenizer.get_vocab())
    tokenizer.add_special_tokens({"pad_token": name})
    shape = cast(ModelConfig, model.config)
    rows = int(tokenizer.pad_token_id) + 1 - shape.vocab_size
    if rows > 0:
        wider = jnp.pad(params["embed"], ((0, rows), (0, 0)))
        params = params | {"embed": wider}
        shape = dataclasses.replace(shape, vocab_size=shape.vocab_size + rows)
        model = heads.scalar_model(shape)
    return model, params, tokenizer


def load_scale(folder: Path) -> reward_model.Scale:
    """The scale of a reward model's scores: raw score = (score - bias) / gain.

    Gain 1 and bias 0 for models that were not normalised here.

    Raises:
      ValueError: a scale without one of them, or no number in its place.
    """
    path = folder / SCALE
    if not path.exists():
        return reward_model.Scale(1.0, 0.0)
    told = {"gain": None, "bias": None} | json_files.read_object(path)
    kinds = {"gain": json_files.POSITIVE, "bias": json_files.NUMBER}
    json_files.check_fields(told, kinds, str(path))
    return reward_model.Scale(told["gain"], told["bias"])


def save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Writes the tokenizer beside its model; the first of many processes does."""
    if jax.process_index() == 0:
        tokenizer.save_pretrained(folder)


def check_vocabulary(folder: Path, policy: Policy) -> None:
    """Refuses a reward model to which a policy's tokens mean something else.

    Raises:
      ValueError: names the first such token.
    """
    theirs = tokenizers.load(folder).get_vocab()
    for token, at in policy.tokenizer.get_vocab().items():
        if theirs.get(token) != at:
            raise ValueError(
                f"the reward model in {folder} has another vocabulary than the policy: "
                f"token {token!r} is {theirs.get(token, 'none')} there, and {at} of "
                "the policy; python -m experiments.reward_model --model POLICY makes "
                "one that fits"
            )


def load_scalar(
    folder: Path, dtype: str, remat: Remat = "none"
) -> tuple[ScalarModel, Params]:
    """Reads what `save_scalar` wrote, or another reward model with one label.

    Onto the mesh in context, if there is one, cut as policies are.

    Raises:
      ValueError: the folder holds no reward model.
    """
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds no reward model (no config.json); "
            "python -m experiments.reward_model makes one"
        )
    return pretrained.load_reward(
        folder, dtype=dtype, mesh=sharding.current_mesh(), remat=remat
    )
