"""Replies: whole ones, and streams that are primed before their status is sent."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from starlette.types import Send

from server.api.errors import JSON_UTF8, Faults, as_olla_error
from server.wire.codec import encode

NDJSON = "application/x-ndjson"
SSE = "text/event-stream"


class Reply:
    """A whole reply. `content_type` "" leaves the header out, as for an empty body."""

    def __init__(
        self,
        content: bytes = b"",
        *,
        status: int = 200,
        content_type: str = JSON_UTF8,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self.content = content
        self.status = status
        self.content_type = content_type
        self.headers = headers

    @classmethod
    def of(
        cls, value: Any, *, content_type: str = JSON_UTF8, headers: tuple[tuple[str, str], ...] = ()
    ) -> Reply:
        """A struct, dict or list as JSON."""
        return cls(encode(value), content_type=content_type, headers=headers)

    async def send(self, send: Send) -> None:
        """Send all of it."""
        headers = [(b"content-length", str(len(self.content)).encode("ascii"))]
        if self.content_type:
            headers.append((b"content-type", self.content_type.encode("ascii")))
        headers.extend(_encoded(self.headers))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.content})


EMPTY = Reply(content_type="")
"""200 without a body."""


class StreamReply:
    """A reply in pieces, each written as it comes.

    Nothing is sent before the first piece is there, so that an error before it can still choose the status.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        content_type: str,
        *,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._pieces = pieces
        self._content_type = content_type
        self._headers = headers

    async def send(self, send: Send, faults: Faults, place: str) -> None:
        """Send all of it; `place` names the route in the log.

        Raises: what the stream raises before its first piece. Later errors become a last piece.
        """
        async with aclosing(self._pieces) as pieces:
            first = await anext(pieces, b"")
            headers = [(b"content-type", self._content_type.encode("ascii")), *_encoded(self._headers)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await _write(send, first)
            try:
                async for piece in pieces:
                    await _write(send, piece)
            except Exception as error:
                await _write(send, faults.line(as_olla_error(error, place)))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _encoded(headers: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]


async def _write(send: Send, piece: bytes) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
