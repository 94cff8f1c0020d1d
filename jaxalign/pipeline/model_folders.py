"""Models in Hugging Face folders: language models, reward models, their tokenizers."""

import copy
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jaxalign import json_files
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.tokenizer import PAD
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.models import heads, pretrained
from jaxalign.models.config import ModelConfig, Remat
from jaxalign.pipeline import model_cards
from jaxalign.pipeline.policies import Policy
from jaxalign.rewards import reward_model
from jaxalign.runtime.training_config import TrainConfig
from jaxalign.types import Params, ScalarModel

SCALE = "normalisation.json"  # of a reward model's scores, beside it


def save(folder: Path, policy: Policy, config: TrainConfig | None = None) -> Path:
    """Save a policy as a Hugging Face folder, for `--model` and transformers.

    Args:
      config: of the run that trained it, for the model card and `--save-dtype`.

    Returns:
      The folder.
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
    """The dtype of saved weights: `--save-dtype`, or that of the initial folder."""
    dtype = config.save_dtype if config else "auto"
    return policy.settings.dtype if dtype == "auto" else dtype


def special_tokens(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The special token ids of config.json, those that the tokenizer has."""
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
    """Save a reward model, which transformers loads as a sequence classifier.

    Args:
      policy: the policy whose trunk it started from, or a tokenizer.
      scale: gain and bias of the head's normalization, for `load_scale`.
      config: as in `save`.
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
    """A reward model with a padding token that is not a stop token.

    transformers reads the score at the last token that is not padding. Where the
    padding token is also the end of a text, as tokenizers without one are often
    configured, it would read the score of another token. Such a tokenizer gets a new
    padding token, and the embedding a row of zeros if it has no spare one.

    Returns:
      The model, its parameters and the tokenizer.
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
        embed = jnp.pad(params["embed"], ((0, rows), (0, 0)))
        params = params | {"embed": embed}
        shape = dataclasses.replace(shape, vocab_size=shape.vocab_size + rows)
        model = heads.scalar_model(shape)
    return model, params, tokenizer


def load_scale(folder: Path) -> reward_model.Scale:
    """The scale of a reward model's scores: raw score = (score - bias) / gain.

    Gain 1 and bias 0 for reward models that this library did not normalize.

    Raises:
      ValueError: gain or bias is missing, or not a number.
    """
    path = folder / SCALE
    if not path.exists():
        return reward_model.Scale(1.0, 0.0)
    values = {"gain": None, "bias": None} | json_files.read_object(path)
    kinds = {"gain": json_files.POSITIVE, "bias": json_files.NUMBER}
    json_files.check_fields(values, kinds, str(path))
    return reward_model.Scale(values["gain"], values["bias"])


def save_tokenizer(folder: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    """Save a tokenizer in its model's folder, from the first process alone."""
    if jax.process_index() == 0:
        tokenizer.save_pretrained(folder)


def check_vocabulary(folder: Path, policy: Policy) -> None:
    """Refuse a reward model whose token ids differ from the policy's.

    Raises:
      ValueError: names the first token that differs.
    """
    vocabulary = tokenizers.load(folder).get_vocab()
    for token, token_id in policy.tokenizer.get_vocab().items():
        if vocabulary.get(token) != token_id:
            raise ValueError(
                f"the reward model in {folder} has another vocabulary than the policy: "
                f"token {token!r} is {vocabulary.get(token, 'none')} there, and "
                f"{token_id} in the policy; python -m experiments.reward_model "
                "--model POLICY trains one that fits"
            )


def load_scalar(
    folder: Path, dtype: str, remat: Remat = "none", *, mesh: Mesh | None = None
) -> tuple[ScalarModel, Params]:
    """Load a reward model: a sequence classifier with one label.

    Args:
      mesh: for the parameters, sharded as a policy's; None for one device.

    Raises:
      ValueError: the folder holds no reward model.
    """
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds no reward model (no config.json); "
            "python -m experiments.reward_model trains one"
        )
    return pretrained.load_reward(folder, dtype=dtype, mesh=mesh, remat=remat)
