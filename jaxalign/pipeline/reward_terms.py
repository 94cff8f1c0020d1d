"""`--reward` as a sum: its terms, their weights and their names in the log.

REWARD                      one reward; `jaxalign.pipeline.reward_functions` lists them
REWARD=WEIGHT,REWARD=WEIGHT,...
                            their weighted sum
REWARD,REWARD,...           their sum, each of weight 1; but folders alone, without
                            weights, are an ensemble of reward models

Names in the log are a function's own, the last folder of a model's path, or else the
reward as it is written; where two are the same, each as it is written. The pattern of
regex:PATTERN ends at the next =WEIGHT before a comma or the end; alone, or before what
is no reward, it is a pattern with commas and signs of equality in it.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.pipeline import own_functions, own_rewards
from jaxalign.rewards import reward_registry

WEIGHT = re.compile(r"(.+)=([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)", re.DOTALL)

SingleReward = str | Callable[..., Any]
Reward = SingleReward | Mapping[SingleReward, float]
"""What `--reward` names, or from Python a function, or weights by name or function."""


class Term(NamedTuple):
    """A term of a weighted sum of rewards.

    Attributes:
      name: in the log.
      reward: its name in `--reward`, or a function.
      weight: its factor.
    """

    name: str
    reward: SingleReward
    weight: float


def reward_terms(reward: Reward) -> list[Term]:
    """The terms of a sum or of a function of the user's own; [] for other rewards.

    Raises:
      ValueError: some have weights and others not, one is named twice, or a weight is
        not finite.

    >>> [(name, weight) for name, _, weight in reward_terms("gsm8k=0.8,my.py:f=0.2")]
    [('gsm8k', 0.8), ('f', 0.2)]
    >>> reward_terms("gsm8k"), reward_terms("runs/a,runs/b")
    ([], [])
    """
    if isinstance(reward, Mapping):
        return named_terms(list(reward.items()))
    if callable(reward):
        return named_terms([(reward, 1.0)])
    pieces = split_terms(reward)
    if len(pieces) == 1 and (pieces[0][1] is None or not is_reward(pieces[0][0])):
        return named_terms([(reward, 1.0)]) if is_own(reward) else []
    is_regex = reward.startswith("regex:")
    if is_regex and (len(pieces) == 1 or not all(is_reward(p) for p, _ in pieces)):
        return []
    weights = [weight for _, weight in pieces]
    if all(weight is None for weight in weights):
        if not any(is_known(piece) for piece, _ in pieces):
            return []  # an ensemble
        return named_terms([(piece, 1.0) for piece, _ in pieces])
    for piece, weight in pieces:
        if weight is None:
            raise ValueError(
                f"--reward {reward}: {piece} has no weight, and others have one: write "
                f"{piece}=WEIGHT"
            )
    return named_terms([(piece, weight or 0.0) for piece, weight in pieces])


def split_terms(reward: str) -> list[tuple[str, float | None]]:
    """The parts between commas with their weights; None where one has no weight.

    >>> split_terms("gsm8k=1,regex:a,b=0.5,format")
    [('gsm8k', 1.0), ('regex:a,b', 0.5), ('format', None)]
    """
    if Path(reward).exists():
        return [(reward, None)]
    pieces: list[str] = []
    for part in reward.split(","):
        inside = pieces and pieces[-1].startswith("regex:")
        if inside and not WEIGHT.fullmatch(pieces[-1]):
            pieces[-1] += f",{part}"
        else:
            pieces.append(part)
    terms: list[tuple[str, float | None]] = []
    for piece in pieces:
        match = None if Path(piece).exists() else WEIGHT.fullmatch(piece)
        terms.append((match[1], float(match[2])) if match else (piece, None))
    return terms


def describe_reward(reward: Reward) -> str:
    """A reward as `--reward` writes it, functions by their names, for titles.

    >>> describe_reward({"gsm8k": 0.8, len: 0.2})
    'gsm8k=0.8,len=0.2'
    """
    if isinstance(reward, str):
        return reward
    if isinstance(reward, Mapping):
        terms = reward.items()
        return ",".join(f"{describe_reward(one)}={x:g}" for one, x in terms)
    return own_rewards.function_name(reward)


def with_reward(
    main: Callable[..., Any], reward: Reward
) -> tuple[Callable[..., Any], dict[str, str]]:
    """The main function of a stage, and its flags, with a reward.

    A name is the flag `reward`; functions and their weights are no flags, and are
    passed to `main`.
    """
    if isinstance(reward, str):
        return main, {"reward": reward}
    return partial(main, reward=reward), {}


def is_own(reward: SingleReward) -> bool:
    """Whether a reward is a function of the user's own, or the name of one."""
    return callable(reward) or own_functions.is_function_name(reward)


def is_known(reward: str) -> bool:
    """Whether a text is a reward by its looks, other than the folder of a model."""
    return (
        reward == "programmed"
        or reward.startswith("judge:")
        or reward_registry.is_known(reward)
        or own_functions.is_function_name(reward)
    )


def is_reward(reward: str) -> bool:
    """Whether a text is a known reward or the folder of a reward model."""
    return is_known(reward) or (Path(reward) / "config.json").exists()


def named_terms(terms: Sequence[tuple[SingleReward, float]]) -> list[Term]:
    """The terms with their names in the log.

    Raises:
      ValueError: one is named twice, or a weight is not finite.
    """
    short = [short_name(reward) for reward, _ in terms]
    named = [
        Term(
            name if short.count(name) == 1 else full_name(reward), reward, float(weight)
        )
        for name, (reward, weight) in zip(short, terms, strict=True)
    ]
    names = [term.name for term in named]
    for term in named:
        if names.count(term.name) > 1:
            raise ValueError(
                f"the reward {term.name} is in the sum twice: add its weights"
            )
        if not abs(term.weight) < float("inf"):
            raise ValueError(f"the weight of {term.name} is {term.weight}, not finite")
    return named


def full_name(reward: SingleReward) -> str:
    """A reward as it is written; of a function its module and name."""
    if isinstance(reward, str):
        return reward
    name = own_rewards.function_name(reward)
    return f"{getattr(reward, '__module__', '')}:{name}"


def short_name(reward: SingleReward) -> str:
    """The name of a reward in the log."""
    if not isinstance(reward, str):
        return own_rewards.function_name(reward)
    if own_functions.is_function_name(reward):
        return reward.rpartition(":")[2]
    if reward.startswith("judge:"):
        return f"judge:{Path(reward.removeprefix('judge:')).name}"
    return reward if is_known(reward) else Path(reward).name
