"""Sampling settings: one record for `generate`, `serve` and their decode loops."""

import dataclasses
import functools
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from jaxalign.types import Scalar


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["temperature", "logit_bias"],
    meta_fields=[
        *("max_new_tokens", "samples", "top_k", "top_p", "stop_tokens", "once_tokens")
    ],
)
@dataclasses.dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The number of answers, their distribution, and their end.

    token ~ softmax((logits + bias) / temperature), filtered, normalized

    A pytree whose leaves are the temperature and the biases: one compiled program
    serves all their values, and is specialized to the other fields, which are hashable.

    Attributes:
      max_new_tokens: tokens of the longest answer, its stop token included; at least 1.
      samples: answers per prompt, at least 1; they stand side by side and share the
        prefill of their prompt.
      temperature: at least 0; 0 is greedy decoding.
      top_k: number of most likely tokens to sample from, at least 1; None for all.
      top_p: total probability of the smallest set of most likely tokens to sample from,
        in (0, 1]; None for all tokens.
      stop_tokens: ids of the tokens that end an answer.
      logit_bias: what is added to the logits of tokens at every step, by token id, in
        nats; -inf forbids a token. It acts on the choice of tokens, as the filters do:
        `Samples.logp` is the model's own, without it.
      once_tokens: ids of tokens that an answer may hold once at most.

    Raises:
      ValueError: a field outside its range; the sentence names the field.
    """

    max_new_tokens: int
    samples: int = 1
    temperature: Scalar = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop_tokens: tuple[int, ...] = ()
    logit_bias: Mapping[int, Scalar] = dataclasses.field(
        default_factory=dict, hash=False
    )
    once_tokens: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Validates the fields; a temperature on a device or in a trace is not read."""
        object.__setattr__(self, "stop_tokens", tuple(self.stop_tokens))
        object.__setattr__(self, "once_tokens", tuple(self.once_tokens))
        object.__setattr__(self, "logit_bias", dict(self.logit_bias))
        for token, bias in self.logit_bias.items():
            # a bias on a device or in a trace is not read
            if isinstance(bias, int | float) and (math.isnan(bias) or bias == math.inf):
                raise ValueError(
                    f"the logit bias of token {token} is {bias}; it must be finite, or "
                    "-inf"
                )
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
        """The same settings with temperature and biases as float32 arrays.

        Python numbers, numpy scalars and arrays then share one compiled program.
        """
        temperature = jnp.asarray(self.temperature, jnp.float32)
        bias = {t: jnp.asarray(x, jnp.float32) for t, x in self.logit_bias.items()}
        return dataclasses.replace(self, temperature=temperature, logit_bias=bias)
