"""Records of a source as tokens: what is trained on, and what is held out."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import processes
from experiments.config import Shared
from experiments.sources.held_out import (
    account,
    account_of_parts,
    check_sides,
    row_numbers,
)
from experiments.sources.source import Noting, Source
from jaxalign.data import formats, loader, mixing, stored, views
from jaxalign.data.examples import prompts_of
from jaxalign.data.records import Preference, Record, Unpaired

Examples = Sequence[loader.Example]


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
        whole = views.Mixture([part for part, _ in found], weights)
        mixture = unseen(whole, together)
        source.reads[kind.__name__] = account_of_parts(
            source.name, whole, mixture, together, {}
        )
        return mixture, together
    single = source.unpaired if kind is Unpaired else None
    if kind is Unpaired and single is None:
        train_pairs, held_out_pairs = pairs(config, source, policy, run)
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
    return views.Mixture(there, [1.0] * len(there)) if there else []


def unseen(train: Examples, held_out: Examples) -> Examples:
    """The training examples whose prompts are not held out; a mixture stays one.

    Raises:
      ValueError: none is left, of a mixture in one of its parts.
    """
    if isinstance(train, views.Mixture):
        parts = [unseen(part, held_out) for part in train.parts]
        return views.Mixture(parts, train.weights)
    leaked = np.isin(prompts_of(train), prompts_of(held_out))
    if not leaked.any():
        return train
    if leaked.all():
        raise ValueError("the prompts of all training rows are held out")
    return views.View(train, np.flatnonzero(~leaked))


def rows_of(test: Source, held_out: Examples) -> dict[str, list[int]]:
    """The numbers of the rows of --held-out-data, by file, as `examples` has them."""
    if isinstance(held_out, views.View) and isinstance(
        held_out.examples, stored.Stored
    ):
        numbers = held_out.examples.places[held_out.indices]
        return {test.streams[-1]: np.unique(numbers).tolist()}
    return row_numbers((test.unpaired or test.preferences)()[0])


def tokenised(
    config: Shared,
    records: Sequence[Record],
    policy: Any,
    run: Noting,
    name: str,
    *,
    all_turns: bool = False,
) -> Examples:
    """Records, tokenised for a policy; what was dropped is shown. A mixture stays one.

    Args:
      all_turns: of SFT data count every answer, not the last alone.
    """
    if isinstance(records, mixing.MixedRecords):
        parts = [
            tokenised(
                *(config, part, policy, run, f"{name}, part {number}"),
                all_turns=all_turns,
            )
            for number, part in enumerate(records.parts, start=1)
        ]
        return views.Mixture(parts, records.weights)
    if not records:  # nothing is held out
        return []
    examples, report = loader.tokenise(
        records,
        policy.tokenizer,
        context=policy.context,
        overlong=config.overlong,
        all_turns=all_turns,
    )
    run.note(f"{name}: {report}")
    return examples


def kept(
    config: Shared, source: Source, kind: type[Any], policy: Any, run: Noting
) -> tuple[Examples, Examples]:
    """Records as tokens in --token-cache: training ones and held-out ones.

    Of many processes the first writes them; of several runs one does, and the others
    wait for it.

    Raises:
      FileNotFoundError: what the first process wrote is not to be seen on this one.
    """
    settings = {"context": policy.context, "overlong": config.overlong}
    found = []
    for path in source.streams:
        strict = {"skip_bad_rows": config.skip_bad_rows}
        key = stored.key(path, kind, policy.tokenizer, **settings, **strict)
        folder = Path(str(config.token_cache)) / key
        if processes.first():
            with stored.alone(folder) as there:
                if not there:
                    records = formats.stream(
                        path, kind, skip_bad_rows=config.skip_bad_rows
                    )
                    workers = os.cpu_count() or 1
                    stored.write(
                        folder, records, policy.tokenizer, workers=workers, **settings
                    )
        processes.meet("when tokens are kept")
        if not folder.exists():
            raise FileNotFoundError(
                f"--token-cache: {folder}, which the first process wrote, is not there "
                f"for process {jax.process_index()}: name a folder that all share"
            )
        found.append(stored.Stored(folder))
        run.note(f"{path}: {found[-1].rows_report}")
        run.note(f"{folder}: {found[-1].report}")
    train: Examples
    held_out: Examples
    if len(found) == 2:
        train, held_out = found
        rule, numbers = "as the data set states it", found[1].places
    else:
        (whole,) = found
        mask = source.rule.mask(whole.prompts)
        check_sides(source.name, source.rule, whole.prompts, mask)
        rule, numbers = str(source.rule), whole.places[mask]
        train = views.View(whole, np.flatnonzero(~mask))
        held_out = views.View(whole, np.flatnonzero(mask))
    source.reads[kind.__name__] = account(
        source.name,
        rule,
        [each.report for each in found],
        prompts_of(train),
        prompts_of(held_out),
        {source.streams[-1]: np.unique(numbers).tolist()},
    )
    return train, held_out
