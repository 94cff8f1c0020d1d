"""The frozen reference of offline preference training: log-probs, computed once."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from jaxalign.data import loader
from jaxalign.data.examples import Example, digest
from jaxalign.data.records import Preference, Unpaired
from jaxalign.pipeline.policies import Policy
from jaxalign.runtime.run import Run
from jaxalign.training import reference_cache
from jaxalign.training.preference_loss import PreferenceLoss
from jaxalign.types import Params

Kind = type[Preference] | type[Unpaired]


class Reference(NamedTuple):
    """The frozen reference that a run compares its policy with.

    Attributes:
      logps: the reference's log-probs of each row, which batches are given; None where
        the loss needs none, or needs more.
      params: parameters of the reference, for a loss on whole next-token distributions:
        the reference then runs in every step. None otherwise.
    """

    logps: reference_cache.ReferenceLogps | None = None
    params: Params | None = None

    def attach(self, batch: Any) -> Any:
        """The batch with the reference's log-probs of its rows, if there are any."""
        return batch if self.logps is None else self.logps.attach(batch)


def reference_for(
    loss: PreferenceLoss,
    policy: Policy,
    examples: Sequence[Example],
    run: Run,
    *,
    kind: Kind,
    batch_size: int,
    indices: np.ndarray,
    for_metrics: bool = False,
) -> Reference:
    """The reference that a loss needs: the policy before training.

    Args:
      indices: of the examples that the run reads.
      for_metrics: compute log-probs although the loss needs none.
    """
    if loss.needs_reference_distribution:
        return Reference(params=policy.params)
    if not (loss.needs_reference or for_metrics):
        return Reference()
    logps = compute_logps(
        policy, examples, run, kind=kind, batch_size=batch_size, indices=indices
    )
    return Reference(logps)


def compute_logps(
    policy: Policy,
    examples: Sequence[Example],
    run: Run,
    *,
    kind: Kind,
    batch_size: int,
    indices: np.ndarray,
) -> reference_cache.ReferenceLogps:
    """A policy's log-probs of examples, computed once and cached in the run's folder.

    Args:
      indices: of the examples that are read.
    """
    return reference_cache.compute_reference_logps(
        policy.model,
        policy.params,
        ordered_batches(examples, kind, batch_size, indices, run.mesh),
        data=[digest(examples), indices],
        folder=run.folder / "reference",
        mesh=run.mesh,
    )


def ordered_batches(
    examples: Sequence[Example],
    kind: Kind,
    batch_size: int,
    indices: np.ndarray,
    mesh: Mesh,
) -> loader.BatchIterator:
    """Padded batches of these examples, each once, in the order of the data set."""
    return loader.evaluation_batches(
        examples, batch_size, kind=kind, indices=indices, mesh=mesh
    )


def indices_read(
    batches: loader.BatchIterator, examples: Sequence[Example], rows: int, steps: int
) -> np.ndarray:
    """Indices of the examples that a run reads; all, unless it reads less than half.

    Args:
      rows: in a step.
    """
    if 2 * steps * rows < len(examples):
        return batches.peek_indices(steps)
    return np.arange(len(examples))
