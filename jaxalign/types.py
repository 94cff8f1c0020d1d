"""Types of the library: annotated arrays, the shape check, the two model protocols.

Letters used in shapes everywhere: B batch, P prompts, A possible answers, N samples or
new tokens, K ranked answers, T tokens of a sequence, S cache slots, V vocabulary, D
width, H heads, M mesh.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxalign.shape_checks import typed

__all__ = [
    "Array",
    "Bool",
    "Cache",
    "Float",
    "Int",
    "Key",
    "LanguageModel",
    "LanguageModelConfig",
    "Params",
    "ScalarModel",
    "Scalar",
    "typed",
]

# check_grads, loaders and doctests pass numpy arrays, so both kinds are arrays here.
# They share no type for a static checker: `typed` checks them instead.
if TYPE_CHECKING:
    Array = Any
else:
    Array = jax.Array | np.ndarray
ORIGIN_KEY = "jaxalign_origin"  # key of config.json: the model that it started from
# A hyperparameter: a number, a numpy scalar, or a traced scalar.
Scalar = float | int | np.floating | np.integer | Float[Array, ""] | Int[Array, ""]
Key = jax.Array
Params = Any  # a nested dict of arrays
Cache = Any  # a pytree with a field `length` [B], the filled slots of each row


def repeat_rows(cache: Cache, rows: int, length: int) -> Cache:
    """Repeat each row of a cache `rows` times; copies of a row are adjacent."""
    return jax.tree.map(lambda x: jnp.repeat(x, rows, axis=0), cache)


class LanguageModelConfig(Protocol):
    """Fields of a language model's configuration that the library reads."""

    @property
    def vocab_size(self) -> int: ...

    @property
    def context(self) -> int: ...

    @property
    def logit_cap(self) -> float | None:
        """Soft-capping, `cap * tanh(logits / cap)`, of all logits hidden @ unembed."""


class LanguageModel(NamedTuple):
    """A language model as pure functions over a parameter tree.

    The policy and the reference are one set of functions and two parameter trees.
    Rows are right-padded; `segments` is 0 on padding and 1, 2, ... on the (packed)
    sequences of a row; `positions` restart at 0 in each segment. Answers that share a
    prompt are branches of its segment, see `batches.BRANCH_STRIDE`.

    Attributes:
      config: vocab_size, context, logit_cap and the model's own fields.
      init: (key, mesh=None) -> params, initialized sharded on the mesh.
      specs: () -> params-shaped tree of `PartitionSpec`, see `sharding.place`. A
        function, like all but the config, so that the tuple is hashable: a static
        argument of `jax.jit`.
      hidden: (params, tokens [B T], positions [B T], segments [B T]) -> [B T D], final
        normalization applied. For training and scoring. Models whose config has
        `supports_shared_prompts` also take `branches`, the layout of the rows.
        With `embeddings` [B T D], these are read in place of the tokens' own.
      unembed: (params) -> [D V], so that log-probs can be computed in chunks.
      init_cache: (batch, length) -> cache with `length` empty slots per row. Rows
        are the first axis of its arrays, so that they can be indexed.
      extend: (params, tokens [B T], cache) -> ([B T D], cache). Writes T tokens after
        each row's `cache.length`, and adds T to it. Prefill of ragged rows: extend with
        the right-padded prompts, then `cache._replace(length=lengths)`; slots
        beyond a row's length are never attended to and get overwritten.
      prepare: (params) -> params for `extend`: cast and split by layer once, before a
        decode loop, rather than at each step. `extend` and `unembed` take either.
      branch: (cache, rows, length) -> cache with `rows` adjacent copies of each row, of
        which each writes the last `length` slots on its own. The slots before may be
        shared by the copies.
      embed: (params, tokens [...]) -> their embeddings [... D], without positions.
        `hidden(..., embeddings=embed(params, tokens))` is `hidden(...)`, as a function
        of the embeddings, for attacks by gradient. None for models without.
    """

    config: LanguageModelConfig
    init: Callable[..., Params]
    specs: Callable[[], Any]
    hidden: Callable[..., Array]
    unembed: Callable[[Params], Array]
    init_cache: Callable[[int, int], Cache]
    extend: Callable[[Params, Array, Cache], tuple[Array, Cache]]
    prepare: Callable[[Params], Params] = lambda params: params
    branch: Callable[[Cache, int, int], Cache] = repeat_rows
    embed: Callable[[Params, Array], Array] | None = None


class ScalarModel(NamedTuple):
    """A reward or value model: the trunk of a language model with a scalar head.

    Attributes:
      config: as in `LanguageModel`.
      init: (key, mesh=None) -> params.
      specs: () -> params-shaped tree of `PartitionSpec`.
      scores: (params, tokens [B T], positions [B T], segments [B T]) -> [B T] float32;
        with `at` [B Q], at these positions of each row only, [B Q]. A reward is the
        score at an answer's last token; a value is the score at every token.
      from_trunk: (key, language model params) -> params: the trunk with a new head.
    """

    config: LanguageModelConfig
    init: Callable[..., Params]
    specs: Callable[[], Any]
    scores: Callable[..., Array]
    from_trunk: Callable[[Key, Params], Params]
