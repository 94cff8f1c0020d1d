"""Judges: what rates answers to prompts, by a rule or a model, one number each."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.rewards import checks, named

Judged = dict[str, np.ndarray]
Judge = Callable[[Sequence[Prompt], Sequence[str], np.ndarray], Judged]


def checked(name: str, judge: Judge) -> Judge:
    """The same judge, but what is no finite number for each answer stops the run.

    The judge that it gives raises ValueError, with the reward's name and the row.
    """

    def judged(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> Judged:
        try:
            found = judge(prompts, texts, finished)
            if not isinstance(found, dict) or "reward" not in found:
                raise ValueError(f"the reward {name} gives no dictionary with 'reward'")
            return found | {"reward": checks.checked(name, found["reward"], len(texts))}
        except checks.Unrated as error:
            raise ValueError(f"{error}{place(prompts, error.row)}") from error

    return judged


def place(prompts: Sequence[Prompt], row: int) -> str:
    """Where the prompt of a row was read, as the end of a sentence."""
    where = prompts[row].where if row < len(prompts) else ""
    return f", the answer to the prompt at {where}" if where else ""


def finite(name: str, prompts: Sequence[Prompt], rewards: Any) -> None:
    """Refuses a learned reward of these prompts [B] that is NaN or infinite.

    Raises:
      ValueError: names the reward and the row.
    """
    try:
        checks.checked(name, rewards, len(prompts))
    except checks.Unrated as error:
        raise ValueError(f"{error}{place(prompts, error.row)}") from error


def by_name(reward: str) -> Judge:
    """The reward of texts of that name, as a judge.

    Raises:
      ValueError: there is none.
    """
    measure = named.reward(reward)

    def judge(
        prompts: Sequence[Prompt], texts: Sequence[str], finished: np.ndarray
    ) -> Judged:
        asked, told = [p.messages for p in prompts], [p.references for p in prompts]
        return {"reward": measure(asked, texts, told)}

    return checked(reward, judge)
