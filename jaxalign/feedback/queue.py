"""Which item an annotator judges next, and in which order its answers are shown.

The queue is what follows from a study's events: the same events give the same queue,
whether they have just happened or are read after a restart (`apply`).

Every item goes to `overlap` people, and to nobody twice but for repeats. An item that
somebody holds counts as judged until the lease ends: that of an annotator who has done
nothing for `Settings.lease` seconds. Skips do not count.
"""

import random
from collections.abc import Callable, Sequence
from typing import Any

from jaxalign.feedback.judgements import (
    SKIP,
    Event,
    Item,
    to_judgement,
    undone,
)
from jaxalign.feedback.settings import Settings
from jaxalign.feedback.sides import Sides
from jaxalign.feedback.workers import Assignment, Worker, fraction

REPEAT_GAP = 8  # judgements between the two of one item
Score = Callable[[Sequence[Item]], Sequence[float]]
"""How much a label of each item would tell, 0 or more (active choice)."""


class Queue:
    """The items of a study and who judges them.

    Args:
      score: of the active choice; called with the items that an annotator may get.
      rng: of choices and sides.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        score: Score | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.score = score
        self.rng = rng or random.Random()
        self.items: dict[str, Item] = {}
        self.workers: dict[str, Worker] = {}
        self.labels: dict[str, set[str]] = {}  # item -> who judged it
        self.open: dict[str, None] = {}  # items that need more labels, in order
        self.gold: list[str] = []
        self.sides = Sides(self.rng)

    def add(self, item: Item) -> None:
        """Adds an item at the end."""
        if item.id in self.items:
            return
        self.items[item.id] = item
        self.labels[item.id] = set()
        if item.gold is not None:
            self.gold.append(item.id)
        elif "arena" not in item.fields:  # which is judged already
            self.open[item.id] = None

    def worker(self, annotator: str) -> Worker:
        """The record of an annotator, new or known."""
        return self.workers.setdefault(annotator, Worker())

    def apply(self, event: Event) -> None:
        """Applies an event to the queue."""
        if event.type not in ("assignment", "judgement", "undo"):
            return
        if event.body["item"] not in self.items:
            return
        worker = self.worker(event.annotator)
        worker.seen = max(worker.seen, event.time)
        if event.type == "assignment":
            self.apply_assignment(worker, event)
        elif event.type == "judgement":
            self.apply_judgement(worker, event)
        else:
            self.apply_undo(worker, event)

    def apply_assignment(self, worker: Worker, event: Event) -> None:
        """Hands an item to an annotator."""
        body = event.body
        assignment = Assignment(
            event.ticket,
            body["item"],
            body["repeat"],
            tuple(body["order"]),
            body["probability"],
            event.time,
        )
        worker.held.insert(0 if body.get("again") else len(worker.held), assignment)
        if assignment.repeat:
            worker.due.pop(assignment.item, None)
        if not body.get("again"):
            worker.assigned += 1
            self.sides.record(event.annotator, assignment.item, assignment.order)

    def apply_judgement(self, worker: Worker, event: Event) -> None:
        """Records what an annotator said, and who needs the item still."""
        judgement = to_judgement(event)
        key = (judgement.item, judgement.repeat)
        worker.held = [a for a in worker.held if (a.item, a.repeat) != key]
        worker.lapsed.pop(event.ticket, None)
        worker.done.pop(key, None)
        worker.done[key] = judgement
        worker.answered[event.ticket] = event.body
        if judgement.repeat:
            return
        if judgement.value == SKIP:
            self.labels[judgement.item].discard(event.annotator)
        else:
            self.labels[judgement.item].add(event.annotator)
            item = judgement.item
            share = fraction(self.settings.seed, event.annotator, item)
            if share < self.settings.repeat and not judgement.is_gold:
                worker.due[item] = len(worker.done)
        self.update_open(judgement.item)

    def apply_undo(self, worker: Worker, event: Event) -> None:
        """Takes a judgement back."""
        item, repeat = undone(event.body)
        worker.done.pop((item, repeat), None)
        if not repeat:
            self.labels[item].discard(event.annotator)
            worker.due.pop(item, None)
            self.update_open(item)

    def update_open(self, item: str) -> None:
        """Keeps `open` true of an item whose labels have changed."""
        if len(self.labels[item]) >= self.settings.overlap:
            self.open.pop(item, None)
        elif item not in self.open and self.items[item].gold is None:
            if "arena" not in self.items[item].fields:
                self.open[item] = None

    def is_plenty(self) -> bool:
        """Whether there are items enough to hold some before they are shown."""
        active = sum(1 for worker in self.workers.values() if worker.held)
        return len(self.open) >= 2 * max(active, 1)

    def expire(self, now: float) -> None:
        """Ends the leases of those who have done nothing for long."""
        for worker in self.workers.values():
            if worker.held and now - worker.seen > self.settings.lease:
                worker.lapsed |= {a.ticket: a for a in worker.held}
                worker.held = []

    def choose(self, annotator: str) -> dict[str, Any] | None:
        """The body of the next assignment of an annotator; None where nothing is left.

        A due repeat comes first, then a gold item where one falls on this place, then
        an item that needs labels; at the end the repeats that are left.
        """
        worker = self.worker(annotator)
        if repeat := self.due_repeat(worker, REPEAT_GAP):
            return repeat
        items = self.available(annotator)
        if not items:
            return self.due_repeat(worker, 0)
        place = fraction(self.settings.seed, annotator, f"gold {worker.assigned}")
        if place < self.settings.gold_share:
            if gold := [g for g in self.gold if not self.met(worker, g)]:
                return self.assignment(annotator, self.rng.choice(gold), 1.0)
        item, probability = self.pick(items)
        return self.assignment(annotator, item, probability)

    def assignment(
        self, annotator: str, item: str, probability: float
    ) -> dict[str, Any]:
        """The body of an assignment of an item, with an order of its answers."""
        count = len(self.items[item].answers)
        order = self.sides.choose(annotator, item, count)
        return {
            "item": item,
            "repeat": 0,
            "order": list(order),
            "probability": probability,
        }

    def due_repeat(self, worker: Worker, gap: int) -> dict[str, Any] | None:
        """The body of a repeat, in the reversed order; None where none is due."""
        for item, place in worker.due.items():
            if len(worker.done) - place >= gap:
                order = worker.done[item, 0].order[::-1]
                return {
                    "item": item,
                    "repeat": 1,
                    "order": list(order),
                    "probability": 1.0,
                }
        return None

    def met(self, worker: Worker, item: str) -> bool:
        """Whether an annotator has judged an item, or holds it."""
        return (item, 0) in worker.done or worker.holds(item)

    def available(self, annotator: str) -> list[str]:
        """The items that an annotator may get, in order.

        In a fixed order the first one alone, which saves the search for others.
        """
        worker, found = self.worker(annotator), []
        held: dict[str, int] = {}
        for other in self.workers.values():
            for a in other.held:
                if not a.repeat:
                    held[a.item] = held.get(a.item, 0) + 1
        for item in self.open:
            taken = len(self.labels[item]) + held.get(item, 0)
            if taken < self.settings.overlap and not self.met(worker, item):
                found.append(item)
                if self.settings.choice == "fixed":
                    break
        return found

    def pick(self, items: Sequence[str]) -> tuple[str, float]:
        """One of the available items, and the probability with which it was chosen.

        p(i) = share / n + (1 - share) * score(i) / sum of scores    (active)
        """
        if self.settings.choice == "fixed":
            return items[0], 1.0
        weights = [1.0 / len(items)] * len(items)
        if self.settings.choice == "active" and self.score is not None:
            scores = [max(float(s), 0.0) for s in self.score(self.as_items(items))]
            total, share = sum(scores), self.settings.random_share
            if total > 0:
                weights = [
                    share * w + (1 - share) * s / total
                    for w, s in zip(weights, scores, strict=True)
                ]
        (place,) = self.rng.choices(range(len(items)), weights)
        return items[place], weights[place]

    def as_items(self, names: Sequence[str]) -> list[Item]:
        """Items by id."""
        return [self.items[name] for name in names]

    def left(self, annotator: str) -> int:
        """How many items are left for an annotator, what is held included."""
        worker = self.worker(annotator)
        other = sum(
            1 for item, repeat in worker.done if not repeat and item in self.open
        )
        first = sum(a.item in self.open and not a.repeat for a in worker.held)
        return len(self.open) - other - first + len(worker.held) + len(worker.due)
