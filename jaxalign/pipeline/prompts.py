"""Prompts as tokens: selected by length, padded, and in endless shuffled batches."""

import collections
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxalign import streams
from jaxalign.data import chat, loader, mixing
from jaxalign.data.records import Prompt, RowReport
from jaxalign.pipeline.policies import Policy


@dataclasses.dataclass(frozen=True)
class TokenizedPrompts:
    """Prompts with their token ids, each tokenized once.

    Attributes:
      records: the prompts [P]; of a mixture, `mixing.MixedRecords`.
      rows: the token ids of each prompt, not padded [P].
    """

    records: list[Prompt]
    rows: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.records)

    def first(self, count: int) -> "TokenizedPrompts":
        """At most the first `count` prompts; no longer a mixture."""
        return TokenizedPrompts(self.records[:count], self.rows[:count])


def tokenize_prompts(policy: Policy, records: Sequence[Prompt]) -> TokenizedPrompts:
    """Tokenizes prompts with the policy's tokenizer and chat template.

    Raises:
      ValueError: the chat template leaves out a part of a prompt.
    """
    conversations = [chat.Conversation(p.messages, p.tools) for p in records]
    rows = chat.encode_prompts(policy.tokenizer, conversations) if records else []
    return TokenizedPrompts(list(records), rows)


def select_prompts(
    policy: Policy,
    records: Sequence[Prompt],
    max_new_tokens: int,
    note: Callable[[str], None],
    name: str,
) -> TokenizedPrompts:
    """Tokenizes prompts and keeps those that leave room for an answer.

    Prompts that are too long, and prompts of which the chat template leaves out a part,
    are dropped, counted and reported. A mixture stays a mixture.

    Args:
      max_new_tokens: the longest answer, in tokens.
      note: shows a line, such as `Run.note`.
      name: the name of the prompts in that line.

    Raises:
      ValueError: no prompt of a part of a mixture is left.
    """
    context = policy.config.context
    conversations = [chat.Conversation(p.messages, p.tools) for p in records]
    encoded = chat.try_encode_prompts(policy.tokenizer, conversations)
    reasons = collections.Counter(row.drop_reason for row in encoded if row.drop_reason)
    is_shown = np.array([not row.drop_reason for row in encoded], bool)
    if reasons:
        note(f"{name}: {RowReport(len(encoded), int(is_shown.sum()), reasons)}")
        records = mixing.select(records, is_shown)
    rows = [row.tokens for row in encoded if not row.drop_reason]
    lengths = np.array(list(map(len, rows)), np.int64)
    fits = lengths <= context - max_new_tokens
    if not fits.all():
        note(
            f"{name}: {fits.sum()} of {len(records)} prompts ({(~fits).sum()} longer "
            f"than {context - max_new_tokens} tokens, {lengths.max()} at most, left "
            f"out: they leave no room for {max_new_tokens} new tokens in a context of "
            f"{context})"
        )
    short = [row for row, is_short in zip(rows, fits, strict=True) if is_short]
    return TokenizedPrompts(mixing.select(records, fits), short)


def pad_prompts(
    policy: Policy, prompts: TokenizedPrompts, max_new_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Prompts as right-padded token ids [P T] and their lengths in tokens [P].

    Raises:
      ValueError: there is no prompt, or one leaves no room for `max_new_tokens` in the
        context of the policy's model.
    """
    context = policy.model.config.context
    if not prompts.rows:
        raise ValueError(
            f"no prompt leaves room for {max_new_tokens} new tokens in a context of "
            f"{context}: lower --max-new-tokens"
        )
    lengths = np.array(list(map(len, prompts.rows)))
    if lengths.max() > context - max_new_tokens:
        location = prompts.records[int(lengths.argmax())].location
        raise ValueError(
            f"the prompt of {lengths.max()} tokens at {location} leaves no room for "
            f"{max_new_tokens} new tokens in a context of {context}"
        )
    return pad_rows(prompts.rows, context - max_new_tokens)


def pad_rows(rows: Sequence[Any], limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Token ids as right-padded int32 rows [P T] and their lengths [P].

    Args:
      rows: token ids of each row.
      limit: the most columns; T is the longest row, rounded up to a multiple of 16
        where the limit allows that.
    """
    lengths = np.array([len(row) for row in rows], np.int32)
    longest = -(-int(lengths.max()) // 16) * 16
    tokens = np.zeros((len(rows), min(longest, limit)), np.int32)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    return tokens, lengths


def cyclic_slice(records: Sequence[Prompt], first: int, count: int) -> list[Prompt]:
    """At most `count` prompts from number `first` on; the first follows the last.

    Each part of a mixture has its share of them, and begins again by itself.

    >>> cyclic_slice("abcde", 4, 3), cyclic_slice("ab", 3, 5)
    (['e', 'a', 'b'], ['b', 'a'])
    """
    size = min(count, len(records))
    if isinstance(records, mixing.MixedRecords):
        order = mixing.mixed_order(records.sizes, records.weights)
        return [records[order[first + i]] for i in range(size)]
    return [records[(first + i) % len(records)] for i in range(size)]


class PromptRows(NamedTuple):
    """This process's share of a batch of prompts.

    Attributes:
      records: the prompts [P].
      tokens: right-padded token ids [P T].
      lengths: of the prompts, in tokens [P].
      answer_ids: the noise id, (prompt, repeat), of each answer [P N 2].
    """

    records: list[Prompt]
    tokens: np.ndarray
    lengths: np.ndarray
    answer_ids: np.ndarray


class PromptIterator:
    """Endless shuffled batches of prompts, whose position can be saved.

    Attributes:
      records: all prompts.
      lengths: of all prompts, in tokens.
      width: columns of a batch's tokens.
      batch_size: prompts in a batch, over all processes.
      samples: answers to each prompt.
      ids: the number of each prompt in random streams.
      batches: the iterator below, of the whole batch's rows.
    """

    def __init__(
        self,
        records: list[Prompt],
        padded: tuple[np.ndarray, np.ndarray],
        batch_size: int,
        *,
        samples: int,
        seed: int,
        mesh: Mesh | None = None,
    ) -> None:
        """Args:

        padded: the prompts' tokens [P T] and lengths [P], of `pad_prompts`.
        batch_size: prompts in a batch, over all processes.
        samples: answers to each prompt, for their noise ids.
        seed: of the shuffling.
        mesh: that the rows of a batch are divided over.
        """
        tokens, self.lengths = padded
        self.records, self.width = records, tokens.shape[1]
        self.batch_size, self.samples = batch_size, samples
        self.ids = [streams.prompt_id(prompt.messages) for prompt in records]
        mixture = mixing.sizes_and_weights(records)
        self.batches = loader.prompt_batches(
            *(tokens, self.lengths, batch_size), seed=seed, mixture=mixture, mesh=mesh
        )

    def __iter__(self) -> "PromptIterator":
        return self

    def __next__(self) -> PromptRows:
        batch = next(self.batches)
        # of the whole batch: a prompt that comes twice has other noise each time,
        # whichever process has it
        ids = [self.ids[row] for row in self.batches.global_indices]
        answer_ids = streams.answer_ids(ids, self.samples).reshape(-1, self.samples, 2)
        return PromptRows(
            records=[self.records[row] for row in batch.row],
            tokens=batch.tokens,
            lengths=batch.lengths,
            answer_ids=answer_ids[self.batches.share],
        )

    @property
    def rows(self) -> np.ndarray:
        """The numbers of the last batch's prompts in the data set, rising."""
        return self.batches.rows

    @property
    def epoch(self) -> float:
        """Passes over the prompts so far."""
        return self.batches.epoch

    def first_records(self, count: int) -> list[Prompt]:
        """At most the first `count` prompts of the last batch, over all processes."""
        return [self.records[row] for row in self.batches.global_indices[:count]]

    def get_state(self) -> dict[str, Any]:
        """The position, as JSON values; the same on every process."""
        return self.batches.get_state()

    def set_state(self, state: dict[str, Any], /) -> None:
        """Moves to a position that `get_state` returned."""
        self.batches.set_state(state)
