"""The read end of a worker's pipe on the event loop: frames go to whoever waits for them as they arrive."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from server.ipc.framing import FROM_ENGINE, FrameDecoder, decode
from server.ipc.messages import FromEngine

_READ_BYTES: Final = 64 * 1024
"""A pipe holds as much. From 128 KiB on a read takes 20 us more: its buffer is mapped anew each time."""


class FramePipe:
    """Messages of a worker. They are kept until `receive` takes them, or go straight to a `deliver`.

    A stream reader of asyncio would wake a task for each token before anything is looked at.
    """

    def __init__(self) -> None:
        """Open a pipe. `write_fd` is for the worker; `begin` closes it here."""
        self._fd, self.write_fd = os.pipe()
        self._loop = asyncio.get_running_loop()
        self._frames = FrameDecoder()
        self._received: deque[FromEngine] = deque()
        self._sink: Callable[[FromEngine], None] = self._received.append
        self._waiting: asyncio.Future[None] | None = None
        self._has_ended = False
        self._error: Exception | None = None

    def begin(self) -> None:
        """Read from now on: the worker has its end."""
        self._close_write_end()
        os.set_blocking(self._fd, False)
        self._loop.add_reader(self._fd, self._read)

    async def receive(self) -> FromEngine | None:
        """The next message, or None at the end of the stream. Raises: BrokenFrame."""
        while not self._received:
            if self._has_ended:
                if self._error is not None:
                    raise self._error
                return None
            await self._arrival()
        return self._received.popleft()

    async def deliver(self, sink: Callable[[FromEngine], None]) -> None:
        """Hand each message to `sink` as it arrives; returns at the end of the stream.

        Raises: BrokenFrame, and what `sink` raises.
        """
        while self._received:
            sink(self._received.popleft())
        self._sink = sink
        while not self._has_ended:
            await self._arrival()
        if self._error is not None:
            raise self._error

    async def drain(self) -> None:
        """Read to the end of the stream, and let go of everything."""
        self._received.clear()
        self._sink = _drop
        while not self._has_ended:
            await self._arrival()

    def close(self) -> None:
        """Read no more."""
        self._close_write_end()
        if self._fd >= 0:
            self._end(None)
            os.close(self._fd)
            self._fd = -1

    def _close_write_end(self) -> None:
        if self.write_fd >= 0:
            os.close(self.write_fd)
            self.write_fd = -1

    async def _arrival(self) -> None:
        """Wait for the next message that is kept, or for the end."""
        self._waiting = self._loop.create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    def _read(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
            if data:
                for payload in self._frames.feed(data):
                    self._sink(decode(payload, FROM_ENGINE))
            else:
                self._frames.finish()
        except BlockingIOError:
            return
        except Exception as error:  # whoever waits for messages gets it
            self._end(error)
            return
        if not data:
            self._end(None)
        elif self._received:
            self._wake()

    def _end(self, error: Exception | None) -> None:
        """The first end counts."""
        if not self._has_ended:
            self._has_ended, self._error = True, error
            self._loop.remove_reader(self._fd)
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


def _drop(message: FromEngine) -> None:
    """Nobody wants it."""
