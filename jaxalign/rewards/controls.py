"""Rewards that say nothing: controls of what a policy gains from a reward.

    python -m experiments.grpo --reward jaxalign.rewards.controls:random_reward

A method that "improves" on these has not learned from its reward.

Reference: Shao et al. 2025, Spurious Rewards, arXiv:2506.10947.
"""

import zlib
from collections.abc import Sequence
from typing import Any


def random_reward(
    prompts: Sequence[Sequence[dict[str, Any]]], answers: Sequence[str]
) -> list[float]:
    """0 or 1 at even odds, by the checksum of prompt and answer: resumed runs repeat.

    >>> prompt = [{"role": "user", "content": "Why?"}]
    >>> random_reward([prompt] * 4, ["a", "a", "b", "c"])
    [0.0, 0.0, 0.0, 1.0]
    """
    texts = [
        "\n".join([*(str(m["content"]) for m in prompt), answer])
        for prompt, answer in zip(prompts, answers, strict=True)
    ]
    # the sums' lowest bits are linear in the texts; a product mixes them
    return [float((zlib.crc32(text.encode()) * 2654435761 >> 31) & 1) for text in texts]


def constant_reward(
    prompts: Sequence[Sequence[dict[str, Any]]], answers: Sequence[str]
) -> list[float]:
    """1 for every answer; a method with advantages learns nothing from it.

    >>> constant_reward([[], []], ["a", "b"])
    [1.0, 1.0]
    """
    return [1.0] * len(answers)
