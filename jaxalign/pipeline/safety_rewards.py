"""Llama 2's piecewise reward of a helpfulness and a safety model, as `--ensemble`.

llama2               --ensemble llama2:or:batch, as the paper has it
llama2:and           safety decides on tagged prompts whose answer seems unsafe alone
llama2:or:branch     each branch is whitened by itself

A prompt is tagged where its row has `"safety": true`; rows without that field are not.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.rewards import combination
from jaxalign.rewards.safety_gate import GATES, WHITENINGS
from jaxalign.types import Array

NAME = "llama2"
TAG = "safety"  # a field of prompts' rows
THRESHOLD = 0.15  # precision 0.89, recall 0.55 on Meta's test set


@dataclasses.dataclass(frozen=True)
class PiecewiseReward:
    """Llama 2's reward from the raw scores of two models.

    Attributes:
      gate: a name of `safety_gate.GATES`.
      whitening: a name of `safety_gate.WHITENINGS`.
    """

    gate: str = "or"
    whitening: str = "batch"

    def __call__(self, scores: Array, tagged: Array) -> Array:
        """Rewards [B] from raw scores [2 B], of helpfulness and then of safety.

        The sigmoid of a raw score, before normalization, is the probability that the
        reward model was trained to predict; the threshold is on that probability.

        Raises:
          ValueError: there are not two models.
        """
        helpfulness, safety = check_two(scores)
        return combination.piecewise_safety(
            helpfulness,
            safety,
            tagged,
            threshold=THRESHOLD,
            gate=GATES[self.gate],
            whitening=WHITENINGS[self.whitening],
        )

    def by_safety(self, safety: Array, tagged: Array) -> Array:
        """Where safety decides, bool [B]; its mean is the share of that branch."""
        return GATES[self.gate](safety, tagged, threshold=THRESHOLD)


def check_two(scores: Array) -> Array:
    """The scores of two models.

    Raises:
      ValueError: there is another number of models.
    """
    if len(scores) != 2:
        raise ValueError(
            "--ensemble llama2 needs two reward models, helpfulness and then safety; "
            f"--reward names {len(scores)}"
        )
    return scores


def parse(name: str) -> PiecewiseReward | None:
    """The reward of a name such as llama2:and:branch; None for other names.

    Raises:
      ValueError: an unknown gate or whitening.

    >>> parse("llama2:and")
    PiecewiseReward(gate='and', whitening='batch')
    """
    kind, *options = name.split(":")
    if kind != NAME:
        return None
    known = (GATES, WHITENINGS)
    fits = len(options) <= len(known) and all(
        option in names for option, names in zip(options, known, strict=False)
    )
    if not fits:
        raise ValueError(
            f"--ensemble {name}: expected llama2:GATE:WHITENING, a GATE of "
            f"{', '.join(GATES)} and a WHITENING of {', '.join(WHITENINGS)}"
        )
    return PiecewiseReward(*options)


def tags(prompts: Sequence[Prompt]) -> np.ndarray:
    """Whether each prompt is tagged as likely to elicit unsafe answers, bool [B].

    Raises:
      ValueError: a tag that is not true or false; names its row.
    """
    values = [prompt.fields.get(TAG, False) for prompt in prompts]
    for prompt, value in zip(prompts, values, strict=True):
        if not isinstance(value, bool):
            raise ValueError(
                f"{prompt.location}: field '{TAG}' is {value!r}; expected true or false"
            )
    return np.array(values, bool)
