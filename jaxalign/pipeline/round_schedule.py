"""TODO."""

from collections.abc import Sequence


def round_temperatures(temperatures: Sequence[float], rounds: int) -> list[float]:
    """The temperature of each round; a single one is that of all.

    Raises:
      ValueError: no rounds, another number of temperatures, or one below 0.

    >>> round_temperatures([1.0], 3)
    [1.0, 1.0, 1.0]
    """
    if rounds < 1 or len(temperatures) not in (1, rounds) or min(temperatures) < 0:
        raise ValueError(
            f"--temperatures wants one, or one for each of --rounds {rounds} (1 at "
            f"least), none below 0; got {' '.join(map(str, temperatures))}"
        )
    return list(temperatures) * (rounds if len(temperatures) == 1 else 1)
