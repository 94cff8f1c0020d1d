"""Several short sequences in one row, told apart by segments.

A packed row trains like its sequences in rows of their own, without the padding; the
answers to one prompt can share it.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import grain
import jax
import numpy as np

from jaxalign.batches import BRANCH, AnswerBatch, TokenBatch
from jaxalign.data.examples import Example, TokenRow, longest
from jaxalign.data.loader import Batches

BINS_PER_ROW = 4  # rows that are filled at once; more leave less padding
ROW = 192  # tokens that a row of short prompts with their answers should have, about
FILLED = 0.93  # how much of a row is not padding, about
PER_TOKEN = ("tokens", "positions", "branch", "loss_mask")
PER_PROMPT = ("answers", "row", "value")
# the examples are in memory, so threads would only wait for each other
NO_THREADS = grain.ReadOptions(num_threads=0)


def packed_batches(
    examples: Sequence[Example], batch_size: int, *, length: int, seed: int
) -> Batches:
    """Endless batches of demonstrations, packed first-fit in rows of `length`.

    Shuffled anew in each epoch, sharded by process, resumable. How many sequences a
    batch has varies; its shape does not.

    Args:
      batch_size: packed rows over all processes.
      length: of a row; no example may be longer.

    Raises:
      ValueError: an example is too long, the batch does not divide by the processes, or
        there are no examples.

    Reference: Krell et al. 2021, arXiv:2107.02027 (packing without contamination).
    """
    if examples and length < longest(examples):
        raise ValueError(
            f"length {length} is shorter than an example of {longest(examples)}"
        )
    columns = lambda i: alone(examples[i].sequences[0])
    struct = dict.fromkeys(PER_TOKEN, length)
    return packed(columns, len(examples), struct, batch_of, batch_size, seed=seed)


def answer_batches(
    examples: Sequence[Example],
    batch_size: int,
    *,
    seed: int,
    multiple: int = 1,
) -> Batches:
    """Endless batches of pairs or rankings, in which each prompt is there once.

    The answers to a prompt share it, and rows are filled with several prompts: that
    saves repeated prompts, and padding. How many prompts a batch has varies around
    `batch_size`; its shape does not.

    Args:
      batch_size: prompts over all processes, on average.
      multiple: of what the number of rows must be: devices times micro-batches.

    Raises:
      ValueError: the batch does not divide by the processes, or there are no examples.
    """
    if not examples:
        raise ValueError("there are no examples to pack")
    sizes = [places(example) for example in examples]
    mean = sum(sizes) / len(sizes)
    rows, length = shape(batch_size, max(sizes), mean, multiple)
    prompts = 2 * math.ceil(length / mean)
    return packed(
        lambda i: together(examples[i]),
        len(examples),
        dict.fromkeys(PER_TOKEN, length) | dict.fromkeys(PER_PROMPT, prompts),
        functools.partial(answers_of, answers=max(len(e.sequences) for e in examples)),
        rows,
        seed=seed,
        meta_features=PER_PROMPT,
        max_sequences_per_bin=prompts,
    )


def shape(batch_size: int, longest: int, mean: float, multiple: int) -> tuple[int, int]:
    """How many rows hold about `batch_size` prompts, and how long they are.

    As many prompts go in a row as make it `ROW` tokens long, or as the longest is; the
    rows are a multiple of 8, so that the batches are the same on 1 to 8 devices.

    Args:
      longest: prompt with its answers, in tokens; `mean`, on average.
    """
    wanted = max(longest, ROW) / mean if mean else 1
    multiple = math.lcm(multiple, 8)
    rows = batch_size
    for prompts in range(1, max(round(wanted), 1) + 1):
        if batch_size % (prompts * multiple) == 0:
            rows = batch_size // prompts
    length = max(longest, batch_size * mean / (rows * FILLED))
    return rows, -(-math.ceil(length) // 8) * 8


def packed(
    columns: Callable[[int], dict[str, np.ndarray]],
    count: int,
    lengths: dict[str, int],
    collate: Callable[[dict[str, Any]], Any],
    rows: int,
    *,
    seed: int,
    **packing: Any,
) -> Batches:
    """Batches of rows over all processes, filled first-fit; without end.

    Args:
      columns: of the i-th of `count` examples.
      lengths: entries that a row has of each column.
    """
    processes = jax.process_count()
    if rows < 1 or rows % processes:
        raise ValueError(f"batch {rows} does not divide by {processes} processes")
    if count < processes:
        raise ValueError(f"{count} examples cannot be packed")
    order = grain.MapDataset.source(np.arange(count)).seed(seed).shuffle()
    share = order.repeat(None)[jax.process_index() :: processes]
    filled = grain.experimental.FirstFitPackIterDataset(
        share.map(columns).to_iter_dataset(NO_THREADS),
        length_struct=lengths,
        num_packing_bins=rows // processes * BINS_PER_ROW,
        seed=seed,
        **packing,
    )
    iterator = iter(filled.batch(rows // processes, drop_remainder=True))
    length = lengths["tokens"]
    said = {"rows": count, "batch": rows, "seed": seed, "length": length}
    return Batches(iterator, collate, said)


def alone(sequence: TokenRow) -> dict[str, np.ndarray]:
    """A sequence; nothing predicts its first token."""
    counts = sequence.mask & (np.arange(len(sequence.mask)) > 0)
    return {
        "tokens": sequence.tokens,
        "positions": np.arange(len(sequence.tokens)),
        "branch": np.zeros(len(sequence.tokens), np.int32),
        "loss_mask": counts,
    }


def shared(example: Example) -> int:
    """How many first tokens all sequences have in common, that count in none."""
    first = example.sequences[0].tokens
    most = min(sequence.prompt for sequence in example.sequences)
    for sequence in example.sequences[1:]:
        same = sequence.tokens[:most] == first[:most]
        most = most if same.all() else int(same.argmin())
    return most


def places(example: Example) -> int:
    """How many tokens `together` makes of an example."""
    start = max(shared(example), 1) - 1
    return start + sum(len(s.tokens) - start for s in example.sequences)


def together(example: Example) -> dict[str, np.ndarray]:
    """What the answers share but for its last token, then each one, after that token.

    That is their prompt, or, where prompts differ, what they have in common.
    """
    first = example.sequences[0]
    start = max(shared(example), 1) - 1
    parts = [TokenRow(first.tokens[:start], first.mask[:start])]
    parts += [TokenRow(s.tokens[start:], s.mask[start:]) for s in example.sequences]
    places = [
        np.arange(len(part.tokens)) + (k > 0) * start for k, part in enumerate(parts)
    ]
    branches = [np.full(len(part.tokens), k, np.int32) for k, part in enumerate(parts)]
    masks = [p.mask & (np.arange(len(p.mask)) > 0) for p in parts]
    return {
        "tokens": np.concatenate([part.tokens for part in parts]),
        "positions": np.concatenate(places),
        "branch": np.concatenate(branches),
        "loss_mask": np.concatenate(masks),
        "answers": np.array([len(example.sequences)]),
        "row": np.array([example.row]),
        "value": np.array([example.value], np.float32),
    }


def batch_of(columns: dict[str, Any]) -> TokenBatch:
    """Grain's packed columns as a batch."""
    segments = columns["tokens_segment_ids"] + columns["branch"] * BRANCH
    return TokenBatch(
        tokens=columns["tokens"].astype(np.int32),
        positions=columns["positions"].astype(np.int32),
        segments=segments.astype(np.int32),
        loss_mask=columns["loss_mask"].astype(bool),
    )


def answers_of(columns: dict[str, Any], *, answers: int) -> AnswerBatch:
    """Grain's packed columns as a batch of prompts with their answers."""
    there = columns["answers"].reshape(-1, 1)
    return AnswerBatch(
        sequences=batch_of(columns),
        mask=np.arange(answers)[None, :] < there,
        margin=columns["value"].reshape(-1).astype(np.float32),
        row=columns["row"].reshape(-1).astype(np.int32),
    )
