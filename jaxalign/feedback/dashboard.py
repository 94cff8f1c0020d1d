"""The page for the one who runs a study: progress, people, agreement."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jaxalign import lazy
from jaxalign.feedback import pages, progress
from jaxalign.feedback.judgements import Item, Judgement
from jaxalign.feedback.progress import Statistics, Table
from jaxalign.feedback.study import Study
from jaxalign.feedback.tokens import Account
from jaxalign.messages import one_line

if TYPE_CHECKING:
    from starlette import responses, routing
    from starlette.requests import Request
    from starlette.responses import Response
else:
    responses = lazy.module("starlette.responses")
    routing = lazy.module("starlette.routing")

REFRESH_SECONDS = 5.0  # s between two computations of the statistics


class Dashboard:
    """Progress, speed and agreement of a study.

    Args:
      require: the account of a request; see `app.Site.require`.
      statistics: further tables, computed beside the server's work.
    """

    def __init__(
        self,
        study: Study,
        require: Callable[..., Account],
        statistics: Statistics | None,
    ) -> None:
        self.study = study
        self.require = require
        self.statistics = statistics
        self.tables: Sequence[Table] = ()
        self.events, self.computed = -1, 0.0
        self.lock = asyncio.Lock()

    def routes(self) -> list["routing.BaseRoute"]:
        """The page, and its part that changes."""
        return [
            routing.Route("/dashboard", self.page),
            routing.Route("/dashboard/tables", self.part),
        ]

    async def page(self, request: "Request") -> "Response":
        """The page."""
        account = self.require(request, admin=True)
        text = pages.render(
            "dashboard",
            title=self.study.settings.heading,
            name=account.name,
            admin=True,
            tables=await self.render(),
        )
        return responses.HTMLResponse(text)

    async def part(self, request: "Request") -> "Response":
        """What changes of the page."""
        self.require(request, admin=True)
        return responses.HTMLResponse(await self.render())

    async def render(self) -> str:
        """The counts and the tables, as HTML."""
        self.study.look()
        judgements = self.judgements()
        await self.compute(judgements)
        items = dict(self.study.queue.items)
        counts = progress.count_progress(items, judgements, self.study.settings.overlap)
        people = progress.people_table(items, judgements)
        return pages.render(
            "tables",
            counts=counts,
            tables=[people, *self.tables],
            arena=self.study.settings.kind == "arena",
            votes=len(judgements),
            rounds=max(self.study.rounds.values(), default=0) + 1,
        )

    def judgements(self) -> list[Judgement]:
        """All judgements, in the order of time."""
        workers = self.study.queue.workers
        own = [j for worker in workers.values() for j in worker.done.values()]
        return sorted(own, key=lambda judgement: judgement.time)

    async def compute(self, judgements: list[Judgement]) -> None:
        """Computes the further tables where there is something new, not too often."""
        if self.statistics is None or self.lock.locked():
            return
        async with self.lock:
            now = time.monotonic()
            stale = self.events != self.study.events
            if stale and (self.events < 0 or now - self.computed >= REFRESH_SECONDS):
                self.events = self.study.events
                items = dict(self.study.queue.items)
                self.tables = await asyncio.to_thread(self.measure, items, judgements)
                self.computed = time.monotonic()

    def measure(
        self, items: dict[str, Item], judgements: list[Judgement]
    ) -> Sequence[Table]:
        """The further tables; of a failure the reason, as people judge on."""
        assert self.statistics is not None
        try:
            return self.statistics(items, judgements)
        except Exception as error:
            note = f"This could not be computed: {one_line(error)}"
            return [Table("Agreement", (), (), note)]
