"""The page of a study over HTTP: routes, and who may use them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from jaxalign import lazy
from jaxalign.feedback import pages
from jaxalign.feedback.answers import Refused, is_right
from jaxalign.feedback.arena import Answerer
from jaxalign.feedback.arena_pages import ArenaPages
from jaxalign.feedback.dashboard import Dashboard
from jaxalign.feedback.progress import Statistics
from jaxalign.feedback.requests import json_body, read_body, wait_until_saved
from jaxalign.feedback.security import LOCAL, App, Guard
from jaxalign.feedback.study import Reply, Study
from jaxalign.feedback.tokens import Account, Sessions

if TYPE_CHECKING:
    from starlette import applications, exceptions, responses, routing
    from starlette.requests import Request
    from starlette.responses import Response
else:
    applications = lazy.module("starlette.applications")
    exceptions = lazy.module("starlette.exceptions")
    responses = lazy.module("starlette.responses")
    routing = lazy.module("starlette.routing")

TRY_DELAY = 0.5  # s after a wrong token
MONTH = 30 * 86400  # s that a cookie lasts


def make_app(
    study: Study,
    *,
    accounts: list[Account] | None = None,
    answerers: Mapping[str, Answerer] | None = None,
    statistics: Statistics | None = None,
    local: bool = True,
) -> App:
    """The ASGI application of a study.

    Args:
      study: which it serves, and closes at its end.
      accounts: of the token file; None where anybody enters a name.
      answerers: models of the arena by name, two or more.
      statistics: tables of agreement for the dashboard.
      local: only requests to this machine's own names are answered.
    """
    site = Site(study, Sessions(study.store.folder, accounts))
    arena = ArenaPages(study, site.require, dict(answerers or {}))
    dashboard = Dashboard(study, site.require, statistics)

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        study.close()

    routes = [
        *site.routes(),
        *(arena.routes() if answerers else []),
        *dashboard.routes(),
    ]
    inner = applications.Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={exceptions.HTTPException: show_error},
    )
    return Guard(inner, LOCAL if local else None)


async def show_error(request: "Request", error: Any) -> "Response":
    """A refusal as a page, or as JSON where a script has asked."""
    if request.method == "POST" and request.url.path != "/login":
        return responses.JSONResponse({"note": error.detail}, error.status_code)
    if error.status_code == 401:
        return responses.RedirectResponse("/login", 303)
    text = pages.render("message", title="Not here", text=error.detail, name="")
    return responses.HTMLResponse(text, error.status_code)


class Site:
    """The pages of annotators.

    Args:
      study: whose items are shown.
      sessions: who is who.
    """

    def __init__(self, study: Study, sessions: Sessions) -> None:
        self.study = study
        self.sessions = sessions

    def routes(self) -> list["routing.BaseRoute"]:
        """The routes of these pages."""
        route = routing.Route
        return [
            route("/", self.home),
            route("/login", self.login, methods=["GET", "POST"]),
            route("/logout", self.logout, methods=["POST"]),
            route("/state", self.state),
            route("/answer", self.answer, methods=["POST"]),
            route("/undo", self.undo, methods=["POST"]),
            route("/static/{name}", static),
        ]

    def account(self, request: "Request") -> Account | None:
        """Who a request is of."""
        return self.sessions.verify(request.cookies.get(self.sessions.cookie, ""))

    def require(self, request: "Request", *, admin: bool = False) -> Account:
        """Who a request is of.

        Raises:
          HTTPException: 401 of nobody, 403 of one who may not.
        """
        account = self.account(request)
        if account is None:
            raise exceptions.HTTPException(401, "Enter first.")
        if admin and not account.admin:
            raise exceptions.HTTPException(403, "This page is not for annotators.")
        return account

    async def home(self, request: "Request") -> "Response":
        """The page on which items are judged; the arena where the study is one."""
        account = self.require(request)
        settings = self.study.settings
        if settings.kind == "arena":
            return responses.RedirectResponse("/arena", 303)
        text = pages.render(
            "annotate",
            title=settings.heading,
            name=account.name,
            admin=account.admin,
            settings=settings,
            script=pages.page_settings(settings),
            guidelines=pages.to_html(settings.guidelines)
            if settings.guidelines
            else "",
        )
        return responses.HTMLResponse(text)

    async def login(self, request: "Request") -> "Response":
        """The form for a name or a token, and what it sends."""
        error, status = "", 200
        if request.method == "POST":
            fields = parse_qs((await read_body(request)).decode("utf-8", "replace"))
            field = lambda name: fields.get(name, [""])[0]
            try:
                account = self.sessions.enter(field("name"), field("token"))
                error = "" if account else "This token is not known."
            except ValueError as reason:
                account, error = None, str(reason).capitalize() + "."
            if account is not None:
                return self.let_in(request, account)
            status = 403
            if self.sessions.accounts is not None:
                await asyncio.sleep(TRY_DELAY)
        text = pages.render(
            "login",
            title=self.study.settings.heading,
            name="",
            tokens=self.sessions.accounts is not None,
            error=error,
        )
        return responses.HTMLResponse(text, status)

    def let_in(self, request: "Request", account: Account) -> "Response":
        """A cookie, and on to the first page."""
        response = responses.RedirectResponse("/", 303)
        response.set_cookie(
            self.sessions.cookie,
            self.sessions.sign(account),
            max_age=MONTH,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def logout(self, request: "Request") -> "Response":
        """Ends the session."""
        response = responses.RedirectResponse("/login", 303)
        response.delete_cookie(self.sessions.cookie, httponly=True, samesite="strict")
        return response

    async def state(self, request: "Request") -> "Response":
        """What the annotator sees now and next."""
        account = self.require(request)
        return await self.reply(account.name, Reply(200))

    async def answer(self, request: "Request") -> "Response":
        """Takes an answer; 200 once it is on the disk."""
        account = self.require(request)
        payload = await json_body(request)
        try:
            reply = self.study.answer(account.name, payload)
        except Refused as error:
            return responses.JSONResponse({"note": str(error)}, 422)
        return await self.reply(account.name, reply)

    async def undo(self, request: "Request") -> "Response":
        """Takes the last judgement back."""
        account = self.require(request)
        payload = await json_body(request)
        reply = self.study.undo(account.name, payload.get("ticket"))
        return await self.reply(account.name, reply)

    async def reply(self, annotator: str, reply: Reply) -> "Response":
        """The state of the page after a request, once all is on the disk."""
        study = self.study
        held = study.hold(annotator)
        queue = study.queue
        done = queue.worker(annotator).done
        value = {
            "note": reply.note,
            "cards": [
                {
                    "ticket": a.ticket,
                    "places": len(a.order),
                    "html": pages.card(queue.items[a.item], a.order, study.settings),
                }
                for a in held
            ],
            "done": len(done),
            "left": queue.left(annotator),
            "undo": study.can_undo(annotator),
            "gold": None,
        }
        if reply.gold is not None:
            right = bool(is_right(*reply.gold))
            text = pages.gold_text(*reply.gold, right)
            value["gold"] = {"right": right, "text": text}
        await wait_until_saved(study)
        return responses.Response(
            json.dumps(value), reply.status, media_type="application/json"
        )


async def static(request: "Request") -> "Response":
    """The style and the script of the pages."""
    name = request.path_params["name"]
    try:
        content = pages.static_file(name)
    except KeyError:
        raise exceptions.HTTPException(404, "There is no such page.") from None
    headers = {"cache-control": "no-cache"}
    return responses.Response(content, 200, headers, pages.STATIC[name])
