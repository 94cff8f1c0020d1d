"""State of continuous batching: cache slots, their answers, and shards of both."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxalign import sharding
from jaxalign.sampling.sampling_params import SamplingParams
from jaxalign.types import Array, Cache, Key, LanguageModel, Params


class ServeConfig(NamedTuple):
    """Compile-time constants of `serve_loop`, beside the sampling parameters.

    Attributes:
      model: the policy.
      shards: parts into which prompts and slots are split, each on its own devices.
      slots: slots per shard.
      refill: slots of a shard that one prefill fills.
    """

    model: LanguageModel
    shards: int
    slots: int
    refill: int

    def prefill_rows(self, samples: int) -> int:
        """The most prompts that `refill` consecutive answers belong to.

        >>> ServeConfig(None, 1, 8, refill=2).prefill_rows(samples=4)
        2
        """
        return (self.refill + samples - 2) // samples + 1


class PromptQueue(NamedTuple):
    """The prompts to answer.

    Attributes:
      tokens: right-padded token ids [P T].
      lengths: tokens of each prompt [P].
      row_ids: identity of the randomness of each answer [P * samples ...].
    """

    tokens: Array
    lengths: Array
    row_ids: Array


class Slots(NamedTuple):
    """Answers in progress, one per slot [S ...].

    Attributes:
      cache: of the model, with all tokens but the last.
      token: the last token.
      answer: index of the answer within its shard.
      length: tokens of the answer so far.
      active: False once the answer has ended.
    """

    cache: Cache
    token: Array
    answer: Array
    length: Array
    active: Array


class ServeState(NamedTuple):
    """The carry of the loops of `serve_loop`.

    Attributes:
      slots: the answers in progress.
      started: answers that got a slot, per shard.
      tokens: of all answers [R N]; -1 where there is none.
      logp: of all answers [R N].
      steps: decode steps so far, a scalar.
    """

    slots: Slots
    started: Array
    tokens: Array
    logp: Array
    steps: Array


class ServeContext(NamedTuple):
    """Arrays and constants that every step of `serve_loop` reads.

    Attributes:
      config: the compile-time constants.
      sampling_params: the temperature is an array.
      params: prepared parameters of the model.
      unembed: [D V].
      queue: the prompts of each shard, in ascending order of their lengths.
      order: index in the caller's order, within its shard, of each queued prompt [P].
      key: of the run.
    """

    config: ServeConfig
    sampling_params: SamplingParams
    params: Params
    unembed: Array
    queue: PromptQueue
    order: Array
    key: Key

    @property
    def answers(self) -> int:
        """Answers per shard."""
        return len(self.queue.row_ids) // self.config.shards

    @property
    def width(self) -> int:
        """Cache slots per row: tokens of the widest prompt and the longest answer."""
        return int(self.queue.tokens.shape[1]) + self.sampling_params.max_new_tokens

    def map_shards(self, function: Callable[..., Any], *trees: Any) -> Any:
        """Apply a function to each shard, see `map_shards`."""
        return map_shards(self.config.shards, function, *trees)


def init_state(context: ServeContext) -> ServeState:
    """Free slots, and answers without tokens."""
    config = context.config
    rows, answers = config.shards * config.slots, config.shards * context.answers
    shape = (answers, context.sampling_params.max_new_tokens)
    zeros = lambda dtype: sharding.constrain(jnp.zeros(rows, dtype), "batch")
    full = lambda value: sharding.constrain(jnp.full(shape, value), "batch", None)
    slots = Slots(
        cache=config.model.init_cache(rows, context.width),
        token=zeros(jnp.int32),
        answer=zeros(jnp.int32),
        length=zeros(jnp.int32),
        active=zeros(bool),
    )
    started = jnp.zeros(config.shards, jnp.int32)
    return ServeState(slots, started, full(jnp.int32(-1)), full(0.0), jnp.int32(0))


def row_shards(rows: int) -> int:
    """Parts into which rows are split over devices; 1 where they do not divide."""
    shards = sharding.shard_count("batch")
    return 1 if rows % shards else shards


def map_shards(shards: int, function: Callable[..., Any], *trees: Any) -> Any:
    """Apply a function to the rows of each shard; results are concatenated.

    Indices are within the shard, so that no row leaves its device.

    Args:
      shards: parts into which the first axis of every array is split.
      function: (trees of one shard's arrays) -> tree of arrays.
    """
    if shards == 1:
        return function(*trees)
    split = lambda x: x.reshape(shards, -1, *x.shape[1:])
    concat = lambda x: x.reshape(-1, *x.shape[2:])
    return jax.tree.map(concat, jax.vmap(function)(*jax.tree.map(split, trees)))


def take_rows(tree: Any, index: Array) -> Any:
    """Gather rows of each array by index."""
    return jax.tree.map(lambda x: x[index], tree)


def put_rows(tree: Any, index: Any, new: Any) -> Any:
    """Replace rows of each array; an index beyond the last row is dropped."""
    return jax.tree.map(lambda x, y: x.at[index].set(y, mode="drop"), tree, new)
