"""Floating-point operations that the products of a forward pass cannot do without."""

import dataclasses

from jaxalign.models.config import ModelConfig


def matmul_params(config: ModelConfig, *, head: bool = True) -> int:
    """Parameters that take part in matrix products."""
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
      keys_per_token: keys that a token attends to on average, by default half the length.
    """
    keys_per_token = length / 2 if keys_per_token is None else keys_per_token
    attention = 4 * config.layers * keys_per_token * config.heads * config.head_dim
    return rows * length * (2 * matmul_params(config, head=head) + attention)


def scalar_forward_flops(
    config: ModelConfig, rows: int, length: int, *, keys_per_token: float | None = None
) -> float:
    """The same of a reward model: of its last layer keys and values alone.

    What that layer does for the ends of answers is left out.
    """
    below = dataclasses.replace(config, layers=config.layers - 1)
    last = 4 * config.width * config.kv_heads * config.head_dim
    return forward_flops(
        below, rows, length, head=False, keys_per_token=keys_per_token
    ) + (rows * length * last)


def shared_prompt_keys(prompt: int, answer: int) -> float:
    """Keys that a token attends to on average where two answers share a prompt."""
    keys = prompt**2 / 2 + 2 * answer * (prompt + answer / 2)
    return keys / (prompt + 2 * answer)
