"""Commits of many requests at once: a slow disk serves hundreds a second."""

import queue
import threading
from collections.abc import Sequence
from concurrent.futures import Future

from jaxalign.feedback.judgements import Item
from jaxalign.feedback.store import NewEvent, Store

Batch = tuple[list[NewEvent], list[Item], "Future[None]"]


class Committer:
    """A thread that appends events to a store, all that wait in one transaction.

    Attributes:
      failure: why a transaction failed; after that all are refused, as the caller's
        picture of the study is not what is stored.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.failure: BaseException | None = None
        self.queue: queue.SimpleQueue[Batch | None] = queue.SimpleQueue()
        self.thread = threading.Thread(target=self.run, name="commits", daemon=True)
        self.thread.start()

    def append(
        self, events: Sequence[NewEvent], items: Sequence[Item] = ()
    ) -> "Future[None]":
        """Appends events after those that wait, and the items that they are of.

        Returns:
          A future that is done once they are on the disk, or fails if they are not.
        """
        future: Future[None] = Future()
        self.queue.put((list(events), list(items), future))
        return future

    def run(self) -> None:
        """Appends what waits, until `close`."""
        while (first := self.queue.get()) is not None:
            batches, last = [first], False
            while not self.queue.empty():
                batch = self.queue.get()
                if batch is None:
                    last = True
                    break
                batches.append(batch)
            self.commit(batches)
            if last:
                return

    def commit(self, batches: Sequence[Batch]) -> None:
        """Appends batches in one transaction, and tells those who wait."""
        try:
            if self.failure is not None:
                raise self.failure
            self.store.append(
                [event for events, _, _ in batches for event in events],
                [item for _, items, _ in batches for item in items],
            )
        except BaseException as error:
            self.failure = error
            for _, _, future in batches:
                future.set_exception(error)
        else:
            for _, _, future in batches:
                future.set_result(None)

    def close(self) -> None:
        """Waits until all is stored."""
        self.queue.put(None)
        self.thread.join()
