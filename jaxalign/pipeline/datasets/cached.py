"""Tokenized examples of a data set in --token-cache, for data larger than memory."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxalign.data import dataset_ops, readers, token_cache
from jaxalign.data.cached_examples import CachedExamples
from jaxalign.data.examples import Example, example_prompt_hashes
from jaxalign.data.formats import files
from jaxalign.data.tokenizer_type import PreTrainedTokenizerFast
from jaxalign.pipeline.datasets.dataset import Dataset
from jaxalign.pipeline.datasets.record_splits import STATED, check_sides, split_account
from jaxalign.runtime import distributed
from jaxalign.runtime.config import RunConfig

Examples = Sequence[Example]


def load_token_cache(
    config: RunConfig,
    dataset: Dataset,
    kind: type[Any],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
    note: Callable[[str], None],
) -> tuple[Examples, Examples]:
    """Training and held-out examples of the cache, tokenized where it lacks them.

    Args:
      context: length of the longest sequence, in tokens.
      note: prints a line on what was dropped.

    Raises:
      FileNotFoundError: this process does not see what the first process wrote.
    """
    caches = []
    for paths in dataset.split_files:
        cache = open_or_write(config, paths, kind, tokenizer, context)
        note(f"{files.describe_paths(paths)}: {cache.rows_report}")
        note(f"{cache.folder}: {cache.report}")
        caches.append(cache)
    train: Examples
    held_out: Examples
    if len(caches) == 2:
        train, held_out = caches
        rule = STATED
        numbers = caches[1].row_numbers(np.arange(len(caches[1])))
    else:
        (whole,) = caches
        mask = dataset.rule.mask(whole.prompt_hashes)
        check_sides(dataset.name, dataset.rule, whole.prompt_hashes, mask)
        rule = str(dataset.rule)
        numbers = whole.row_numbers(np.flatnonzero(mask))
        train = dataset_ops.Subset(whole, np.flatnonzero(~mask))
        held_out = dataset_ops.Subset(whole, np.flatnonzero(mask))
    account = split_account(
        dataset.name,
        rule,
        [cache.report for cache in caches],
        example_prompt_hashes(train),
        example_prompt_hashes(held_out),
        numbers,
    )
    dataset.record_account(kind, account)
    return train, held_out


def open_or_write(
    config: RunConfig,
    paths: tuple[str, ...],
    kind: type[Any],
    tokenizer: PreTrainedTokenizerFast,
    context: int,
) -> CachedExamples:
    """The cached examples of some files; the first process writes them if need be.

    Of several runs one writes, and the others wait for it.
    """
    settings: dict[str, Any] = {"context": context, "overlong": config.overlong}
    reading: dict[str, Any] = {
        "skip_bad_rows": config.skip_bad_rows,
        "max_row_chars": config.max_row_chars,
    }
    key = token_cache.cache_key(paths, kind, tokenizer, **settings, **reading)
    folder = Path(str(config.token_cache)) / key
    if distributed.is_first():
        with token_cache.write_lock(folder) as exists:
            if not exists:
                records = readers.stream(paths, kind, **reading)
                workers = os.cpu_count() or 1
                token_cache.write(
                    folder, records, tokenizer, workers=workers, **settings
                )
    distributed.barrier("when the token cache is written")
    if not folder.exists():
        raise FileNotFoundError(
            f"--token-cache: {folder}, which the first process wrote, is not there "
            f"for process {jax.process_index()}: name a folder that all share"
        )
    return CachedExamples(folder)
