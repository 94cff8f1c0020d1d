"""Records of a data set as tokens: training and held-out examples."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from jaxalign.data import dataset_ops, mixing
from jaxalign.data.cached_examples import CachedExamples
from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.data.records import Preference, Record, Unpaired
from jaxalign.data.tokenize import tokenize
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.pipeline.datasets.cached import load_token_cache
from jaxalign.pipeline.datasets.dataset import Dataset
from jaxalign.pipeline.datasets.record_splits import account_of_examples, row_numbers
from jaxalign.runtime.config import RunConfig

Examples = Sequence[Example]


class TextPolicy(Protocol):
    """A policy as tokenization needs it: a tokenizer and a context."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast: ...
    @property
    def context(self) -> int: ...


def tokenized_pairs(
    config: RunConfig,
    dataset: Dataset,
    policy: TextPolicy,
    note: Callable[[str], None],
) -> tuple[Examples, Examples]:
    """Training and held-out pairs as tokens.

    Args:
      note: prints a line on what was dropped.
    """
    return tokenized_examples(config, dataset, Preference, policy, note)


def tokenized_unpaired(
    config: RunConfig,
    dataset: Dataset,
    policy: TextPolicy,
    note: Callable[[str], None],
) -> tuple[Examples, Examples]:
    """Training and held-out unpaired answers as tokens; each pair gives two of them."""
    return tokenized_examples(config, dataset, Unpaired, policy, note)


def tokenized_examples(
    config: RunConfig,
    dataset: Dataset,
    kind: type[Preference] | type[Unpaired],
    policy: TextPolicy,
    note: Callable[[str], None],
) -> tuple[Examples, Examples]:
    """Training and held-out pairs or unpaired answers as tokens; mixtures stay such."""
    if dataset.held_out_data is not None:
        return examples_with_held_out_data(config, dataset, kind, policy, note)
    if dataset.parts:
        return mixed_examples(config, dataset, kind, policy, note)
    if kind is Unpaired and not dataset.has_unpaired:
        try:
            train_pairs, held_out_pairs = tokenized_pairs(config, dataset, policy, note)
        except ValueError as error:
            error.add_note("read as pairs, since no row has a label of true or false")
            raise
        return dataset_ops.unpair(train_pairs), dataset_ops.unpair(held_out_pairs)
    if config.token_cache is not None and dataset.split_files:
        return load_token_cache(
            *(config, dataset, kind, policy.tokenizer, policy.context), note
        )
    train, held_out = dataset.split(kind)
    return (
        tokenize_records(config, train, policy, note, "train"),
        tokenize_records(config, held_out, policy, note, "held out"),
    )


def examples_with_held_out_data(
    config: RunConfig,
    dataset: Dataset,
    kind: type[Preference] | type[Unpaired],
    policy: TextPolicy,
    note: Callable[[str], None],
) -> tuple[Examples, Examples]:
    """Examples of a data set, with all those of --held-out-data held out."""
    assert dataset.held_out_data is not None
    base, test = dataset.held_out_data
    train, _ = tokenized_examples(config, base, kind, policy, note)
    held_out, _ = tokenized_examples(config, test, kind, policy, note)
    remaining = drop_held_out_prompts(train, held_out)
    rows = held_out_row_numbers(test, held_out)
    account = account_of_examples(dataset.name, train, remaining, held_out, rows)
    dataset.record_account(kind, account)
    return remaining, held_out


def mixed_examples(
    config: RunConfig,
    dataset: Dataset,
    kind: type[Preference] | type[Unpaired],
    policy: TextPolicy,
    note: Callable[[str], None],
) -> tuple[Examples, Examples]:
    """Examples of a mixture; no part trains on what another part holds out."""
    train_parts, held_out_parts = [], []
    for part, _ in dataset.parts:
        train, held_out = tokenized_examples(config, part, kind, policy, note)
        train_parts.append(train)
        held_out_parts.append(held_out)
    every = dataset_ops.Mixture(train_parts, [weight for _, weight in dataset.parts])
    held_out = concatenate(held_out_parts)
    remaining = drop_held_out_prompts(every, held_out)
    account = account_of_examples(dataset.name, every, remaining, held_out, {})
    dataset.record_account(kind, account)
    return remaining, held_out


def tokenize_records(
    config: RunConfig,
    records: Sequence[Record],
    policy: TextPolicy,
    note: Callable[[str], None],
    name: str,
    *,
    all_turns: bool = False,
) -> Examples:
    """Records as tokens, within a policy's context; a mixture stays one.

    Args:
      note: prints a line on what was dropped.
      name: what the line calls the records.
      all_turns: of SFT data, train on every answer and not the last alone.
    """
    if isinstance(records, mixing.MixedRecords):
        parts = [
            tokenize_records(
                *(config, part, policy, note, f"{name}, part {number}"),
                all_turns=all_turns,
            )
            for number, part in enumerate(records.parts, start=1)
        ]
        return dataset_ops.Mixture(parts, records.weights)
    if not records:  # nothing is held out
        return []
    examples, report = tokenize(
        records,
        policy.tokenizer,
        context=policy.context,
        overlong=config.overlong,
        all_turns=all_turns,
    )
    note(f"{name}: {report}")
    return examples


def drop_held_out_prompts(train: Examples, held_out: Examples) -> Examples:
    """Removes training examples whose prompts are held out; a mixture stays one.

    Raises:
      ValueError: none is left; for a mixture, in one of its parts.
    """
    if isinstance(train, dataset_ops.Mixture):
        parts = [drop_held_out_prompts(part, held_out) for part in train.parts]
        return dataset_ops.Mixture(parts, train.weights)
    leaked = np.isin(example_prompt_hashes(train), example_prompt_hashes(held_out))
    if not leaked.any():
        return train
    if leaked.all():
        raise ValueError("the prompts of all training rows are held out")
    return dataset_ops.Subset(train, np.flatnonzero(~leaked))


def held_out_row_numbers(test: Dataset, held_out: Examples) -> dict[str, list[int]]:
    """Numbers of the rows of --held-out-data, by file."""
    if isinstance(held_out, dataset_ops.Subset) and isinstance(
        held_out.examples, CachedExamples
    ):
        return held_out.examples.row_numbers(held_out.indices)
    train, _ = test.unpaired() if test.has_unpaired else test.preferences()
    return row_numbers(train)


def concatenate(parts: Sequence[Examples]) -> Examples:
    """The examples of all parts, each once, with row numbers unique over the parts."""
    nonempty = [part for part in parts if len(part)]
    return dataset_ops.Mixture(nonempty, [1.0] * len(nonempty)) if nonempty else []
