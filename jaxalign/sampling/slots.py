"""Slots in which answers are made, and what the loops over them hand on."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxalign import sharding
from jaxalign.sampling import shares
from jaxalign.types import Array, Cache, Key, LanguageModel, Params


class ServeConfig(NamedTuple):
    """What is compiled in.

    Attributes:
      shares: into which rows are split.
      rows: slots of each share.
      refill: of which so many are refilled at once.
      samples: answers to a prompt.
    """

    model: LanguageModel
    shares: int
    rows: int
    refill: int
    samples: int
    max_new_tokens: int
    top_k: int | None
    top_p: float | None
    stop_tokens: tuple[int, ...]

    @property
    def read(self) -> int:
        """Prompts that so many answers in a row have at most."""
        return (self.refill + self.samples - 2) // self.samples + 1


class PromptQueue(NamedTuple):
    """Prompts [P T], their lengths [P], and the ids of their answers' noise [R ...]."""

    prompts: Array
    lengths: Array
    row_ids: Array


class Slots(NamedTuple):
    """Answers in the making.

    Attributes:
      token: the last of each.
      answer: which of its share's answers it is.
      size: its tokens so far.
      busy: False once it has ended.
    """

    cache: Cache
    token: Array
    answer: Array
    size: Array
    busy: Array


class ServeState(NamedTuple):
    """What the loops hand on.

    Attributes:
      started: answers of each share that were given a slot.
      tokens, logp: of all answers [R N]; a token is -1 where there is none.
      steps: of decoding.
    """

    slots: Slots
    started: Array
    tokens: Array
    logp: Array
    steps: Array


class ServeContext(NamedTuple):
    """What every step reads: the weights, and what is asked for.

    Attributes:
      asked: each share's prompts in the order of their lengths.
      order: the place that each of them had.
    """

    plan: ServeConfig
    params: Params
    unembed: Array
    asked: PromptQueue
    order: Array
    key: Key
    temperature: Array

    @property
    def total(self) -> int:
        """Answers of a share."""
        return len(self.asked.row_ids) // self.plan.shares

    @property
    def width(self) -> int:
        """Tokens of a prompt with its answer, at most."""
        return int(self.asked.prompts.shape[1]) + self.plan.max_new_tokens

    def each(self, function: Any, *trees: Any) -> Any:
        """What a function makes of each share's rows."""
        return shares.map_shards(self.plan.shares, function, *trees)


def init_state(work: ServeContext) -> ServeState:
    """Free slots, and answers without tokens."""
    plan = work.plan
    rows, answers = plan.shares * plan.rows, plan.shares * work.total
    zeros = lambda kind: sharding.constrain(jnp.zeros(rows, kind), "batch")
    table = lambda value: sharding.constrain(
        jnp.full((answers, plan.max_new_tokens), value), "batch", None
    )
    slots = Slots(
        cache=plan.model.init_cache(rows, work.width),
        token=zeros(jnp.int32),
        answer=zeros(jnp.int32),
        size=zeros(jnp.int32),
        busy=zeros(bool),
    )
    started = jnp.zeros(plan.shares, jnp.int32)
    return ServeState(slots, started, table(jnp.int32(-1)), table(0.0), jnp.int32(0))
