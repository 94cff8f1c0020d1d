"""A language model that is a table: p(next token | last token), known exactly."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from jaxalign.pipeline.policies import Policy
from jaxalign.types import LanguageModel


class TableConfig(NamedTuple):
    """What the library reads of a model's configuration."""

    vocab_size: int
    context: int
    logit_cap: float | None = None


class TableCache(NamedTuple):
    """A cache without contents: the last token is all that such a model reads."""

    length: jax.Array


def table_model(vocab_size: int, context: int) -> LanguageModel:
    """The model; its parameters are {"table": log-probs [V V]}, a row a last token.

    Hidden states are one-hot vectors of tokens, and the table is the unembedding.
    """
    one_hot = lambda tokens: jax.nn.one_hot(tokens, vocab_size)
    return LanguageModel(
        config=TableConfig(vocab_size, context),
        init=None,
        specs=None,
        hidden=lambda params, tokens, positions, segments: one_hot(tokens),
        unembed=lambda params: params["table"],
        init_cache=lambda rows, slots: TableCache(jnp.zeros(rows, jnp.int32)),
        extend=lambda params, tokens, cache: (
            one_hot(tokens),
            TableCache(cache.length + tokens.shape[1]),
        ),
    )


def word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    """A token for each word, and <s>, </s> before them; texts are joined by spaces."""
    vocabulary = {word: i for i, word in enumerate(["<s>", "</s>", *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
    )


def table_policy(words: list[str], table: np.ndarray, *, context: int = 32) -> Policy:
    """A policy of a table of log-probs [V V], V = 2 + number of words."""
    return Policy(
        table_model(len(table), context),
        {"table": jnp.asarray(table, jnp.float32)},
        word_tokenizer(words),
        context,
    )
