"""TODO."""

import copy
import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any, cast

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from transformers import PreTrainedTokenizerFast

from jaxalign import json_files
from jaxalign.data import tokenizer as tokenizers
from jaxalign.data.tokenizer import PAD
from jaxalign.models import heads, pretrained
from jaxalign.models.config import ModelConfig, Remat
from jaxalign.pipeline import model_cards
from jaxalign.pipeline.policies import Policy
from jaxalign.rewards import reward_model
from jaxalign.runtime.training_config import TrainConfig
from jaxalign.types import Params, ScalarModel

SCALE = "normalisation.json"  # of a reward model's scores, beside it


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
    folder: Path, dtype: str, remat: Remat = "none", *, mesh: Mesh | None = None
) -> tuple[ScalarModel, Params]:
    """Reads what `save_scalar` wrote, or another reward model with one label.

    Args:
      mesh: on which the parameters are placed, cut as policies are.

    Raises:
      ValueError: the folder holds no reward model.
    """
    if not (folder / "config.json").exists():
        raise ValueError(
            f"{folder} holds no reward model (no config.json); "
            "python -m experiments.reward_model makes one"
        )
    return pretrained.load_reward(folder, dtype=dtype, mesh=mesh, remat=remat)
