"""A workload to time, its size, and a training step that carries its state along."""

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
    """The size of a step.

    Attributes:
      rows: training sequences; half as many pairs.
      length: tokens of a sequence.
      prompt: prompt tokens of a sequence.
      prompts: prompts to generate from.
      new_tokens: tokens to generate from each prompt.
    """

    rows: int = 16
    length: int = 256
    prompt: int = 64
    prompts: int = 32
    new_tokens: int = 128


class Workload(NamedTuple):
    """One step to time.

    Attributes:
      run: runs the step and returns an array to wait for.
      flops: operations of the matrix products, causal attention counted half.
      tokens: tokens that a step processes.
      floor_bytes: bytes that must be read (generation reads the weights each step).
    """

    run: Callable[[], Any]
    flops: float
    tokens: int
    floor_bytes: float


def stepper(objective: Any, params: Any, batch: Any) -> Callable[[], Any]:
    """A function that runs one training step with AdamW on its own state."""
    adam = optimizer.adamw(1e-5, steps=1000)
    update = step.make_step(objective, adam)
    carry = [state.create(params, adam, jax.random.key(0))]
    batch = jax.device_put(batch)

    def run() -> Any:
        carry[0], metrics = update(carry[0], batch)
        return metrics["loss"]

    return run
