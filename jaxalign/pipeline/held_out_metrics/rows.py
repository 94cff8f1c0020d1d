"""The held-out rows of a run's evaluations, and what a model computes for each."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from jaxalign import sharding, streams
from jaxalign.data import loader
from jaxalign.data.dataset_ops import Subset
from jaxalign.data.examples import Example
from jaxalign.data.records import Record
from jaxalign.runtime.run import Run
from jaxalign.runtime.training_config import OfflineConfig, SamplingConfig
from jaxalign.types import Params

ParametersFn = Callable[[Params], Params]  # trained parameters -> all of the model's


def selected_indices(config: OfflineConfig | SamplingConfig, count: int) -> np.ndarray:
    """Indices of the rows that are evaluated, rising: at most --eval-rows of `count`.

    They are drawn at random, by --held-out-seed, so that no order of the data matters.
    """
    if count <= config.eval_rows:
        return np.arange(count)
    draw = streams.generator(config.held_out_seed, "evaluation rows")
    return np.sort(draw.permutation(count)[: config.eval_rows])


def evaluated_examples(
    config: OfflineConfig, run: Run, examples: Sequence[Example]
) -> Sequence[Example] | None:
    """At most --eval-rows held-out examples; None, and a line, where there are none.

    Raises:
      ValueError: there are none, and --keep-best names a metric of them.
    """
    if not run.evaluations.require_held_out(len(examples)):
        run.say(f"{run.experiment}: no rows are held out: no evaluation")
        return None
    indices = selected_indices(config, len(examples))
    if len(indices) == len(examples):
        return examples
    return Subset(examples, indices)


def rows_at_a_time(config: OfflineConfig, run: Run, scale: int = 1) -> int:
    """Rows of an evaluation's batch: of a micro-batch, as many as fit in memory.

    Args:
      scale: times as many, where training rows are longer.
    """
    devices = sharding.row_shards(run.mesh)
    rows = scale * config.batch // config.micro_batches
    return -(-max(rows, 1) // devices) * devices


def score_examples(
    score: Callable[..., Any],
    params: Params,
    examples: Sequence[Example],
    run: Run,
    *,
    kind: type[Record],
    batch_size: int,
    attach: Callable[[Any], Any] = lambda batch: batch,
    inputs: tuple[Any, ...] = (),
) -> Any:
    """Computes numbers of each example, batch by batch.

    Each batch is fetched while the next one runs.

    Args:
      score: compiled, (params, batch, *inputs) -> a tree of arrays [B ...].
      attach: adds what a batch lacks, such as the reference's log-probs.
      batch_size: rows of a batch, over all devices.

    Returns:
      The tree, of numpy arrays [R ...] in the order of the examples.
    """
    parts: list[Any] = []
    pending = None
    batches = loader.evaluation_batches(examples, batch_size, kind=kind, mesh=run.mesh)
    for batch in batches:
        placed = sharding.place_batch(attach(batch), run.mesh)
        running = score(params, placed, *inputs)
        if pending is not None:
            parts.append(jax.tree.map(sharding.to_host, pending))
        pending = running
    parts.append(jax.tree.map(sharding.to_host, pending))
    whole = lambda *x: np.concatenate(x)[: len(examples)]  # the rest fills the batch
    return jax.tree.map(whole, *parts)


def mean(values: Any) -> float:
    """The mean of per-row numbers, summed in float64 [R]."""
    return float(np.mean(np.asarray(values, np.float64)))
