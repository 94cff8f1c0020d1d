"""Batches of preferences, as the model can take them."""

from collections.abc import Sequence

from jaxalign import sharding
from jaxalign.data import dataset_ops, loader, packing
from jaxalign.data.records import Preference, Ranking
from jaxalign.data.tokenize import Example, longest_sequence
from jaxalign.pipeline.policies import Policy
from jaxalign.runtime import defaults
from jaxalign.runtime.training_config import OfflineConfig

SMALL = 1024  # rows of a packed or mixed step that may repeat what few there are


def preferences(
    config: OfflineConfig,
    policy: Policy,
    examples: Sequence[loader.Example],
    kind: type[Preference] | type[Ranking],
) -> loader.BatchIterator:
    """Pairs or rankings, several prompts a row, each there once; or in rows apart.

    Where prompts are shared, `--batch` is the number of prompts on average.

    Raises:
      ValueError: names the flags of a batch that cannot be.
    """
    mixed = isinstance(examples, dataset_ops.Mixture)  # each batch has its shares
    if policy.config.supports_shared_prompts and not mixed:
        check_size("--batch", config.batch, len(examples), small=SMALL)
        rows = config.micro_batches * sharding.shard_count("batch")
        return packing.answer_batches(
            examples, config.batch, seed=config.seed, multiple=rows
        )
    check_rows(config)
    check_unpacked(config, examples)
    return loader.batches(examples, config.batch, kind=kind, seed=config.seed)


def check_rows(config: OfflineConfig) -> None:
    """Refuses a batch whose rows do not divide into micro-batches and over the devices.

    To be called with the mesh in context, before anything is computed.

    Raises:
      ValueError: names the flags.
    """
    for parts, of in (
        (config.micro_batches, "--micro-batches"),
        (
            sharding.shard_count("batch"),
            "devices on the axes data and fsdp of the --mesh",
        ),
    ):
        if config.batch % parts:
            raise ValueError(
                f"--batch {config.batch} does not divide into the {parts} {of}: give a "
                f"multiple of {parts}"
            )


def check_unpacked(config: OfflineConfig, examples: Sequence[loader.Example]) -> None:
    """`check_size` of a batch whose examples have rows apart; mixtures may repeat.

    Raises:
      ValueError: names the flag.
    """
    small = SMALL if isinstance(examples, dataset_ops.Mixture) else 0
    check_size("--batch", config.batch, len(examples), small=small)


def check_size(flag: str, rows: int, there: int, *, small: int = 0) -> None:
    """Refuses a step of more rows than there are, which would only repeat them.

    Args:
      rows: of a step.
      there: rows of the data.
      small: rows that a step may have, however few there are.

    Raises:
      ValueError: names the flag.
    """
    most = max(there, small)
    if rows > most:
        raise ValueError(
            f"{flag} {rows:,} is more than the {there:,} rows of the data, which a "
            f"step would repeat: give {most:,} at most"
        )


def row_length(model: str, context: int, examples: Sequence[Example]) -> int:
    """Tokens of a packed row: twice the context, or twice the longest of the data.

    The latter of pretrained models, whose contexts are much longer than most data.
    """
    whole = (
        context if defaults.is_toy(model) else min(context, longest_sequence(examples))
    )
    return 2 * whole
