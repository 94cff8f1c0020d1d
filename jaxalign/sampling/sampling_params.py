"""Sampling settings: one record for `generate`, `serve` and their decode loops."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.types import Scalar


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["temperature"],
    meta_fields=["max_new_tokens", "samples", "top_k", "top_p", "stop_tokens"],
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The number of answers, their distribution, and their end.

    token ~ p(token | prompt, answer so far)^(1 / temperature), filtered, normalized

    A pytree with one leaf, the temperature: one compiled program serves every
    temperature, and is specialized to the other fields, which are hashable.

    Attributes:
      max_new_tokens: tokens of the longest answer, its stop token included; at least 1.
      samples: answers per prompt, at least 1; they stand side by side and share the
        prefill of their prompt.
      temperature: at least 0; 0 is greedy decoding.
      top_k: number of most likely tokens to sample from, at least 1; None for all.
      top_p: total probability of the smallest set of most likely tokens to sample from,
        in (0, 1]; None for all tokens.
      stop_tokens: ids of the tokens that end an answer.

    Raises:
      ValueError: a field outside its range; the sentence names the field.
    """

    max_new_tokens: int
    samples: int = 1
    temperature: Scalar = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Validates the fields; a temperature on a device or in a trace is not read."""
        object.__setattr__(self, "stop_tokens", tuple(self.stop_tokens))
        known = isinstance(self.temperature, int | float | np.number | np.ndarray)
        if known and self.temperature < 0:
            raise ValueError(
                f"temperature is {self.temperature}; it must be at least 0"
            )
        for field in ("max_new_tokens", "samples", "top_k"):
            count = getattr(self, field)
            if count is not None and count < 1:
                raise ValueError(f"{field} is {count}; it must be at least 1")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p is {self.top_p}; it must be in (0, 1]")

    def with_float32_temperature(self) -> "SamplingParams":
        """The same settings with the temperature as a float32 array.

        Python numbers, numpy scalars and arrays then share one compiled program.
        """
        temperature = jnp.asarray(self.temperature, jnp.float32)
        return dataclasses.replace(self, temperature=temperature)
