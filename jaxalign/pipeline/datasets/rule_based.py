"""Judges: what rates answers to prompts, by a rule or a model, one number each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.rewards import reward_registry, validation

RewardValues = dict[str, np.ndarray]
RuleBasedReward = Callable[[Sequence[Prompt], Sequence[str], np.ndarray], RewardValues]


def with_finite_check(name: str, judge: RuleBasedReward) -> RuleBasedReward:
    """The same judge, but what is no finite number for each answer stops the run.

    The judge that it gives raises ValueError, with the reward's name and the row.
    """

    def judged(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        try:
            found = judge(prompts, texts, finished)
            if not isinstance(found, dict) or "reward" not in found:
                raise ValueError(f"the reward {name} gives no dictionary with 'reward'")
            return found | {
                "reward": validation.validate_rewards(name, found["reward"], len(texts))
            }
        except validation.InvalidReward as error:
            raise ValueError(f"{error}{prompt_location(prompts, error.row)}") from error

    return judged


def prompt_location(prompts: Sequence[Prompt], row: int) -> str:
    """Where the prompt of a row was read, as the end of a sentence."""
    where = prompts[row].location if row < len(prompts) else ""
    return f", the answer to the prompt at {where}" if where else ""


def check_finite(name: str, prompts: Sequence[Prompt], rewards: Any) -> None:
    """Refuses a learned reward of these prompts [B] that is NaN or infinite.

    Raises:
      ValueError: names the reward and the row.
    """
    try:
        validation.validate_rewards(name, rewards, len(prompts))
    except validation.InvalidReward as error:
        raise ValueError(f"{error}{prompt_location(prompts, error.row)}") from error


def reward_by_name(reward: str) -> RuleBasedReward:
    """The reward of texts of that name, as a judge.

    Raises:
      ValueError: there is none.
    """
    measure = reward_registry.make_reward(reward)

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> RewardValues:
        asked, told = [p.messages for p in prompts], [p.references for p in prompts]
        return {"reward": measure(asked, texts, told)}

    return with_finite_check(reward, judge)
