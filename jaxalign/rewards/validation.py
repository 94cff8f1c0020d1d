"""What every reward must be before anything learns of it: one finite number a row."""

from typing import Any

import numpy as np


class InvalidReward(ValueError):
    """A row that got no reward.

    Attributes:
      row: its index in the batch.
    """

    def __init__(self, text: str, row: int) -> None:
        super().__init__(text)
        self.row = row


def validate_rewards(name: str, rewards: Any, count: int) -> np.ndarray:
    """The rewards of a batch [B], as float32.

    Args:
      name: of the reward, for the message.
      count: B.

    Raises:
      ValueError: another shape, or no numbers.
      Unrated: NaN or infinity; the first such row.

    >>> validate_rewards("mine", [1, 0.5], 2).tolist()
    [1.0, 0.5]
    """
    try:
        found = np.asarray(rewards, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the reward {name} gives no numbers: {error}") from error
    if found.shape != (count,):
        raise ValueError(
            f"the reward {name} gives an array of shape {found.shape} for {count} "
            f"answers: it should be ({count},), one number each"
        )
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        row = int(wrong[0])
        raise InvalidReward(f"the reward {name} is {found[row]} at row {row}", row)
    return found
