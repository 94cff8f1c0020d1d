"""Examples of each kind as one padded batch."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxalign.batches import (
    PreferenceBatch,
    PromptBatch,
    RankingBatch,
    TokenBatch,
    UnpairedBatch,
    from_lengths,
)
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
)
from jaxalign.data.tokenize import Example, TokenRow


def pad_sequences(sequences: Sequence[TokenRow], length: int) -> TokenBatch:
    """Sequences as one right-padded batch."""
    tokens = np.zeros((len(sequences), length), np.int32)
    counts = np.zeros((len(sequences), length), bool)
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence.tokens)] = sequence.tokens
        counts[i, : len(sequence.mask)] = sequence.mask
    lengths = np.array([len(s.tokens) for s in sequences], np.int32)
    prompts = np.array([s.prompt for s in sequences], np.int32)
    batch = from_lengths(tokens, lengths, prompts)
    return dataclasses.replace(batch, loss_mask=batch.loss_mask & counts)


def mismatched_row(examples: Sequence[Example], i: int, longest: int) -> TokenRow:
    """The prompt of one example with the answer to the next prompt that differs.

    Next in the data set, so that it is the same whatever the batch, and the reference's
    log-prob of it is computed once; as TRL, which turns answers by one within batches
    of a fixed order. It is cut where the row would be longer than any of the examples.
    """
    own = examples[i].sequences[0]
    asked = own.tokens[: own.prompt]
    for step in range(1, len(examples)):
        neighbour = examples[(i + step) % len(examples)]
        other = neighbour.sequences[0]
        same = neighbour.prompt == examples[i].prompt
        if not (same and is_same_prompt_truncated(asked, other.tokens[: other.prompt])):
            tokens = np.concatenate([asked, other.tokens[other.prompt :]])
            counts = np.concatenate([asked < 0, other.mask[other.prompt :]])
            return TokenRow(tokens[:longest], counts[:longest])
    raise ValueError("KTO needs two different prompts, to exchange their answers")


def is_same_prompt_truncated(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two prompts may be one, cut to different lengths after its first token.

    >>> a, b, c = np.array([1, 2, 3, 4]), np.array([1, 4]), np.array([1, 3])
    >>> is_same_prompt_truncated(a, a), is_same_prompt_truncated(a, b), is_same_prompt_truncated(a, c)
    (True, True, False)
    """
    shorter, longer = sorted((one, other), key=len)
    end = longer[len(longer) - max(len(shorter) - 1, 0) :]
    return np.array_equal(shorter[:1], longer[:1]) and np.array_equal(shorter[1:], end)


def make_collate(
    examples: Sequence[Example], kind: type[Record], length: int, longest: int
) -> Callable[[np.ndarray], Any]:
    """How indices of examples become a batch; negative ones only fill it up."""
    most = max(len(example.sequences) for example in examples) if kind is Ranking else 0

    def collate(indices: np.ndarray) -> Any:
        valid, at = indices >= 0, np.maximum(indices, 0)
        chosen = [examples[i] for i in at]
        row = np.array([e.row for e in chosen], np.int32)
        value = np.array([e.value for e in chosen], np.float32)
        if kind is Ranking:
            return ranking_batch(chosen, row, valid, length, most)
        first = pad_sequences([e.sequences[0] for e in chosen], length)
        if kind is Demonstration:
            counts = first.loss_mask & valid[:, None]
            return dataclasses.replace(first, loss_mask=counts)
        if kind is Prompt:
            lengths = first.lengths.astype(np.int32)
            return PromptBatch(first.tokens, lengths, row, valid)
        if kind is Preference:
            second = pad_sequences([e.sequences[1] for e in chosen], length)
            label_prob = np.array([e.label_prob for e in chosen], np.float32)
            return PreferenceBatch(first, second, value, row, valid, label_prob)
        if kind is Unpaired:
            others = pad_sequences(
                [mismatched_row(examples, i, longest) for i in at], length
            )
            return UnpairedBatch(first, others, value > 0, row=row, valid=valid)
        raise TypeError(f"no batches of {kind!r}")

    return collate


def ranking_batch(
    chosen: Sequence[Example],
    row: np.ndarray,
    valid: np.ndarray,
    length: int,
    most: int,
) -> RankingBatch:
    """Rankings of up to K answers; missing ones repeat the last, and do not count."""
    there = np.array([[k < len(e.sequences) for k in range(most)] for e in chosen])
    answers = [
        e.sequences[min(k, len(e.sequences) - 1)] for e in chosen for k in range(most)
    ]
    return RankingBatch(pad_sequences(answers, length), there & valid[:, None], row)
