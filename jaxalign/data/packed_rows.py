"""Packed rows: several sequences in one row, each a segment of its own.

Per example, columns are arrays over tokens (`tokens`, `positions`, `branch`,
`loss_mask`) and, for pairs and rankings, numbers (`answers`, `row`, `value`,
`label_prob`). Branch 0 is a prompt or a whole sequence; the answers to a prompt are
branches 1, 2, ... of it.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxalign.batches import BRANCH_STRIDE, AnswerBatch, TokenBatch
from jaxalign.data.examples import Example, TokenRow

PER_PROMPT = (
    *(("answers", np.int32), ("row", np.int32)),
    *(("value", np.float32), ("label_prob", np.float32)),
)
Columns = dict[str, Any]


def sequence_columns(sequence: TokenRow) -> Columns:
    """The columns of one sequence; its first token, which nothing predicts, is masked.

    Returns:
      Arrays [T] by name.
    """
    return {
        "tokens": sequence.tokens,
        "positions": np.arange(len(sequence.tokens)),
        "branch": np.zeros(len(sequence.tokens), np.int32),
        "loss_mask": mask_first(sequence.mask),
    }


def shared_prefix_columns(example: Example) -> Columns:
    """The columns of a prompt, stored once, and its answers.

    [shared prefix without its last token | that token and answer 1 | that token and
    answer 2 | ...]: each answer begins with the token from which its first is
    predicted. The shared prefix is the prompt or, where prompts differ, what they have
    in common.

    Returns:
      Arrays [packed_size] by name, and the numbers of `PER_PROMPT`.
    """
    sequences = example.sequences
    start = prefix_tokens(example)
    parts = [TokenRow(sequences[0].tokens[:start], sequences[0].mask[:start])]
    parts += [TokenRow(s.tokens[start:], s.mask[start:]) for s in sequences]
    offsets = [0] + [start] * len(sequences)
    positions = [
        np.arange(len(part.tokens)) + offset
        for part, offset in zip(parts, offsets, strict=True)
    ]
    branches = [np.full(len(part.tokens), k, np.int32) for k, part in enumerate(parts)]
    return {
        "tokens": np.concatenate([part.tokens for part in parts]),
        "positions": np.concatenate(positions),
        "branch": np.concatenate(branches),
        "loss_mask": np.concatenate([mask_first(part.mask) for part in parts]),
        "answers": np.int32(len(sequences)),
        "row": np.int32(example.row),
        "value": np.float32(example.value),
        "label_prob": np.float32(example.label_prob),
    }


def mask_first(mask: np.ndarray) -> np.ndarray:
    """A loss mask [T] that is False on the first token."""
    return mask & (np.arange(len(mask)) > 0)


def packed_size(example: Example) -> int:
    """The number of tokens in the `shared_prefix_columns` of an example."""
    start = prefix_tokens(example)
    return start + sum(len(s.tokens) - start for s in example.sequences)


def prefix_tokens(example: Example) -> int:
    """Tokens of the shared prefix without its last one, which each answer repeats."""
    return max(shared_prefix_length(example), 1) - 1


def shared_prefix_length(example: Example) -> int:
    """Length of the longest prefix that all sequences share and none is trained on."""
    first = example.sequences[0].tokens
    length = min(sequence.prompt_length for sequence in example.sequences)
    for sequence in example.sequences[1:]:
        same = sequence.tokens[:length] == first[:length]
        length = length if same.all() else int(same.argmin())
    return length


def pack_tokens(rows: Sequence[Sequence[Columns]], length: int) -> TokenBatch:
    """Rows of examples' columns as a padded batch.

    Args:
      rows: of the batch; each holds the columns of its examples, from left to right.
      length: columns of the batch.
    """
    types = {"tokens": np.int32, "positions": np.int32, "segments": np.int32}
    arrays: Columns = {
        name: np.zeros((len(rows), length), dtype)
        for name, dtype in (types | {"loss_mask": bool}).items()
    }
    for i, row in enumerate(rows):
        begin = 0
        for number, columns in enumerate(row, start=1):
            end = begin + len(columns["tokens"])
            segments = number + columns["branch"] * BRANCH_STRIDE
            for name, array in arrays.items():
                part = segments if name == "segments" else columns[name]
                array[i, begin:end] = part
            begin = end
    return TokenBatch(**arrays)


def pack_answers(
    rows: Sequence[Sequence[Columns]], length: int, *, prompts: int, answers: int
) -> AnswerBatch:
    """Rows of prompts with their answers as a padded batch.

    Args:
      rows: of the batch; each holds the columns of its prompts, from left to right.
      length: columns of the batch.
      prompts: places for prompts in each row.
      answers: places for answers of each prompt.
    """
    arrays = {name: np.zeros((len(rows), prompts), type_) for name, type_ in PER_PROMPT}
    for i, row in enumerate(rows):
        for name, array in arrays.items():
            array[i, : len(row)] = [columns[name] for columns in row]
    counts = arrays["answers"].reshape(-1, 1)
    return AnswerBatch(
        sequences=pack_tokens(rows, length),
        mask=np.arange(answers)[None, :] < counts,
        margin=arrays["value"].reshape(-1),
        label_prob=arrays["label_prob"].reshape(-1),
        row=arrays["row"].reshape(-1),
    )
