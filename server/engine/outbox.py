"""Frames to the server, and when they are written."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final

from server.engine.failures import EngineFailure
from server.ipc.framing import BrokenFrame, encode, write_bytes
from server.ipc.messages import FromEngine, Step

TEXT_EVERY_S: Final = 0.004
"""Text of requests that have begun is written so often: 250 times a second, which no screen shows and no
reader sees. What is written together costs the server one chunk, which is a quarter of a millisecond of the
processors that the next tokens are computed with; a small model has a token ready every half of one."""


class Outbox:
    """Frames to the server, in order."""

    def __init__(self, fd: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock`: seconds."""
        self._fd = fd
        self._clock = clock
        self._held: list[bytes] = []
        self._written_at = -TEXT_EVERY_S

    def send(self, *messages: FromEngine) -> None:
        """Write what was held back and these messages at once.

        When nobody reads, the server is gone and so is the worker's purpose.
        """
        data = b"".join((*self._held, *map(_encoded, messages)))
        self._held.clear()
        if not data:
            return
        self._written_at = self._clock()
        try:
            write_bytes(self._fd, data)
        except OSError:
            os._exit(0)

    def send_soon(self, *messages: FromEngine) -> None:
        """As `send`; or hold back text that others may join, until more is sent or `send` is called."""
        if self._clock() - self._written_at >= TEXT_EVERY_S or not all(map(_can_wait, messages)):
            self.send(*messages)
        else:
            self._held += map(_encoded, messages)


def _can_wait(message: FromEngine) -> bool:
    """Whether a message is nothing but text of requests that have begun."""
    return isinstance(message, Step) and all(delta.begun is None for delta in message.deltas)


def _encoded(message: FromEngine) -> bytes:
    """A frame; an answer that is too long for one becomes a failure of its request."""
    try:
        return encode(message)
    except BrokenFrame as error:
        request_id = getattr(message, "request_id", None)
        if request_id is None:
            raise
        return encode(EngineFailure(error.message).as_message(request_id))
