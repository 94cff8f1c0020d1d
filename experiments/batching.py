"""Batches of preferences, as the model can take them."""

from collections.abc import Sequence

from experiments.config import Trained
from experiments.policies import Policy
from jaxalign import sharding
from jaxalign.data import loader, packing, views
from jaxalign.data.records import Preference, Ranking


def preferences(
    config: Trained,
    policy: Policy,
    examples: Sequence[loader.Example],
    kind: type[Preference] | type[Ranking],
) -> loader.Batches:
    """Pairs or rankings, several prompts a row, each there once; or in rows apart.

    Where prompts are shared, `--batch` is the number of prompts on average.
    """
    mixed = isinstance(examples, views.Mixture)  # each batch has its shares
    if policy.config.shares_prompts and not mixed:
        rows = config.micro_batches * sharding.shards("batch")
        return packing.answer_batches(
            examples, config.batch, seed=config.seed, multiple=rows
        )
    check_rows(config)
    return loader.batches(examples, config.batch, kind=kind, seed=config.seed)


def check_rows(config: Trained) -> None:
    """Refuses a batch whose rows do not divide into micro-batches and over the devices.

    To be called with the mesh in context, before anything is computed.

    Raises:
      ValueError: names the flags.
    """
    for parts, of in (
        (config.micro_batches, "--micro-batches"),
        (sharding.shards("batch"), "devices on the axes data and fsdp of the --mesh"),
    ):
        if config.batch % parts:
            raise ValueError(
                f"--batch {config.batch} does not divide into the {parts} {of}: give a "
                f"multiple of {parts}"
            )
