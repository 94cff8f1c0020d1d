"""Pairs and unpaired answers of a source as tokens, its parts' and held-out ones."""

from collections.abc import Callable, Sequence
from typing import Any

from jaxalign.data import dataset_ops, loader
from jaxalign.data.records import Preference, Unpaired
from jaxalign.pipeline.datasets.dataset import (
    Examples,
    Noting,
    Source,
    kept,
    rows_of,
    tokenised,
    unseen,
)
from jaxalign.pipeline.datasets.held_out import account_of_parts
from jaxalign.runtime.config import Shared


def pairs(
    config: Shared, source: Source, policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """The source's pairs, tokenised for a policy; what was dropped is shown."""
    return examples(config, source, Preference, policy, run)


def unpaired(
    config: Shared, source: Source, policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """The source's unpaired answers, tokenised; each pair is two of them."""
    return examples(config, source, Unpaired, policy, run)


def examples(
    config: Shared,
    source: Source,
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
            examples(config, part, kind, policy, run)[0] for part in (every, test)
        )
        remaining = unseen(train, held_out)
        rows = rows_of(test, held_out)
        source.reads[kind.__name__] = account_of_parts(
            source.name, train, remaining, held_out, rows
        )
        return remaining, held_out
    if source.parts:
        found = [examples(config, part, kind, policy, run) for part, _ in source.parts]
        together = all_of([part for _, part in found])
        weights = [weight for _, weight in source.parts]
        whole = dataset_ops.Mixture([part for part, _ in found], weights)
        mixture = unseen(whole, together)
        source.reads[kind.__name__] = account_of_parts(
            source.name, whole, mixture, together, {}
        )
        return mixture, together
    single = source.unpaired if kind is Unpaired else None
    if kind is Unpaired and single is None:
        try:
            train_pairs, held_out_pairs = pairs(config, source, policy, run)
        except ValueError as error:
            error.add_note("read as pairs, since no row has a label of true or false")
            raise
        return loader.unpaired(train_pairs), loader.unpaired(held_out_pairs)
    if config.token_cache is not None and source.streams:
        return kept(config, source, kind, policy, run)
    read: Callable[[], tuple[list[Any], list[Any]]] = single or source.preferences
    train_records, held_out_records = read()
    return (
        tokenised(config, train_records, policy, run, "train"),
        tokenised(config, held_out_records, policy, run, "held out"),
    )


def all_of(parts: Sequence[Examples]) -> Examples:
    """The examples of all parts, each once, their rows told apart over the parts."""
    there = [part for part in parts if len(part)]
    return dataset_ops.Mixture(there, [1.0] * len(there)) if there else []
