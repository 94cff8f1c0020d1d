"""What every request and every response pass: hosts, origins, sizes, headers."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_BODY = 64 * 2**10  # bytes; an answer has a few hundred
LOCAL = frozenset(("localhost", "127.0.0.1", "::1"))
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing is loaded from elsewhere, and no script of a text runs."""
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # without, forms have the origin "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


class Guard:
    """An ASGI application around another: refuses what a page of ours does not send.

    Args:
      hosts: names of the Host header; None for any. Without a check another site could
        reach a page on this machine by giving its own name this machine's address.
    """

    def __init__(self, app: App, hosts: Iterable[str] | None) -> None:
        self.app = app
        self.hosts = None if hosts is None else frozenset(hosts)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {
            k.decode("latin-1"): v.decode("latin-1") for k, v in scope["headers"]
        }
        refusal = self.refusal(scope["method"], headers)
        if refusal is not None:
            await respond(send, *refusal)
            return
        await self.app(scope, Body(receive), with_headers(send))

    def refusal(self, method: str, headers: dict[str, str]) -> tuple[int, str] | None:
        """The status and the reason of a refusal; None of what passes."""
        host = headers.get("host", "")
        if self.hosts is not None and host_name(host) not in self.hosts:
            return 421, "This page is not served under this name."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length[:12]) > MAX_BODY:
            return 413, f"A body has at most {MAX_BODY} bytes."
        if method in ("GET", "HEAD"):
            return None
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "A page of another site sent this."
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return 403, "A page of another site sent this."
        return None


def host_name(host: str) -> str:
    """The name in a Host header, without the port; "" of a malformed one.

    >>> host_name("localhost:80"), host_name("[::1]:80"), host_name("[")
    ('localhost', '::1', '')
    """
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


class TooLarge(Exception):
    """A body of more than `MAX_BODY` bytes, whatever its header says."""


class Body:
    """The messages of a request, up to the largest body."""

    def __init__(self, receive: Receive) -> None:
        self.receive = receive
        self.read = 0

    async def __call__(self) -> Message:
        """The next message.

        Raises:
          TooLarge: the body goes on.
        """
        message = await self.receive()
        self.read += len(message.get("body", b""))
        if self.read > MAX_BODY:
            raise TooLarge
        return message


def with_headers(send: Send) -> Send:
    """A `send` that adds the headers of security; pages are not kept."""

    async def send_all(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name for name, _ in message["headers"]}
            extra = HEADERS | {"cache-control": "no-store"}
            message["headers"] = [
                *message["headers"],
                *(
                    (k.encode(), v.encode())
                    for k, v in extra.items()
                    if k.encode() not in known
                ),
            ]
        await send(message)

    return send_all


async def respond(send: Send, status: int, text: str) -> None:
    """Sends a short text."""
    headers = [(b"content-type", b"text/plain; charset=utf-8")]
    send = with_headers(send)
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": text.encode()})
