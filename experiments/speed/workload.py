"""What a work to be timed is, and how much there is to do in it."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxalign.models.config import ModelConfig
from jaxalign.training import optimizer, state, step

PEERS_MODEL = ModelConfig(
    vocab_size=8192,
    width=256,
    hidden=688,
    layers=4,
    heads=4,
    kv_heads=4,
    head_dim=64,
    context=512,
    tied=False,
    dtype="float32",
)


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is done in a step.

    Attributes:
      rows: sequences trained on; half as many pairs.
      length: tokens in each.
      prompt: of which are the prompt.
      prompts: prompts that are generated from.
      new_tokens: generated from each.
    """

    rows: int = 16
    length: int = 256
    prompt: int = 64
    prompts: int = 32
    new_tokens: int = 128


class Workload(NamedTuple):
    """One step to be timed.

    Attributes:
      run: does the step; its result is waited for.
      flops: operations of the matrix products, causal attention counted half.
      tokens: processed by a step.
      floor_bytes: memory that must be read (generation reads the weights each step).
    """

    run: Callable[[], Any]
    flops: float
    tokens: int
    floor_bytes: float


def stepper(objective: Any, params: Any, batch: Any) -> Callable[[], Any]:
    """A training step with AdamW that carries its state along."""
    adam = optimizer.adamw(1e-5, steps=1000)
    update = step.make_step(objective, adam)
    carried = [state.create(params, adam, jax.random.key(0))]
    batch = jax.device_put(batch)

    def run() -> Any:
        carried[0], metrics = update(carried[0], batch)
        return metrics["loss"]

    return run
