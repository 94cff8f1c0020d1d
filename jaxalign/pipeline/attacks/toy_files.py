"""Data of the toy world under attack, as files for the stages that train on them."""

from pathlib import Path

import jax
import numpy as np

from jaxalign.data import toy_attacks
from jaxalign.data.formats import row_writer

BASE_STREAM, SAFETY_STREAM, PAIR_STREAM = 1, 2, 3


def write_base(path: Path, rows: int, seed: int) -> Path:
    """Writes conversations of the base data, as JSON lines."""
    rng = np.random.default_rng([seed, BASE_STREAM])
    talks = [toy_attacks.base_conversation(rng) for _ in range(rows)]
    return write(path, [{"messages": messages} for messages in talks])


def write_safety(
    path: Path, rows: int, seed: int, *, harmful: float, attacked: float
) -> Path:
    """Writes the conversations of `toy_attacks.safety_conversation`, as JSON lines."""
    rng = np.random.default_rng([seed, SAFETY_STREAM])
    talks = [
        toy_attacks.safety_conversation(rng, harmful, attacked) for _ in range(rows)
    ]
    return write(path, [{"messages": messages} for messages in talks])


def write_pairs(
    path: Path, rows: int, seed: int, *, harmful: float, attacked: float
) -> Path:
    """Writes pairs of the safety data: the right answer, and the one it is not.

    To a harmful request a refusal is chosen and compliance rejected; to a benign one
    the answer is chosen and a refusal rejected.
    """
    rng = np.random.default_rng([seed, PAIR_STREAM])
    pairs = []
    for _ in range(rows):
        asked, chosen = toy_attacks.safety_conversation(rng, harmful, attacked)
        is_refusal = toy_attacks.REFUSAL in chosen["content"]
        other = toy_attacks.complying_answer if is_refusal else toy_attacks.refuse
        pairs.append(
            {
                "prompt": [asked],
                "chosen": chosen["content"],
                "rejected": other(asked["content"]),
            }
        )
    return write(path, pairs)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    """Writes JSON lines; of many processes the first does."""
    if jax.process_index() == 0:
        path.parent.mkdir(parents=True, exist_ok=True)
        row_writer.write_json_lines(path, rows)
    return path
