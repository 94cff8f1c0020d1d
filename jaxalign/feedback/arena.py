"""Battles of anonymous models: turns, votes, and the pairs that votes become.

A battle is of two models whose names are told after the vote. Each turn is a prompt
that both answer in their own conversation. A vote on a battle of one turn is a judged
pair; after several turns the conversations differ, and it tells of the models alone.
"""

import dataclasses
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jaxalign.feedback.judgements import (
    BOTH_BAD,
    TIE,
    Event,
    Item,
    Judgement,
    judgement_body,
)
from jaxalign.feedback.store import NewEvent

Answerer = Callable[[list[dict[str, Any]]], Iterator[str]]
"""Conversation, a user's message last -> pieces of the answer."""
VOTES: dict[str, int | str] = {"left": 1, "right": 2, TIE: TIE, BOTH_BAD: BOTH_BAD}


@dataclasses.dataclass
class Battle:
    """Two models that answer the same prompts.

    Attributes:
      id: its name.
      annotator: who asks and votes.
      models: their names, by index.
      order: index of the model in each place.
      probability: with which this pair of models was chosen.
      turns: the prompts, each with both answers by index.
      vote: 1 left, 2 right, "tie", "both_bad"; None before the vote.
    """

    id: str
    annotator: str
    models: tuple[str, str]
    order: tuple[int, ...]
    probability: float
    turns: list[tuple[str, tuple[str, str]]] = dataclasses.field(default_factory=list)
    vote: int | str | None = None
    started: float = 0.0

    def conversation(self, model: int, prompt: str = "") -> list[dict[str, Any]]:
        """The conversation with a model by index, and a further prompt."""
        messages = []
        for asked, answers in self.turns:
            messages.append({"role": "user", "content": asked})
            messages.append({"role": "assistant", "content": answers[model]})
        return [*messages, *[{"role": "user", "content": prompt}] * bool(prompt)]

    def names(self) -> list[str]:
        """The names of the models, from left to right."""
        return [self.models[i] for i in self.order]


class Arena:
    """The battles of a study, as its events tell them."""

    def __init__(self) -> None:
        self.battles: dict[str, Battle] = {}
        self.newest: dict[str, Battle] = {}  # by annotator

    def apply(self, event: Event) -> None:
        """Applies an event of a battle; others are left alone."""
        body = event.body
        if event.type == "turn":
            battle = self.battles.get(body["battle"])
            if battle is None:
                battle = new_battle(event.annotator, body, event.time)
                self.battles[battle.id] = battle
                self.newest[event.annotator] = battle
            battle.turns.append((body["prompt"], tuple(body["answers"])))
        elif event.type == "judgement" and event.ticket in self.battles:
            self.battles[event.ticket].vote = body["value"]

    def latest(self, annotator: str) -> Battle | None:
        """The newest battle of an annotator."""
        return self.newest.get(annotator)


def new_battle(annotator: str, body: Mapping[str, Any], time: float) -> Battle:
    """The battle that a turn's event begins."""
    first, second = body["models"]
    return Battle(
        body["battle"],
        annotator,
        (first, second),
        tuple(body["order"]),
        body["probability"],
        started=time,
    )


def draw_models(
    names: Sequence[str], rng: random.Random
) -> tuple[tuple[str, str], tuple[int, ...], float]:
    """Two of the models, their order on the page, and the pair's probability."""
    pairs = list(itertools.combinations(names, 2))
    order = rng.choice([(0, 1), (1, 0)])
    return rng.choice(pairs), order, 1.0 / len(pairs)


def turn_event(battle: Battle, prompt: str, answers: Sequence[str]) -> NewEvent:
    """The event of a turn; of the first one, it begins the battle."""
    body = {
        "battle": battle.id,
        "models": list(battle.models),
        "order": list(battle.order),
        "probability": battle.probability,
        "prompt": prompt,
        "answers": list(answers),
    }
    return NewEvent(battle.annotator, "turn", body)


def vote_event(
    battle: Battle, value: int | str, seconds: float, comment: str
) -> tuple[NewEvent, Item]:
    """The judgement of a battle, and its item.

    Args:
      value: 1 left, 2 right, "tie", "both_bad".
      seconds: spent on the battle.
    """
    item = battle_item(battle)
    judgement = Judgement(
        item=item.id,
        kind=item.kind,
        annotator=battle.annotator,
        time=0.0,
        seconds=seconds,
        order=battle.order,
        value=value,
        levels=2,
        comment=comment,
        probability=battle.probability,
    )
    body = judgement_body(judgement)
    return NewEvent(battle.annotator, "judgement", body, battle.id), item


def battle_item(battle: Battle) -> Item:
    """The item of a battle: a pair, or after several turns a "battle"."""
    single = len(battle.turns) == 1
    fields: dict[str, Any] = {
        "arena": True,
        "source": list(battle.models),
        "turns": len(battle.turns),
    }
    if not single:
        fields["conversations"] = [battle.conversation(i) for i in (0, 1)]
    return Item(
        f"arena-{battle.id}",
        "pair" if single else "battle",
        [{"role": "user", "content": battle.turns[0][0]}],
        battle.turns[-1][1],
        fields,
    )
