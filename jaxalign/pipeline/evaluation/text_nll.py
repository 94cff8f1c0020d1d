"""Negative log-likelihood of plain texts under a language model, window by window."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxalign import batches, sharding
from jaxalign.data.text_documents import Document
from jaxalign.data.text_encoding import encode_texts
from jaxalign.data.tokenizer import special_token_texts
from jaxalign.evaluation.perplexity import LongTexts, Window, sliding_windows
from jaxalign.pipeline import answer_scores
from jaxalign.pipeline.policies import Policy

WINDOWS_PER_CHUNK = 256  # that are measured between two saves
MIN_WIDTH = 64  # columns of the narrowest batch; widths double from there


class TextWindow(NamedTuple):
    """A window of a document's tokens.

    Attributes:
      document: the index of the document.
      tokens: the document's token ids, int32 [T], all windows of it the same array.
      window: the part that is read.
      byte_count: bytes of the document's text that fall to the predicted tokens, in
        proportion to their number.
    """

    document: int
    tokens: np.ndarray
    window: Window
    byte_count: float


@dataclasses.dataclass(frozen=True)
class TokenizedTexts:
    """Documents as windows of tokens.

    Attributes:
      windows: of all documents, in order.
      counts: what a reader of the numbers should know, by name: tokens, documents
        longer than the context, tokens that were cut, unknown tokens, documents that
        hold special tokens.
    """

    windows: list[TextWindow]
    counts: dict[str, int]


def begin_token(policy: Policy) -> int:
    """The token before each text: beginning of sequence, or else end of sequence.

    As EleutherAI's evaluation harness chooses it (`prefix_token_id`).
    """
    tokenizer = policy.tokenizer
    bos = tokenizer.bos_token_id
    return int(tokenizer.eos_token_id if bos is None else bos)


def tokenize_texts(
    policy: Policy,
    documents: Sequence[Document],
    *,
    stride: int,
    long_texts: LongTexts = "windows",
    score_end: bool = False,
) -> TokenizedTexts:
    """Tokenize documents and divide them into windows of the policy's context.

    Each document begins with `begin_token`, which is not predicted, so that its first
    token is. Documents do not see each other.

    Args:
      stride: tokens that a window after the first predicts, 1 to context - 1.
      long_texts: read texts longer than the context in windows, or cut them.
      score_end: predict the end-of-sequence token after each document, too.

    Raises:
      ValueError: a stride out of range, or no document has a token.
    """
    tokenizer, context = policy.tokenizer, policy.context
    sliding_windows(context, context, stride)  # refuses the stride before all else
    end = [tokenizer.eos_token_id] * score_end
    counts = dict.fromkeys(("tokens", "long", "cut", "unknown", "special"), 0)
    special = special_token_texts(tokenizer)
    windows = []
    texts = [document.text for document in documents]
    for i, ids in enumerate(encode_texts(tokenizer, texts)):
        tokens = np.array([begin_token(policy), *ids, *end], np.int32)
        counts["unknown"] += ids.count(tokenizer.unk_token_id)
        counts["special"] += any(text in texts[i] for text in special)
        counts["long"] += len(tokens) > context
        size, predicted = len(texts[i].encode()), len(tokens) - 1
        if long_texts == "cut":
            counts["cut"] += max(len(tokens) - context, 0)
            tokens = tokens[:context]
        for window in sliding_windows(len(tokens), context, stride):
            count = window.stop - window.first_scored
            windows.append(TextWindow(i, tokens, window, size * count / predicted))
            counts["tokens"] += count
    if not windows:
        raise ValueError("none of the texts has a token")
    return TokenizedTexts(windows, counts)


def window_nll(policy: Policy, windows: Sequence[TextWindow], rows: int) -> np.ndarray:
    """Sums of the negative log-likelihoods of each window's tokens, in nats [W].

    Args:
      rows: windows in a batch.
    """
    parts = [w.tokens[w.window.start : w.window.stop] for w in windows]
    lengths = np.array(list(map(len, parts)), np.int32)
    tokens = np.zeros(
        (len(parts), batch_width(lengths.max(), policy.context)), np.int32
    )
    for row, ids in zip(tokens, parts, strict=True):
        row[: len(ids)] = ids
    read = [w.window.first_scored - w.window.start for w in windows]
    batch = batches.from_lengths(tokens, lengths, np.array(read, np.int32))
    mesh = sharding.mesh_of(policy.params)

    def logp(part: Any) -> Any:
        placed = sharding.shard_from_replicated(part, mesh)
        return answer_scores.answer_logp(policy.model, policy.params, placed)

    return -answer_scores.map_batches(logp, batch, rows, mesh).astype(np.float64)


def batch_width(longest: int, context: int) -> int:
    """Columns of a batch: few different ones, so that few programs are compiled.

    >>> batch_width(100, 512), batch_width(400, 500)
    (128, 500)
    """
    width = MIN_WIDTH
    while width < longest:
        width *= 2
    return min(width, context)
