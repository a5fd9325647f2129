"""A mailbox between two event loops: one side puts and never waits, the other takes all there is at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from io import StringIO
from typing import Generic, TypeVar, cast

from server.types.generation import Chunk, TokenLogprob
from server.types.messages import ToolCall
from server.types.models import CreateProgress

T = TypeVar("T")


class JoinedChunk:
    """Chunks written one behind the other.

    Within a chunk thinking comes before content and content before tool calls. A chunk that would break that
    order when joined is not taken, so that no reader sees text in another order than it was generated in.
    """

    def __init__(self) -> None:
        self._thinking = StringIO()
        self._content = StringIO()
        self._tool_calls: list[ToolCall] = []
        self._logprobs: list[TokenLogprob] = []
        self._has_content = False

    def takes(self, chunk: Chunk) -> bool:
        """Whether a chunk can be joined."""
        if self._tool_calls:
            return not (chunk.thinking or chunk.content)
        return not (chunk.thinking and self._has_content)

    def add(self, chunk: Chunk) -> None:
        """Join a chunk that `takes` agreed to."""
        self._thinking.write(chunk.thinking)
        self._content.write(chunk.content)
        self._has_content = self._has_content or bool(chunk.content)
        self._tool_calls += chunk.tool_calls
        self._logprobs += chunk.logprobs

    def chunk(self) -> Chunk:
        """All that was joined, as one chunk."""
        return Chunk(
            content=self._content.getvalue(),
            thinking=self._thinking.getvalue(),
            tool_calls=tuple(self._tool_calls),
            logprobs=tuple(self._logprobs),
        )


class Mailbox(Generic[T]):
    """Items of one stream that its consumer has not taken yet.

    Bounded by the answer: chunks are joined, and of progress lines about the same thing the newest is kept.
    `put`, `end` and `fail` may be called from any thread; the rest belongs to the consumer's loop.
    """

    def __init__(self, consumer: asyncio.AbstractEventLoop) -> None:
        self._consumer = consumer
        self._lock = threading.Lock()
        self._items: list[object] = []
        self._failure: BaseException | None = None
        self._has_ended = False
        self._is_closed = False
        self._is_waiting = False
        self._awake = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        """Whether the server's side has ended; nothing is put any more."""
        return self._has_ended

    def put(self, item: T) -> bool:
        """Add an item, joined to the last one where that loses nothing; False when nobody will read it."""
        with self._lock:
            if not self._is_closed:
                self._join(item)
            self._wake()
            return not self._is_closed

    def end(self, failure: BaseException | None) -> None:
        """Mark the end on the server's side; `failure` is raised to the consumer behind the last item."""
        with self._lock:
            self._has_ended = True
            self._failure = self._failure or failure
            self._wake()

    def fail(self, failure: BaseException) -> None:
        """Close from the consumer's side: what is waiting is dropped and `failure` is raised."""
        with self._lock:
            self._is_closed = True
            self._items.clear()
            self._failure = failure
            self._wake()

    async def wait(self) -> None:
        """Wait until there is something to take, or the end."""
        while not self._prepare(lambda: bool(self._items) or self._has_ended or self._is_closed):
            await self._awake.wait()

    async def wait_for_end(self) -> None:
        """Wait until the server's side has ended; items that come meanwhile are dropped."""
        with self._lock:
            self._is_closed = True
            self._items.clear()
        while not self._prepare(lambda: self._has_ended):
            await self._awake.wait()

    def take(self) -> tuple[list[T], bool]:
        """All items, and whether the stream is over."""
        with self._lock:
            items, self._items = self._items, []
            over = self._has_ended or self._is_closed
        return [cast(T, item.chunk() if isinstance(item, JoinedChunk) else item) for item in items], over

    def raise_failure(self) -> None:
        """Raise what ended the stream, if anything did."""
        if self._failure is not None:
            raise self._failure

    def _prepare(self, condition: Callable[[], bool]) -> bool:
        with self._lock:
            ready = condition()
            if not ready:
                self._awake.clear()
                self._is_waiting = True
            return ready

    def _join(self, item: T) -> None:
        last = self._items[-1] if self._items else None
        if isinstance(item, Chunk):
            if not (isinstance(last, JoinedChunk) and last.takes(item)):
                last = JoinedChunk()
                self._items.append(last)
            last.add(item)
        elif isinstance(item, CreateProgress) and isinstance(last, CreateProgress) and _same_line(item, last):
            self._items[-1] = item
        else:
            self._items.append(item)

    def _wake(self) -> None:
        if not self._is_waiting:
            return
        self._is_waiting = False
        try:
            self._consumer.call_soon_threadsafe(self._awake.set)
        except RuntimeError:
            # The consumer's loop is closed: nobody will read this mailbox again.
            self._is_closed = True
            self._items.clear()


def _same_line(new: CreateProgress, old: CreateProgress) -> bool:
    return (new.status, new.digest) == (old.status, old.digest)
