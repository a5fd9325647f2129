"""Work that blocks for long, each in a thread of its own.

The loop's own pool has few threads, which short work of all requests shares.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

GRACE_S = 3.0
"""How long work that was given up is waited for; one that waits for a name server is left to itself."""


async def in_thread(work: Callable[[], T], abort: Callable[[], None]) -> T:
    """The result of blocking work; when the waiting is cancelled, `abort` is to end the work soon."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def deliver(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result: T | None = None
        failure: BaseException | None = None
        try:
            result = work()
        except BaseException as error:
            failure = error
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(deliver, result, failure)

    threading.Thread(target=run, daemon=True, name="transfer").start()
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        abort()
        await asyncio.wait({future}, timeout=GRACE_S)
        if future.done() and not future.cancelled():
            future.exception()  # of no interest to one who has left
        raise
