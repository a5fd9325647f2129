"""Streams whose silence their reader can act upon."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Final, TypeVar

T = TypeVar("T")

_END: Final = object()


async def with_silences(items: AsyncGenerator[T, None], after_s: float) -> AsyncGenerator[T | None, None]:
    """The items as they come, and None each time that none has come for `after_s` seconds.

    The item that is waited for goes on being made meanwhile. Closing this one ends that wait; `items` itself
    stays with the caller, who closes it.
    """
    waiting: asyncio.Task[object] | None = None
    try:
        while True:
            waiting = waiting or asyncio.create_task(_next(items))
            done, _ = await asyncio.wait((waiting,), timeout=after_s)
            if not done:
                yield None
                continue
            item, waiting = waiting.result(), None
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        if waiting is not None:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)


async def _next(items: AsyncGenerator[T, None]) -> object:
    return await anext(items, _END)
