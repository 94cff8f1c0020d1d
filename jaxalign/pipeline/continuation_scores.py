"""Log-probs of continuations after contexts: what likelihood benchmarks ask for.

Requests are token ids, of any lengths. Requests with one input, such as the letters A
to D after a question, cost one row; rows are sorted by length and padded to few shapes,
each compiled once; a context that is too long is cut from the left.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign import sharding
from jaxalign.batches import TokenBatch, from_lengths
from jaxalign.estimators import TargetStatistics, target_statistics
from jaxalign.pipeline.answer_scores import round_up_to_devices
from jaxalign.pipeline.policies import Policy
from jaxalign.training import forward
from jaxalign.types import Array, LanguageModel, Params

MIN_WIDTH = 16  # tokens of the narrowest batch


class Continuation(NamedTuple):
    """A continuation to score after its context, each at least one token id."""

    context: Sequence[int]
    tokens: Sequence[int]


class ContinuationScore(NamedTuple):
    """What a model says of a continuation.

    Attributes:
      logp: the sum of its tokens' log-probs, in nats.
      is_greedy: whether greedy decoding would yield every one of its tokens.
    """

    logp: float
    is_greedy: bool


class ScoredRow(NamedTuple):
    """An input of the model, and the requests that it serves.

    Attributes:
      tokens: the input, int32 [T]: context and continuation without the last token.
      requests: their indices.
    """

    tokens: np.ndarray
    requests: list[int]


class ScoringBatch(NamedTuple):
    """Rows of one compiled shape.

    Attributes:
      rows: the inputs, right-padded [R T].
      columns: the column that predicts each scored token [R S]; 0 on padding.
      targets: the scored tokens [R S]; 0 on padding.
    """

    rows: TokenBatch
    columns: Array
    targets: Array


def bucket(size: int) -> int:
    """The least of 1, 2, 3, 4, 6, 8, 12, 16, 24, ... that is at least `size`.

    >>> [bucket(n) for n in (1, 3, 5, 7, 13, 100)]
    [1, 3, 6, 8, 16, 128]
    """
    power = 1 << (size - 1).bit_length()
    return power * 3 // 4 if power >= 4 and size <= power * 3 // 4 else power


def excess_tokens(request: Continuation, context: int) -> int:
    """Tokens to cut from the left of a request for a model's context."""
    return max(0, len(request.context) + len(request.tokens) - context - 1)


def score_continuations(
    policy: Policy, requests: Sequence[Continuation], *, rows: int
) -> Iterator[dict[int, ContinuationScore]]:
    """Scores continuations, the longest inputs first, a batch at a time.

        logp = sum_t log p(tokens[t] | context, tokens[:t])

    A score does not depend on the other requests, their order, or `rows`, but for the
    rounding of float32 sums over other padded lengths. Rows are divided over the mesh
    of the parameters.

    Args:
      rows: inputs at a time; rounded up to divide among the devices.

    Yields:
      The scores of some requests by their index, every index once.

    Raises:
      ValueError: an empty context or continuation, or a continuation longer than the
        model's context.
    """
    inputs = unique_inputs(requests, policy.context)
    mesh = sharding.mesh_of(policy.params)
    size = round_up_to_devices(min(rows, max(1, len(inputs))), mesh)
    pending: tuple[list[ScoredRow], TargetStatistics] | None = None
    for start in range(0, len(inputs), size):
        part = inputs[start : start + size]
        filled = [part[i % len(part)] for i in range(size)]
        batch = make_batch(filled, requests, policy.context)
        placed = sharding.shard_from_replicated(batch, mesh)
        with sharding.use_mesh(mesh):
            statistics = batch_statistics(policy.model, policy.params, placed)
        if pending is not None:  # read while the devices compute the next
            yield request_scores(*pending, requests)
        pending = part, statistics
    if pending is not None:
        yield request_scores(*pending, requests)


def unique_inputs(requests: Sequence[Continuation], context: int) -> list[ScoredRow]:
    """The different inputs of requests, the longest first.

    Args:
      context: tokens of the longest input.

    Raises:
      ValueError: a request that cannot be scored.
    """
    by_input: dict[bytes, ScoredRow] = {}
    for index, request in enumerate(requests):
        if not len(request.context) or not len(request.tokens):
            empty = "continuation" if len(request.context) else "context"
            raise ValueError(f"request {index} has a {empty} of 0 tokens; expected 1")
        if len(request.tokens) > context:
            raise ValueError(
                f"request {index} has a continuation of {len(request.tokens)} tokens, "
                f"which does not fit in the model's context of {context}"
            )
        together = np.array([*request.context, *request.tokens], np.int32)
        tokens = together[excess_tokens(request, context) : -1]
        row = by_input.setdefault(tokens.tobytes(), ScoredRow(tokens, []))
        row.requests.append(index)
    return sorted(by_input.values(), key=lambda row: -len(row.tokens))


def make_batch(
    rows: Sequence[ScoredRow], requests: Sequence[Continuation], context: int
) -> ScoringBatch:
    """Rows right-padded to a shape of few: [R T], with S scored tokens a row.

    Args:
      context: tokens of the widest batch.
    """
    lengths = np.array([len(row.tokens) for row in rows], np.int32)
    width = min(bucket(max(MIN_WIDTH, int(lengths.max()))), context)
    tokens = np.zeros((len(rows), width), np.int32)
    counts = [sum(len(requests[i].tokens) for i in row.requests) for row in rows]
    columns = np.zeros((len(rows), bucket(max(counts))), np.int32)
    targets = np.zeros_like(columns)
    for n, row in enumerate(rows):
        length, at = len(row.tokens), 0
        tokens[n, :length] = row.tokens
        for i in row.requests:
            scored = requests[i].tokens
            columns[n, at : at + len(scored)] = (
                length - len(scored) + np.arange(len(scored))
            )
            targets[n, at : at + len(scored)] = scored
            at += len(scored)
    return ScoringBatch(
        from_lengths(tokens, lengths, np.zeros_like(lengths)), columns, targets
    )


@partial(jax.jit, static_argnums=0)
def batch_statistics(
    model: LanguageModel, params: Params, batch: ScoringBatch
) -> TargetStatistics:
    """Log-probs and argmax matches of the scored tokens of a batch [R S] each."""
    hidden, unembed = forward.hidden_and_unembed(model, params, batch.rows)
    scored = jnp.take_along_axis(hidden, batch.columns[:, :, None], axis=1)
    return target_statistics(
        scored, unembed, batch.targets, logit_cap=model.config.logit_cap
    )


def request_scores(
    rows: Sequence[ScoredRow],
    statistics: TargetStatistics,
    requests: Sequence[Continuation],
) -> dict[int, ContinuationScore]:
    """The scores of the requests of a batch's rows, from its statistics."""
    logp, is_greedy = map(sharding.to_host, statistics)
    scores = {}
    for n, row in enumerate(rows):
        at = 0
        for i in row.requests:
            end = at + len(requests[i].tokens)
            total = float(logp[n, at:end].sum(dtype=np.float64))
            scores[i] = ContinuationScore(total, bool(is_greedy[n, at:end].all()))
            at = end
    return scores
