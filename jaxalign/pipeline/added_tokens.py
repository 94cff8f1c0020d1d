"""New special tokens for a language model: in its tokenizer, embedding and head."""

import dataclasses
from pathlib import Path
from typing import cast

import jax
import jax.numpy as jnp

from jaxalign import streams
from jaxalign.data import tokenizer as tokenizers
from jaxalign.models import transformer
from jaxalign.models.config import ModelConfig
from jaxalign.pipeline import model_folders
from jaxalign.pipeline.evaluation import models as evaluation_models
from jaxalign.pipeline.evaluation.models import EvaluationConfig
from jaxalign.pipeline.policies import Policy
from jaxalign.types import Array, Key

NOISE = 0.01  # of a new row, in standard deviations of the rows


def add_special_token(
    policy: Policy, token: str, key: Key, *, noise: float = NOISE
) -> Policy:
    """The same policy with one special token more; the logits of the others stay.

    row = mean of the rows + noise * std of the rows * Normal(0, 1)

    This holds for the embedding and, where it is another matrix, for the head. Without
    noise the token's logit is the mean of the logits, so that by Jensen's inequality
    its probability is at most 1 / (V + 1), V the tokens before, and near it where the
    distribution is flat: a row at the scale of the others would be sampled at once.

    A reference that is compared with this policy needs the token too, with the same
    rows: make it of the result.

    Args:
      noise: at least 0; sets the new token apart from the mean.

    Raises:
      ValueError: the tokenizer has a token of that text already.

    Reference: Hewitt 2021, Initializing new word embeddings for pretrained language
    models (the mean of the rows).
    """
    if token in policy.tokenizer.get_vocab():
        raise ValueError(f"the tokenizer has a token {token!r} already")
    options = tokenizers.tokenization_options(policy.tokenizer)
    tokenizer = tokenizers.copy_with_options(policy.tokenizer, options)
    known = len(tokenizer)
    tokenizer.add_special_tokens(
        {"extra_special_tokens": [token]}, replace_extra_special_tokens=False
    )
    at = tokenizers.token_id(tokenizer, token)
    params = dict(policy.params)
    params["embed"] = set_row(params["embed"], at, known, key, noise)
    if "unembed" in params:  # [D V], of its own
        head_key = jax.random.fold_in(key, 1)
        params["unembed"] = set_row(params["unembed"].T, at, known, head_key, noise).T
    shape = cast(ModelConfig, policy.model.config)
    shape = dataclasses.replace(shape, vocab_size=len(params["embed"]))
    model = transformer.language_model(shape)
    return dataclasses.replace(policy, model=model, params=params, tokenizer=tokenizer)


def set_row(table: Array, at: int, known: int, key: Key, noise: float) -> Array:
    """A table [V D] with a row near the mean of its rows; a spare row is replaced.

    Args:
      at: index of the row; the table grows where it ends before.
      known: rows that belong to tokens.
    """
    rows = table[:known].astype(jnp.float32)
    scale = noise * jnp.std(rows, axis=0)
    row = jnp.mean(rows, axis=0) + scale * jax.random.normal(key, rows.shape[1:])
    grown = jnp.pad(table, ((0, max(at + 1 - len(table), 0)), (0, 0)))
    return grown.at[at].set(row.astype(table.dtype))


def add_to_folder(folder: str, out: Path, token: str, *, seed: int = 0) -> Path:
    """Save the model of a folder with one special token more in another folder.

    Args:
      folder: a Hugging Face folder, or ORG/NAME of a hub.
      seed: of the new rows.

    Returns:
      The folder `out`.

    Raises:
      ValueError, OSError: as `add_special_token`, or no language model in the folder.
    """
    policy = evaluation_models.load_policy(EvaluationConfig(), folder, None)
    key = streams.key(jax.random.key(seed), "added token")
    return model_folders.save(out, add_special_token(policy, token, key))
