"""Labels of sampled answers by simulated annotators: rankings, and pairs of them.

p(a preferred to b) = sigmoid((reward(a) - reward(b)) / temperature)

which is Bradley-Terry: each annotator sorts the answers to a prompt by reward /
temperature + Gumbel noise (Plackett-Luce).
"""

import collections
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxalign import streams
from jaxalign.data.records import Prompt
from jaxalign.pipeline import answer_sources


class RankedAnswers(NamedTuple):
    """K answers to a prompt with their rankings, in the order of sampling.

    Attributes:
      rewards: float [K].
      places: the place of each answer by each annotator, 0 for the best, int
        [annotators K].
      sources: the model and temperature of each answer; empty where all have one.
    """

    prompt: Prompt
    answers: list[str]
    rewards: np.ndarray
    places: np.ndarray
    sources: list[str] = []

    def row(self) -> dict[str, Any]:
        """The ranking by the mean place, best first, as a row that `--data` reads."""
        # answers with the same mean place are in the first annotator's order
        order = np.lexsort((self.places[0], self.places.mean(axis=0)))
        sources = {"sources": [self.sources[i] for i in order]} if self.sources else {}
        return {
            **answer_sources.row_fields(self.prompt),
            "answers": [self.answers[i] for i in order],
            "rewards": self.rewards[order].tolist(),
            **sources,
        }


def rank_answers(
    answers: answer_sources.SourcedAnswers,
    reward: np.ndarray,
    temperature: float,
    annotators: int,
    noise: Callable[[int, int], np.random.Generator],
) -> list[RankedAnswers]:
    """Rankings of the answers to each prompt by simulated annotators (Plackett-Luce).

    Empty answers and repetitions of an answer are left out; so are prompts with fewer
    than two different answers.

    Args:
      reward: of each answer, float [R].
      temperature: of the labels.
      annotators: number of rankings of each prompt's answers.
      noise: the generator for a prompt id and its number of earlier occurrences.
    """
    several = len(set(answers.sources)) > 1
    rankings = []
    occurrences: collections.Counter[int] = collections.Counter()
    prompt_of_row = [id(prompt) for prompt in answers.prompts]
    for _, group in itertools.groupby(
        range(len(prompt_of_row)), key=prompt_of_row.__getitem__
    ):
        first_row = {
            answers.texts[i]: i for i in reversed(list(group)) if answers.texts[i]
        }
        rows = np.array(sorted(first_row.values()))
        if len(rows) < 2:
            continue
        prompt = answers.prompts[rows[0]]
        prompt_id = streams.prompt_id(prompt.messages)
        rng = noise(prompt_id, occurrences[prompt_id])
        occurrences[prompt_id] += 1
        gumbel = rng.gumbel(size=(annotators, len(rows)))
        utility = reward[rows][None, :] / temperature + gumbel
        places = np.argsort(np.argsort(-utility, axis=1), axis=1)
        texts = [answers.texts[i] for i in rows]
        sources = [answers.sources[i] for i in rows] if several else []
        rankings.append(RankedAnswers(prompt, texts, reward[rows], places, sources))
    return rankings


def preference_pairs(
    rankings: list[RankedAnswers], temperature: float
) -> list[dict[str, Any]]:
    """Pairs of consecutive samples, labeled by the first annotator's ranking.

    `p_chosen` is the probability of the label under the annotators' model.

    Args:
      temperature: of the labels.
    """
    rows = []
    for ranking in rankings:
        place = ranking.places[0]
        for a in range(0, len(place) - 1, 2):
            order = chosen, rejected = sorted((a, a + 1), key=place.__getitem__)
            gap = ranking.rewards[chosen] - ranking.rewards[rejected]
            logit = np.clip(gap / temperature, -60, 60)
            sources = [ranking.sources[i] for i in order] if ranking.sources else []
            rows.append(
                {
                    **answer_sources.row_fields(ranking.prompt),
                    "chosen": ranking.answers[chosen],
                    "rejected": ranking.answers[rejected],
                    "p_chosen": 1.0 / (1.0 + math.exp(-logit)),
                    "rewards": [float(ranking.rewards[i]) for i in order],
                    **({"sources": sources} if sources else {}),
                }
            )
    return rows
