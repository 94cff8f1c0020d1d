"""Simulated annotators of toy answers: what they weigh, and how often they lapse."""

import dataclasses

import numpy as np

from jaxalign.data.toy_opinion_answers import AnswerFeatures, answer_features
from jaxalign.data.toy_opinions import OpinionRequest

FREE_WORDS = 12  # words that cost nothing


@dataclasses.dataclass(frozen=True)
class Annotator:
    """An annotator who compares two answers by their utility.

    utility = truth * truthful + agreement * agrees + warmth * polite
              - brevity * max(words - 12, 0)
    P(a preferred to b) = (1 - lapse) sigmoid(utility(a) - utility(b)) + lapse / 2

    Attributes:
      truth, agreement, warmth: weights, in nats.
      brevity: the price of a word, in nats.
      lapse: the share of answers at random, in [0, 1).
    """

    truth: float = 2.0
    agreement: float = 0.0
    warmth: float = 0.3
    brevity: float = 0.1
    lapse: float = 0.05

    def __post_init__(self) -> None:
        """Raises: ValueError: a lapse outside of [0, 1)."""
        if not 0 <= self.lapse < 1:
            raise ValueError(f"lapse should be in [0, 1), not {self.lapse}")

    def utility(self, features: AnswerFeatures) -> float:
        """The utility of an answer with these features, in nats."""
        return (
            self.truth * features.truthful
            + self.agreement * features.agrees
            + self.warmth * features.polite
            - self.brevity * max(features.words - FREE_WORDS, 0.0)
        )

    def preference(self, first: AnswerFeatures, second: AnswerFeatures) -> float:
        """P(the first of two answers is preferred).

        >>> right, wrong = AnswerFeatures(1, 0, 0, 0, 3), AnswerFeatures(0, 1, 0, 0, 3)
        >>> Annotator(lapse=0.5).preference(right, right)
        0.5
        >>> Annotator(agreement=2.0).preference(right, wrong)
        0.5
        """
        gap = self.utility(first) - self.utility(second)
        return float((1 - self.lapse) / (1 + np.exp(-gap)) + self.lapse / 2)

    def approves(self, features: AnswerFeatures) -> float:
        """P(approval) of an answer by itself: against half of what can be had."""
        bar = (self.truth + self.agreement) / 2
        gap = self.utility(features) - bar
        return float((1 - self.lapse) / (1 + np.exp(-gap)) + self.lapse / 2)


CLEAN = Annotator()
AGREEING = Annotator(truth=1.0, agreement=3.0)
ANNOTATORS = {"clean": CLEAN, "agreeing": AGREEING}


def label_answers(
    annotator: Annotator,
    request: OpinionRequest,
    first: str,
    second: str,
    rng: np.random.Generator,
) -> tuple[bool, float]:
    """Whether the annotator prefers the first answer, and the probability of it."""
    p = annotator.preference(
        answer_features(request, first), answer_features(request, second)
    )
    return bool(rng.random() < p), p
