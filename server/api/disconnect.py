"""Reading request bodies, and noticing that a client has left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from starlette.types import Receive

from server.api.encoding import BodyTooLarge

MAX_BODY_BYTES = 1 << 30
"""Largest body that is kept in memory; images and long conversations are far below it."""


class ClientGone(Exception):
    """The client left before its request was read."""


async def body_pieces(receive: Receive) -> AsyncGenerator[bytes, None]:
    """The body as it comes. Raises: ClientGone."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if body := message.get("body", b""):
            yield body
        more = message.get("more_body", False)


async def read_body(receive: Receive, announced: str = "") -> bytes:
    """The whole body; `announced`: what Content-Length says.

    Raises: ClientGone; BodyTooLarge when it is longer than `MAX_BODY_BYTES`, before anything is read where
        that is announced.
    """
    pieces: list[bytes] = []
    n_bytes = 0
    if announced.isdecimal() and int(announced[:20]) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"the request body is larger than {MAX_BODY_BYTES} bytes")
    async for piece in body_pieces(receive):
        n_bytes += len(piece)
        if n_bytes > MAX_BODY_BYTES:
            raise BodyTooLarge(f"the request body is larger than {MAX_BODY_BYTES} bytes")
        pieces.append(piece)
    return b"".join(pieces)


async def until_disconnect(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Run `work`, cancelled as soon as the client leaves; returns when it has ended.

    The whole body must have been read: what is received after it can only be that the client has left.
    """
    working = asyncio.create_task(work, name="request")
    watching = asyncio.create_task(_gone(receive), name="client")
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        left = not working.done()
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)
    if not left:
        working.result()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
