"""A study's application on a socket, until it is interrupted."""

import contextlib
import ipaddress
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jaxalign import lazy

if TYPE_CHECKING:
    import uvicorn
else:
    uvicorn = lazy.module("uvicorn")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a host.

    >>> is_loopback("localhost"), is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
      port: 0 for a free one.

    Raises:
      ValueError: the address is in use, or not this machine's; names it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ValueError(
            f"--host {host} --port {port}: {error.strerror or error}; --port 0 takes a "
            "free port"
        ) from error


def address(listener: socket.socket) -> str:
    """The URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: Callable[..., Any], listener: socket.socket) -> None:
    """Serves an application until Ctrl-C or SIGTERM, and then ends it properly."""
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="on",
        ws="none",
        timeout_graceful_shutdown=5,
    )
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listener])
