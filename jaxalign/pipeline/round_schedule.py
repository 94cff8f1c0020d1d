"""Schedules over rounds of iterated alignment: the sampling temperature of each."""

from collections.abc import Sequence


def round_temperatures(temperatures: Sequence[float], rounds: int) -> list[float]:
    """The sampling temperature of each round; a single one is for all rounds.

    Raises:
      ValueError: fewer than one round, a temperature below 0, or neither one nor
        `rounds` temperatures.

    >>> round_temperatures([1.0], 3)
    [1.0, 1.0, 1.0]
    """
    if rounds < 1 or len(temperatures) not in (1, rounds) or min(temperatures) < 0:
        raise ValueError(
            f"--temperatures {' '.join(map(str, temperatures))}: expected one, or one "
            f"for each of --rounds {rounds} (1 at least), none below 0"
        )
    return list(temperatures) * (rounds if len(temperatures) == 1 else 1)
