"""Pairs and unpaired answers of a source as tokens, its parts' and held-out ones."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxalign.data import dataset_ops, loader
from jaxalign.data.records import Preference, Unpaired
from jaxalign.pipeline.datasets.dataset import (
    Dataset,
    Examples,
    Noting,
    drop_held_out_prompts,
    held_out_row_numbers,
    load_token_cache,
    tokenize_records,
)
from jaxalign.pipeline.datasets.held_out import account_of_parts
from jaxalign.runtime.config import RunConfig


def tokenized_pairs(
    config: RunConfig, source: Dataset, policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """The source's pairs, tokenised for a policy; what was dropped is shown."""
    return tokenized_examples(config, source, Preference, policy, run)


def tokenized_unpaired(
    config: RunConfig, source: Dataset, policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """The source's unpaired answers, tokenised; each pair is two of them."""
    return tokenized_examples(config, source, Unpaired, policy, run)


def tokenized_examples(
    config: RunConfig,
    source: Dataset,
    kind: type[Preference] | type[Unpaired],
    policy: Any,
    run: Noting,
) -> tuple[Examples, Examples]:
    """The source's pairs or unpaired answers, tokenised: training, and held-out ones.

    A mixture of them is one.
    """
    if source.held_out_data is not None:
        every, test = source.held_out_data
        train, held_out = (
            tokenized_examples(config, part, kind, policy, run)[0]
            for part in (every, test)
        )
        remaining = drop_held_out_prompts(train, held_out)
        rows = held_out_row_numbers(test, held_out)
        source.reads[kind.__name__] = account_of_parts(
            source.name, train, remaining, held_out, rows
        )
        return remaining, held_out
    if source.parts:
        found = [
            tokenized_examples(config, part, kind, policy, run)
            for part, _ in source.parts
        ]
        together = concatenate([part for _, part in found])
        weights = [weight for _, weight in source.parts]
        whole = dataset_ops.Mixture([part for part, _ in found], weights)
        mixture = drop_held_out_prompts(whole, together)
        source.reads[kind.__name__] = account_of_parts(
            source.name, whole, mixture, together, {}
        )
        return mixture, together
    single = source.unpaired if kind is Unpaired else None
    if kind is Unpaired and single is None:
        try:
            train_pairs, held_out_pairs = tokenized_pairs(config, source, policy, run)
        except ValueError as error:
            error.add_note("read as pairs, since no row has a label of true or false")
            raise
        return loader.unpair(train_pairs), loader.unpair(held_out_pairs)
    if config.token_cache is not None and source.streams:
        return load_token_cache(config, source, kind, policy, run)
    read: Callable[[], tuple[list[Any], list[Any]]] = single or source.preferences
    train_records, held_out_records = read()
    return (
        tokenize_records(config, train_records, policy, run, "train"),
        tokenize_records(config, held_out_records, policy, run, "held out"),
    )


def concatenate(parts: Sequence[Examples]) -> Examples:
    """The examples of all parts, each once, their rows told apart over the parts."""
    there = [part for part in parts if len(part)]
    return dataset_ops.Mixture(there, [1.0] * len(there)) if there else []
