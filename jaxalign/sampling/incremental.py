"""One conversation's KV cache: a prompt that continues it is read from there on."""

import functools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.sampling.next_token import next_logits, sample_token, step_uniforms
from jaxalign.sampling.sampling_params import SamplingParams
from jaxalign.types import Array, Cache, Key, LanguageModel, Params

PIECES = (1, 16, 64, 256)  # tokens of one call: as many programs are compiled


class IncrementalDecoder:
    """A row of tokens with its KV cache, for answers that are shown as they are made.

    Each prompt is compared with the tokens in the cache, and only what follows their
    common prefix is read. Tokens are read in pieces of a few sizes, so that the number
    of compiled programs does not depend on the number of prompts.

    Attributes:
      context: the most tokens of a prompt with its answer, and the slots of the cache.
      tokens: the tokens in the cache.
    """

    def __init__(self, model: LanguageModel, params: Params, context: int) -> None:
        """Prepares the parameters and allocates the cache.

        Args:
          context: at most the model's.
        """
        self.model, self.context = model, context
        self.params = jax.jit(model.prepare)(params)
        self.clear()

    def clear(self) -> None:
        """Forgets all tokens, as an error between two tokens makes necessary."""
        self.tokens: list[int] = []
        self.cache = self.model.init_cache(1, self.context)
        self.hidden: Array | None = None

    def read(self, prompt: Sequence[int]) -> int:
        """Reads a prompt, and drops the tokens that it does not begin with.

        Args:
          prompt: token ids, 1 to `context`.

        Returns:
          The number of tokens that were read: at least the last one.

        Raises:
          ValueError: an empty prompt, or one longer than the context.
        """
        if not 1 <= len(prompt) <= self.context:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens; expected 1 to {self.context}"
            )
        shared = min(common_prefix(self.tokens, prompt), len(prompt) - 1)
        self.tokens = list(map(int, prompt[:shared]))
        rest = list(map(int, prompt[shared:]))
        while rest:
            size = min(len(rest), PIECES[-1])
            self.append(rest[:size])
            rest = rest[size:]
        return len(prompt) - shared

    def append(self, new: Sequence[int]) -> None:
        """Reads at most `PIECES[-1]` tokens more, padded to the next size of a piece.

        A piece that would reach beyond the cache starts earlier, and reads some tokens
        again.
        """
        start = len(self.tokens)
        self.tokens += new
        size = next(n for n in PIECES if n >= len(new))
        size = min(size, self.context)
        begin = min(start, self.context - size)
        piece = np.zeros((1, size), np.int32)
        known = self.tokens[begin:]
        piece[0, : len(known)] = known
        at = np.int32(begin)
        self.hidden, self.cache = read_piece(
            self.model, self.params, piece, at, np.int32(len(known)), self.cache
        )

    def generate(
        self, sampling_params: SamplingParams, key: Key, row_id: Sequence[int]
    ) -> Iterator[int]:
        """Token ids of an answer to the tokens read so far, one by one.

        The same as those of `sampling.generate` with this key and row id, the stop
        token included. Tokens are added to the cache as they are sampled; the answer
        may be left at any of them.

        Args:
          sampling_params: `samples` has no effect.

        Raises:
          ValueError: nothing was read, or the answer has no room.
        """
        room = sampling_params.max_new_tokens
        if self.hidden is None or len(self.tokens) + room > self.context:
            raise ValueError(
                f"an answer of {room} tokens after {len(self.tokens)} does not fit in "
                f"the context of {self.context} tokens"
            )
        settings = sampling_params.with_float32_temperature()
        ids = np.asarray([row_id], np.int32)
        answer = np.full((1, room), -1, np.int32)
        for n in range(room):
            step = np.full(1, n, np.int32)
            token = int(
                choose_token(
                    *(self.model, self.params, self.hidden, key, ids, step, settings),
                    answer=answer if settings.once_tokens else None,
                )
            )
            answer[0, n] = token
            ended = token in sampling_params.stop_tokens
            if not ended and n + 1 < room:
                self.append([token])  # runs while the caller shows the token
            yield token
            if ended:
                return


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """The number of tokens with which both begin.

    >>> common_prefix([1, 2, 3], [1, 2, 4, 5]), common_prefix([], [1])
    (2, 0)
    """
    pairs = zip(one, other, strict=False)
    return next(
        (i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other))
    )


@functools.partial(jax.jit, static_argnums=0, donate_argnums=5)
def read_piece(
    model: LanguageModel,
    params: Params,
    piece: Array,
    begin: Array,
    count: Array,
    cache: Cache,
) -> tuple[Array, Cache]:
    """Read the first `count` tokens of a padded piece [1 T] into slots from `begin` on.

    Returns:
      The hidden state of the last token read [1 D], and the cache.
    """
    cache = cache._replace(length=jnp.full(1, begin, jnp.int32))
    hidden, cache = model.extend(params, piece, cache)
    last = jax.lax.dynamic_index_in_dim(hidden, count - 1, axis=1, keepdims=False)
    return last, cache._replace(length=jnp.full(1, begin + count, jnp.int32))


@functools.partial(jax.jit, static_argnums=0)
def choose_token(
    model: LanguageModel,
    params: Params,
    hidden: Array,
    key: Key,
    row_ids: Array,
    step: Array,
    sampling_params: SamplingParams,
    *,
    answer: Array | None,
) -> Array:
    """The token after a hidden state [1 D], as `sampling.generate` samples it."""
    logits = next_logits(hidden, model.unembed(params), model.config.logit_cap)
    uniform = step_uniforms(key, row_ids, step)
    return sample_token(logits, uniform, sampling_params, answer)[0][0]
