"""Rule-based rewards: (prompts, texts, finished) -> named arrays, `reward` among them.

`finished` [B] is False where an answer was cut at its length limit. A rule may be a
program (an answer's number, its length) or a language model that rates texts.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.rewards import reward_registry, validation

RewardValues = dict[str, np.ndarray]
RuleBasedReward = Callable[[Sequence[Prompt], Sequence[str], np.ndarray], RewardValues]


def with_finite_check(name: str, reward: RuleBasedReward) -> RuleBasedReward:
    """The same reward, validated: one finite number for each answer.

    Returns:
      A reward that raises ValueError, with the reward's name and the row, for values
      that are missing, of another shape, NaN or infinite.
    """

    def checked_reward(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        try:
            values = reward(prompts, texts, finished)
            if not isinstance(values, dict) or "reward" not in values:
                raise ValueError(f"the reward {name} gives no dictionary with 'reward'")
            rewards = validation.validate_rewards(name, values["reward"], len(texts))
            return values | {"reward": rewards}
        except validation.InvalidReward as error:
            raise ValueError(f"{error}{prompt_location(prompts, error.row)}") from error

    return checked_reward


def prompt_location(prompts: Sequence[Prompt], row: int) -> str:
    """The file and line of a row's prompt, as the end of a sentence; "" if unknown."""
    location = prompts[row].location if row < len(prompts) else ""
    return f", the answer to the prompt at {location}" if location else ""


def check_finite(name: str, prompts: Sequence[Prompt], rewards: Any) -> None:
    """Refuses learned rewards [B] of these prompts [B] that are NaN or infinite.

    Raises:
      ValueError: names the reward and the row.
    """
    try:
        validation.validate_rewards(name, rewards, len(prompts))
    except validation.InvalidReward as error:
        raise ValueError(f"{error}{prompt_location(prompts, error.row)}") from error


def reward_by_name(name: str) -> RuleBasedReward:
    """The rule-based reward of that name, such as "gsm8k:strict" or "length:40".

    Raises:
      ValueError: an unknown name.
    """
    measure = reward_registry.make_reward(name)

    def reward(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        messages = [prompt.messages for prompt in prompts]
        references = [prompt.references for prompt in prompts]
        return {"reward": measure(messages, texts, references)}

    return with_finite_check(name, reward)
