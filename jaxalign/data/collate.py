"""Examples of each kind -> one padded batch, one answer a row."""

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
from jaxalign.data.examples import Example, TokenRow
from jaxalign.data.records import (
    Demonstration,
    Preference,
    Prompt,
    Ranking,
    Record,
    Unpaired,
)


def pad_sequences(sequences: Sequence[TokenRow], length: int) -> TokenBatch:
    """Right-pads sequences to a batch.

    Args:
      length: columns of the batch.
    """
    tokens = np.zeros((len(sequences), length), np.int32)
    trained = np.zeros((len(sequences), length), bool)
    for i, sequence in enumerate(sequences):
        tokens[i, : len(sequence.tokens)] = sequence.tokens
        trained[i, : len(sequence.mask)] = sequence.mask
    lengths = np.array([len(s.tokens) for s in sequences], np.int32)
    prompts = np.array([s.prompt_length for s in sequences], np.int32)
    batch = from_lengths(tokens, lengths, prompts)
    return dataclasses.replace(batch, loss_mask=batch.loss_mask & trained)


def mismatched_row(examples: Sequence[Example], i: int, longest: int) -> TokenRow:
    """The prompt of example i with the answer to the next different prompt (KTO).

    Next in the data set, so that it does not depend on the batch, and the reference's
    log-prob of it is computed once. TRL rotates answers by one within batches of a
    fixed order.

    Args:
      longest: tokens of the longest example; the row is cut to it.

    Raises:
      ValueError: all prompts are the same.
    """
    own = examples[i].sequences[0]
    prompt = own.tokens[: own.prompt_length]
    for step in range(1, len(examples)):
        neighbor = examples[(i + step) % len(examples)]
        other = neighbor.sequences[0]
        same_hash = neighbor.prompt_hash == examples[i].prompt_hash
        other_prompt = other.tokens[: other.prompt_length]
        if not (same_hash and is_same_prompt_truncated(prompt, other_prompt)):
            answer = slice(other.prompt_length, None)
            tokens = np.concatenate([prompt, other.tokens[answer]])
            unscored = np.zeros(len(prompt), bool)
            mask = np.concatenate([unscored, other.mask[answer]])
            return TokenRow(tokens[:longest], mask[:longest])
    raise ValueError("KTO needs two different prompts, to exchange their answers")


def is_same_prompt_truncated(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two prompts may be one, cut to different lengths after its first token.

    >>> a, b, c = np.array([1, 2, 3, 4]), np.array([1, 4]), np.array([1, 3])
    >>> is_same_prompt_truncated(a, a), is_same_prompt_truncated(a, b)
    (True, True)
    >>> is_same_prompt_truncated(a, c)
    False
    """
    shorter, longer = sorted((one, other), key=len)
    end = longer[len(longer) - max(len(shorter) - 1, 0) :]
    return np.array_equal(shorter[:1], longer[:1]) and np.array_equal(shorter[1:], end)


def make_collate(
    examples: Sequence[Example], kind: type[Record], length: int, longest: int
) -> Callable[[np.ndarray], Any]:
    """Makes the function that turns indices of examples into a batch.

    Args:
      kind: of the examples; it decides the class of the batch.
      length: columns of the batch.
      longest: tokens of the longest example.

    Returns:
      (indices, int [B]) -> batch of B rows; negative indices fill it up, and count
      nowhere.
    """
    most = max(len(example.sequences) for example in examples) if kind is Ranking else 0

    def collate(indices: np.ndarray) -> Any:
        valid, indices = indices >= 0, np.maximum(indices, 0)
        selected = [examples[i] for i in indices]
        row = np.array([e.row for e in selected], np.int32)
        value = np.array([e.value for e in selected], np.float32)
        if kind is Ranking:
            return ranking_batch(selected, row, valid, length, most)
        first = pad_sequences([e.sequences[0] for e in selected], length)
        if kind is Demonstration:
            loss_mask = first.loss_mask & valid[:, None]
            return dataclasses.replace(first, loss_mask=loss_mask)
        if kind is Prompt:
            lengths = first.lengths.astype(np.int32)
            return PromptBatch(first.tokens, lengths, row, valid)
        if kind is Preference:
            second = pad_sequences([e.sequences[1] for e in selected], length)
            label_prob = np.array([e.label_prob for e in selected], np.float32)
            return PreferenceBatch(first, second, value, row, valid, label_prob)
        if kind is Unpaired:
            others = pad_sequences(
                [mismatched_row(examples, i, longest) for i in indices], length
            )
            return UnpairedBatch(first, others, value > 0, row=row, valid=valid)
        raise TypeError(f"no batches of {kind!r}")

    return collate


def ranking_batch(
    examples: Sequence[Example],
    row: np.ndarray,
    valid: np.ndarray,
    length: int,
    most: int,
) -> RankingBatch:
    """Pads rankings of up to K answers; missing answers repeat the last, masked.

    Args:
      row: number of each ranking in its data set, int32 [B].
      valid: False on rankings that only fill the batch up, bool [B].
      length: columns of the batch.
      most: K, answers of the longest ranking.
    """
    mask = np.array([[k < len(e.sequences) for k in range(most)] for e in examples])
    answers = [
        e.sequences[min(k, len(e.sequences) - 1)] for e in examples for k in range(most)
    ]
    return RankingBatch(pad_sequences(answers, length), mask & valid[:, None], row)
