"""Validation of rewards: one finite number per row."""

from typing import Any

import numpy as np


class InvalidReward(ValueError):
    """A row without a usable reward.

    Attributes:
      row: its index in the batch.
    """

    def __init__(self, text: str, row: int) -> None:
        super().__init__(text)
        self.row = row


def validate_rewards(name: str, rewards: Any, count: int) -> np.ndarray:
    """Convert the rewards of a batch to float32 [B] and check them.

    Args:
      name: name of the reward, for messages.
      rewards: anything that numpy makes an array of.
      count: B, the number of answers.

    Raises:
      ValueError: wrong shape, or no numbers.
      InvalidReward: NaN or infinity; names the first such row.

    >>> validate_rewards("mine", [1, 0.5], 2).tolist()
    [1.0, 0.5]
    """
    try:
        array = np.asarray(rewards, np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the reward {name} gives no numbers: {error}") from error
    if array.shape != (count,):
        raise ValueError(
            f"the reward {name} gives an array of shape {array.shape} for {count} "
            f"answers; expected ({count},), one number each"
        )
    invalid = np.flatnonzero(~np.isfinite(array))
    if len(invalid):
        row = int(invalid[0])
        raise InvalidReward(f"the reward {name} is {array[row]} at row {row}", row)
    return array
