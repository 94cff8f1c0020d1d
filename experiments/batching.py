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
    return loader.batches(examples, config.batch, kind=kind, seed=config.seed)
