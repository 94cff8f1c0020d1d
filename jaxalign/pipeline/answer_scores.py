"""Log-probs and reward-model scores of many answers, a batch at a time."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from jaxalign import sharding
from jaxalign.batches import TokenBatch
from jaxalign.pipeline.policies import Policy
from jaxalign.pipeline.rollouts import Answers
from jaxalign.rewards import reward_model
from jaxalign.training import forward
from jaxalign.types import Array, LanguageModel, Params, ScalarModel


@partial(jax.jit, static_argnums=0, static_argnames="temperature")
def answer_logp(
    model: LanguageModel, params: Params, batch: TokenBatch, *, temperature: float = 1.0
) -> Array:
    """Log-prob of each whole answer at a temperature: a sum over its tokens [B]."""
    logp = forward.token_logps(model, params, batch, temperature=temperature)
    return forward.row_sums(logp, batch.loss_mask)[0]


def answer_logps(
    policy: Policy, params: Params, answers: Answers, *, temperature: float = 1.0
) -> np.ndarray:
    """`answer_logp` of many answers, a batch at a time [A]."""
    logp = partial(answer_logp, policy.model, params, temperature=temperature)
    mesh = sharding.mesh_of(params)
    place = partial(sharding.shard_from_replicated, mesh=mesh)
    return map_batches(lambda b: logp(place(b)), answers.sequences, 256, mesh)


def learned_scores(
    model: ScalarModel, params: Params, sequences: TokenBatch, *, rows: int = 256
) -> np.ndarray:
    """A reward model's score of each whole answer, `rows` at a time [A]."""
    score = jax.jit(reward_model.score, static_argnums=0)
    mesh = sharding.mesh_of(params)
    place = partial(sharding.shard_from_replicated, mesh=mesh)
    return map_batches(
        lambda batch: score(model, params, place(batch)), sequences, rows, mesh
    )


def map_batches(
    function: Callable[[Any], Array], tree: Any, rows: int, mesh: Mesh | None
) -> np.ndarray:
    """Applies a function to batches of one shape, and joins its results.

    Args:
      function: from a batch of the tree's rows to an array of as many rows.
      tree: arrays of the same number of rows, which every process has.
      rows: of a batch; rounded up to divide among the devices of the mesh.
    """
    total = len(jax.tree.leaves(tree)[0])
    rows = round_up_to_devices(min(rows, total), mesh)
    parts = []
    for start in range(0, total, rows):
        # the last batch repeats its own rows, so that all have one shape
        indices = np.resize(np.arange(start, min(start + rows, total)), rows)
        part = function(jax.tree.map(lambda x, i=indices: x[i], tree))
        parts.append(sharding.to_host(part)[: total - start])
    return np.concatenate(parts)


def round_up_to_devices(rows: int, mesh: Mesh | None) -> int:
    """The least number of rows, at least `rows`, that divides among the devices."""
    devices = sharding.row_shards(mesh)
    return -(-rows // devices) * devices
