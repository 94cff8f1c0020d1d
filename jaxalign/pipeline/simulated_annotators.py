"""People, simulated: annotators of studies with a sharpness, a side bias and lapses.

log-odds = sharpness (utility(left) - utility(right)) + bias
position = 1 + the number of cut points above log-odds + logistic noise,  or
           any position alike, with probability lapse

so that P(left) = (1 - lapse) sigmoid(log-odds) + lapse / 2 on scales without a middle,
as `agreement.annotator_model` fits it. Groups of people differ in their utility.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jaxalign.data.records import Prompt
from jaxalign.evaluation.agreement.annotator_model import sigmoid
from jaxalign.feedback.judgements import Item, Judgement
from jaxalign.pipeline.datasets import RuleBasedReward

Utility = Callable[[Item], Sequence[float]]
"""What the answers of an item are worth, one number each."""
THRESHOLDS = {2: (), 3: (0.7,), 4: (1.5,), 8: (0.6, 1.4, 2.8)}
SECONDS = {"pair": 20.0, "rating": 12.0, "ranking": 36.0}


@dataclasses.dataclass(frozen=True)
class SimulatedAnnotator:
    """An annotator.

    Attributes:
      name: in the study.
      utility: of an item's answers.
      sharpness: log-odds per unit of utility.
      bias: to the left side, in log-odds.
      lapse: share of choices at random, in [0, 1].
      seed: of the choices.
    """

    name: str
    utility: Utility
    sharpness: float = 1.0
    bias: float = 0.0
    lapse: float = 0.0
    seed: int = 0

    def generator(self, item: Item, repeat: int = 0) -> np.random.Generator:
        """The random numbers of a look at an item: the same whenever it comes."""
        words = f"{self.name} {item.id}".encode()
        return np.random.default_rng([self.seed, repeat, *words])

    def left_probability(self, item: Item, order: Sequence[int]) -> float:
        """P(the left side is chosen) of a pair that is shown in an order."""
        utility = self.utility(item)
        gap = utility[order[0]] - utility[order[1]]
        p = float(sigmoid(np.asarray(self.sharpness * gap + self.bias)))
        return (1 - self.lapse) * p + self.lapse / 2

    def position(
        self, item: Item, order: Sequence[int], levels: int, repeat: int = 0
    ) -> int:
        """The position on the scale of a pair, from 1, the left answer by far."""
        rng = self.generator(item, repeat)
        lapses, noise = rng.random() < self.lapse, rng.logistic()
        if lapses:
            return int(rng.integers(1, levels + 1))
        utility = self.utility(item)
        gap = utility[order[0]] - utility[order[1]]
        log_odds = self.sharpness * gap + self.bias + noise
        thresholds = np.array(THRESHOLDS[levels])
        middle = [0.0] if levels % 2 == 0 else []
        cuts = np.concatenate([thresholds[::-1], middle, -thresholds])
        return 1 + int(np.sum(cuts > log_odds))

    def ranks(self, item: Item, repeat: int = 0) -> tuple[int, ...]:
        """The rank of each answer, 1 the best (Plackett-Luce)."""
        rng = self.generator(item, repeat)
        lapses = rng.random() < self.lapse
        utility = np.zeros(len(item.answers)) if lapses else self.utility(item)
        noisy = self.sharpness * np.asarray(utility) + rng.gumbel(size=len(utility))
        return tuple(int(r) for r in 1 + np.argsort(np.argsort(-noisy)))

    def judge(
        self, item: Item, order: Sequence[int], levels: int, repeat: int = 0
    ) -> Judgement:
        """The judgement of a pair or a ranking.

        Raises:
          ValueError: another kind of item.
        """
        value: int | tuple[int, ...]
        if item.kind == "pair":
            value = self.position(item, order, levels, repeat)
        elif item.kind == "ranking":
            value = self.ranks(item, repeat)
        else:
            raise ValueError(
                f"item {item.id} is a {item.kind}, not a pair or a ranking"
            )
        return Judgement(
            item=item.id,
            kind=item.kind,
            annotator=self.name,
            time=0.0,
            seconds=SECONDS[item.kind],
            order=tuple(order),
            value=value,
            levels=levels if item.kind == "pair" else 0,
            is_gold=item.gold is not None,
            repeat=repeat,
        )


def reward_utility(reward: RuleBasedReward) -> Utility:
    """The utility of answers by a data set's rule-based reward, as finished ones."""

    def utility(item: Item) -> list[float]:
        prompts = [Prompt(item.prompt, fields=item.fields)] * len(item.answers)
        finished = np.ones(len(prompts), bool)
        values = reward(prompts, list(item.answers), finished)
        return [float(x) for x in values["reward"]]

    return utility
