"""A study while it is served: what each annotator sees, says and takes back.

Requests are decided one after the other in one thread, on the queue in memory; each
gives events, and is answered once these are on the disk.
"""

import contextlib
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from jaxalign.feedback.answers import Refused, is_right, parse_answer
from jaxalign.feedback.arena import Arena
from jaxalign.feedback.committer import Committer
from jaxalign.feedback.judgements import Event, Item, Judgement, judgement_body
from jaxalign.feedback.queue import Queue, Score
from jaxalign.feedback.settings import Settings
from jaxalign.feedback.store import NewEvent, Store
from jaxalign.feedback.workers import Assignment, Worker

HELD = 2  # what is shown, and what is loaded beforehand
LOOK = 1.0  # s between looks for items that other processes have added


class Reply(NamedTuple):
    """What a request leads to.

    Attributes:
      status: of HTTP: 200, 404 for a ticket that is not the annotator's, 409 where the
        page shows what is not current any more.
      note: a sentence for the annotator.
      gold: of a gold item with feedback, the item and the judgement.
    """

    status: int
    note: str = ""
    gold: tuple[Item, Judgement] | None = None


class Study:
    """A study and its queue; methods are called from one thread.

    Args:
      folder: of the study, which exists.
      settings: of this start.
      score: of the active choice of items.
      clock: unix time, s.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        *,
        score: Score | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.store = Store(folder)
        self.reader = Store(folder)
        self.committer = Committer(self.store)
        self.score = score
        self.rebuild()

    def rebuild(self) -> None:
        """Reads items and events from the disk."""
        self.queue = Queue(self.settings, score=self.score)
        self.arena = Arena()
        self.last_item, self.looked, self.version = 0, 0.0, -1
        self.rounds: dict[str, int] = {}
        self.events = 0
        self.last: Future[None] | None = None
        self.look()
        for event in self.reader.events():
            self.apply(event)

    def close(self) -> None:
        """Waits until all is stored, and closes the file."""
        self.committer.close()
        self.store.close()
        self.reader.close()

    def look(self) -> None:
        """Takes up items that other processes have added."""
        if (now := self.clock()) - self.looked < LOOK:
            return
        self.looked = now
        version = self.reader.data_version()
        if version != self.version:
            self.version = version
            for seq, number, item in self.reader.items(self.last_item):
                self.queue.add(item)
                self.rounds[item.id] = number
                self.last_item = seq

    def apply(self, event: Event) -> None:
        """Applies an event to the queue and to the arena."""
        self.events += 1
        self.queue.apply(event)
        self.arena.apply(event)

    def record(self, events: Sequence[NewEvent], items: Sequence[Item] = ()) -> None:
        """Applies new events at once; `last` is done once they are stored.

        Args:
          items: of the events, where they are new.
        """
        now = self.clock()
        for item in items:
            self.queue.add(item)
        for annotator, kind, body, ticket in events:
            body = json.loads(json.dumps(body))  # as it will be read
            self.apply(Event(0, now, annotator, kind, ticket, body))
        if events:
            self.last = self.committer.append(events, items)

    def recover(self) -> None:
        """Reads the study anew after events could not be stored.

        Raises:
          ValueError: the file cannot be read.
        """
        self.committer.close()
        self.committer = Committer(self.store)
        self.rebuild()

    def hold(self, annotator: str) -> list[Assignment]:
        """What an annotator sees now and next; hands out items where there are any."""
        self.look()
        now = self.clock()
        self.queue.expire(now)
        worker = self.queue.worker(annotator)
        worker.seen = now
        while len(worker.held) < (HELD if self.queue.is_plenty() else 1):
            body = self.queue.choose(annotator)
            if body is None:
                break
            ticket = secrets.token_urlsafe(18)
            self.record([NewEvent(annotator, "assignment", body, ticket)])
        return worker.held[:HELD]

    def answer(self, annotator: str, payload: Mapping[str, Any]) -> Reply:
        """Takes an answer; an answer that comes again is taken once.

        Raises:
          Refused: the answer is malformed; says what is expected.
        """
        ticket = payload.get("ticket")
        if not isinstance(ticket, str):
            raise Refused("field 'ticket': expected a text")
        worker = self.queue.worker(annotator)
        if ticket in worker.answered:
            return self.answer_again(worker, ticket, payload)
        assignment = find_assignment(worker, ticket)
        if assignment is None:
            return Reply(404, "This item is not yours, or not any more.")
        if (assignment.item, assignment.repeat) in worker.done:
            return Reply(409, "You have judged this item already.")
        item = self.queue.items[assignment.item]
        now = self.clock()
        judgement = parse_answer(payload, item, assignment, self.settings, now)
        body = judgement_body(judgement)
        self.record([NewEvent(annotator, "judgement", body, ticket)])
        tells = self.settings.gold_feedback and is_right(item, judgement) is not None
        return Reply(200, gold=(item, judgement) if tells else None)

    def answer_again(
        self, worker: Worker, ticket: str, payload: Mapping[str, Any]
    ) -> Reply:
        """What an answer leads to whose ticket was answered before."""
        earlier = worker.answered[ticket]
        judgement = worker.done.get((earlier["item"], earlier["repeat"]))
        if judgement is None or judgement_body(judgement)["value"] != of(earlier):
            return Reply(409, "You have taken this back in another tab.")
        item = self.queue.items[judgement.item]
        fake = Assignment("", item.id, 0, judgement.order, 1.0, 0.0)
        with contextlib.suppress(Refused):
            said = parse_answer(payload, item, fake, self.settings, self.clock())
            if said.value == judgement.value:
                return Reply(200)
        return Reply(409, "You have answered this in another tab; that answer stays.")

    def can_undo(self, annotator: str) -> bool:
        """Whether the last judgement of an annotator may be taken back.

        The expected answer to a gold item, once shown, would be copied.
        """
        done = self.queue.worker(annotator).done
        if not done:
            return False
        last = next(reversed(done.values()))
        in_arena = "arena" in self.queue.items[last.item].fields
        return not in_arena and not (last.is_gold and self.settings.gold_feedback)

    def undo(self, annotator: str, ticket: Any) -> Reply:
        """Takes the last judgement back, and shows its item again.

        Args:
          ticket: of the item that the page shows; None where nothing is left.
        """
        held = self.hold(annotator)
        current = held[0].ticket if held else None
        if ticket != current:
            return Reply(409, "This page is not the newest; here is what is.")
        if not self.can_undo(annotator):
            return Reply(409, "There is nothing to take back.")
        last = next(reversed(self.queue.worker(annotator).done.values()))
        body = {"item": last.item, "repeat": last.repeat}
        again = {
            **body,
            "order": list(last.order),
            "probability": last.probability,
            "again": True,
        }
        new = secrets.token_urlsafe(18)
        self.record(
            [
                NewEvent(annotator, "undo", body),
                NewEvent(annotator, "assignment", again, new),
            ]
        )
        return Reply(200, "Taken back.")


def of(body: Mapping[str, Any]) -> Any:
    """The value in a judgement's body, as a judgement has it."""
    value = body["value"]
    return tuple(value) if isinstance(value, list) else value


def find_assignment(worker: Worker, ticket: str) -> Assignment | None:
    """An annotator's assignment by its ticket, whether its lease has ended or not."""
    for assignment in worker.held:
        if assignment.ticket == ticket:
            return assignment
    return worker.lapsed.get(ticket)
