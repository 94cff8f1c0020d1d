"""Bodies of requests, and answers that wait for the disk."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

from jaxalign import lazy
from jaxalign.feedback.security import MAX_BODY, TooLarge
from jaxalign.feedback.study import Study

if TYPE_CHECKING:
    from starlette import exceptions
    from starlette.requests import Request
else:
    exceptions = lazy.module("starlette.exceptions")


async def read_body(request: "Request") -> bytes:
    """The body of a request.

    Raises:
      HTTPException: 413, it is too large.
    """
    try:
        return await request.body()
    except TooLarge:
        text = f"A body has at most {MAX_BODY} bytes."
        raise exceptions.HTTPException(413, text) from None


async def json_body(request: "Request") -> dict[str, Any]:
    """The JSON object in the body of a request.

    Raises:
      HTTPException: 415, 413 or 400, it is no JSON object.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        raise exceptions.HTTPException(415, "Expected application/json.")
    try:
        value = json.loads(await read_body(request))
    except (ValueError, RecursionError):
        raise exceptions.HTTPException(400, "Expected a JSON object.") from None
    if not isinstance(value, dict):
        raise exceptions.HTTPException(400, "Expected a JSON object.")
    return value


async def wait_until_saved(study: Study) -> None:
    """Waits until everything so far is on the disk.

    Raises:
      HTTPException: 503, it could not be stored; the study is as it is on the disk.
    """
    if study.last is None:
        return
    try:
        await asyncio.shield(asyncio.wrap_future(study.last))
    except Exception as error:
        if study.committer.failure is not None:
            study.recover()
        text = f"This could not be stored: {error}. Try again."
        raise exceptions.HTTPException(503, text) from None
