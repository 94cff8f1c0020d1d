"""Floating-point operations of the matrix products of a forward pass."""

import dataclasses

from jaxalign.models.config import ModelConfig


def matmul_params(config: ModelConfig, *, head: bool = True) -> int:
    """Number of parameters that take part in matrix products."""
    heads_out = (2 * config.heads + 2 * config.kv_heads) * config.head_dim
    layer = config.width * heads_out + 3 * config.width * config.hidden
    return config.layers * layer + (config.vocab_size * config.width if head else 0)


def forward_flops(
    config: ModelConfig,
    rows: int,
    length: int,
    *,
    head: bool = True,
    keys_per_token: float | None = None,
) -> float:
    """Operations of one forward pass, causal attention counted half.

    Args:
      keys_per_token: mean number of keys per token; by default length / 2.
    """
    keys_per_token = length / 2 if keys_per_token is None else keys_per_token
    attention = 4 * config.layers * keys_per_token * config.heads * config.head_dim
    return rows * length * (2 * matmul_params(config, head=head) + attention)


def scalar_forward_flops(
    config: ModelConfig, rows: int, length: int, *, keys_per_token: float | None = None
) -> float:
    """Operations of one forward pass of a reward model.

    Its last layer computes keys and values alone; its work on the last tokens of
    answers is left out.
    """
    below = dataclasses.replace(config, layers=config.layers - 1)
    last = 4 * config.width * config.kv_heads * config.head_dim
    return forward_flops(
        below, rows, length, head=False, keys_per_token=keys_per_token
    ) + (rows * length * last)


def shared_prompt_keys(prompt: int, answer: int) -> float:
    """Mean number of keys per token where two answers share one copy of the prompt."""
    keys = prompt**2 / 2 + 2 * answer * (prompt + answer / 2)
    return keys / (prompt + 2 * answer)
