"""The arena over HTTP: a prompt, two answers in streams, a vote, the names."""

import asyncio
import json
import random
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxalign import lazy
from jaxalign.feedback import arena, pages
from jaxalign.feedback.answers import Refused, parse_seconds, parse_text
from jaxalign.feedback.arena import VOTES, Answerer, Battle
from jaxalign.feedback.markup import to_html
from jaxalign.feedback.requests import json_body, wait_until_saved
from jaxalign.feedback.study import Study
from jaxalign.feedback.tokens import Account
from jaxalign.messages import one_line

if TYPE_CHECKING:
    from starlette import exceptions, responses, routing
    from starlette.requests import Request
    from starlette.responses import Response
else:
    exceptions = lazy.module("starlette.exceptions")
    responses = lazy.module("starlette.responses")
    routing = lazy.module("starlette.routing")

MAX_PROMPT = 20_000  # characters
MAX_TURNS = 20
MAX_WAITING = 16  # turns, those that are being answered included
Lines = asyncio.Queue[str | None]
BUSY = "The models are answering others; try again in a moment."


class ArenaPages:
    """Battles of the served models.

    Args:
      require: the account of a request; see `app.Site.require`.
      answerers: the models by name, two or more.
      streams: turns that are answered at one time; others wait for them.
    """

    def __init__(
        self,
        study: Study,
        require: Callable[..., Account],
        answerers: dict[str, Answerer],
        *,
        streams: int = 1,
        rng: random.Random | None = None,
    ) -> None:
        self.study = study
        self.require = require
        self.answerers = answerers
        self.free = asyncio.Semaphore(streams)
        self.rng = rng or random.Random()
        self.answering: list[str] = []  # battles
        self.tasks: set[asyncio.Task[None]] = set()

    def routes(self) -> list["routing.BaseRoute"]:
        """The page and what its script asks for."""
        return [
            routing.Route("/arena", self.page),
            routing.Route("/arena/state", self.state),
            routing.Route("/arena/turn", self.turn, methods=["POST"]),
            routing.Route("/arena/vote", self.vote, methods=["POST"]),
        ]

    async def page(self, request: "Request") -> "Response":
        """The page."""
        account = self.require(request)
        settings = self.study.settings
        text = pages.render(
            "arena",
            title=settings.heading,
            name=account.name,
            admin=account.admin,
            settings=settings,
            script=pages.page_settings(settings),
        )
        return responses.HTMLResponse(text)

    async def state(self, request: "Request") -> "Response":
        """The visitor's battle, if one waits for a vote, and the number of votes."""
        account = self.require(request)
        battle = self.study.arena.latest(account.name)
        value: dict[str, Any] = {"battle": None, "turns": []}
        if battle is not None and battle.vote is None:
            value["battle"] = battle.id
            value["turns"] = [turn_html(battle, i) for i in range(len(battle.turns))]
        value["votes"] = len(self.study.queue.worker(account.name).done)
        return responses.JSONResponse(value)

    async def turn(self, request: "Request") -> "Response":
        """Answers a prompt by both models: a stream of JSON lines.

        {"place", "text"}: a piece of an answer; {"battle", "turn"}: all of it, once it
        is on the disk; {"error"}: why there is no answer.
        """
        account = self.require(request)
        payload = await json_body(request)
        prompt = parse_prompt(payload)
        battle = self.battle(account.name, payload.get("battle"))
        if len(self.answering) >= MAX_WAITING or battle.id in self.answering:
            raise exceptions.HTTPException(503, BUSY)
        self.answering.append(battle.id)
        lines: Lines = asyncio.Queue()
        task = asyncio.create_task(self.answer(battle, prompt, lines))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return responses.StreamingResponse(
            drain(lines), media_type="application/x-ndjson"
        )

    def battle(self, annotator: str, name: Any) -> Battle:
        """The battle that a turn belongs to, a new one where it names none.

        Raises:
          HTTPException: 404 or 409, the battle is not the visitor's newest, or over.
        """
        if name is None:
            models, order, probability = arena.draw_models(
                list(self.answerers), self.rng
            )
            new = secrets.token_urlsafe(12)
            now = self.study.clock()
            return Battle(new, annotator, models, order, probability, started=now)
        battle = self.open_battle(annotator, name)
        if battle.vote is not None or len(battle.turns) >= MAX_TURNS:
            raise exceptions.HTTPException(409, "This battle is over.")
        if not set(battle.models) <= set(self.answerers):
            text = "A model of this battle is not served any more: vote, or begin anew."
            raise exceptions.HTTPException(409, text)
        return battle

    def open_battle(self, annotator: str, name: Any) -> Battle:
        """The visitor's newest battle.

        Raises:
          HTTPException: 404, it has another name.
        """
        battle = self.study.arena.latest(annotator)
        if battle is None or battle.id != name:
            raise exceptions.HTTPException(404, "This is not your newest battle.")
        return battle

    async def answer(self, battle: Battle, prompt: str, lines: Lines) -> None:
        """Makes the lines of a turn, which is recorded at its end.

        It goes on where the visitor leaves, who sees the answers when coming back.
        """
        send = lambda value: lines.put_nowait(json.dumps(value) + "\n")
        try:
            texts = ["", ""]
            async with self.free:
                iterators = [
                    self.answerers[name](battle.conversation(i, prompt))
                    for i, name in enumerate(battle.models)
                ]
                async for index, piece in alternate(iterators):
                    texts[index] += piece
                    send({"place": battle.order.index(index), "text": piece})
            self.study.record([arena.turn_event(battle, prompt, texts)])
            await wait_until_saved(self.study)
            stored = self.study.arena.battles[battle.id]
            value = turn_html(stored, len(stored.turns) - 1)
            send({"battle": battle.id, "turn": value})
        except Exception as error:  # of a model, or of the disk: told to the visitor
            send({"error": getattr(error, "detail", "") or one_line(error)})
        finally:
            self.answering.remove(battle.id)
            lines.put_nowait(None)

    async def vote(self, request: "Request") -> "Response":
        """Takes a vote once, and tells the names of the models."""
        account = self.require(request)
        payload = await json_body(request)
        battle = self.open_battle(account.name, payload.get("battle"))
        value = VOTES.get(str(payload.get("value")))
        if value is None:
            raise exceptions.HTTPException(422, f"A vote is {', '.join(VOTES)}.")
        if battle.id in self.answering:
            raise exceptions.HTTPException(409, "Wait for the answers.")
        if battle.vote is None:
            try:
                passed = self.study.clock() - battle.started
                seconds = parse_seconds(payload.get("seconds", 0), passed)
                comment = parse_text(payload, "comment")
            except Refused as error:
                raise exceptions.HTTPException(422, str(error)) from None
            event, item = arena.vote_event(battle, value, seconds, comment)
            self.study.record([event], [item])
        elif battle.vote != value:
            text = (
                "You have voted already; votes after the names are known do not count."
            )
            raise exceptions.HTTPException(409, text)
        await wait_until_saved(self.study)
        votes = len(self.study.queue.worker(account.name).done)
        return responses.JSONResponse({"names": battle.names(), "votes": votes})


async def alternate(
    iterators: Sequence[Iterator[str]],
) -> AsyncIterator[tuple[int, str]]:
    """The (index, piece) of several streams by turns, each made in a thread."""
    running = dict(enumerate(iterators))
    while running:
        for index, iterator in list(running.items()):
            piece = await asyncio.to_thread(next, iterator, None)
            if piece is None:
                del running[index]
            else:
                yield index, piece


async def drain(lines: Lines) -> AsyncIterator[str]:
    """The lines of a queue, up to None."""
    while (line := await lines.get()) is not None:
        yield line


def parse_prompt(payload: Mapping[str, Any]) -> str:
    """The text of a visitor.

    Raises:
      HTTPException: 422, it is empty or too long.
    """
    text = payload.get("text")
    if not isinstance(text, str) or not 0 < len(text.strip()) <= MAX_PROMPT:
        detail = f"A message has 1 to {MAX_PROMPT} characters."
        raise exceptions.HTTPException(422, detail)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise exceptions.HTTPException(422, "Not valid Unicode.") from None
    return text.strip()


def turn_html(battle: Battle, number: int) -> dict[str, Any]:
    """A turn as HTML: the prompt, and the answers from left to right."""
    prompt, answers = battle.turns[number]
    return {
        "prompt": to_html(prompt),
        "answers": [to_html(answers[i]) for i in battle.order],
    }
