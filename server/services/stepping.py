"""Work in steps that runs in threads and is watched from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from typing import Final, TypeVar

T = TypeVar("T")

_END: Final = object()


async def stepped(steps: Generator[T, None, None]) -> AsyncGenerator[T, None]:
    """Yield what a blocking generator yields; each of its steps runs in a thread.

    The generator is always closed at the end, also when the consumer leaves or is cancelled in mid-step: that
    step is waited for first, so a generator should yield at least once a second.
    """
    step: asyncio.Future[object] | None = None
    try:
        while True:
            step = asyncio.ensure_future(asyncio.to_thread(next, steps, _END))
            item = await asyncio.shield(step)
            if item is _END:
                return
            yield item  # type: ignore[misc]
    finally:
        await _finish(steps, step)


async def _finish(steps: Generator[T, None, None], step: asyncio.Future[object] | None) -> None:
    """Wait for a step that still runs, then close; a cancellation meanwhile is passed on afterwards."""
    closing = asyncio.ensure_future(_close(steps, step))
    cancelled: asyncio.CancelledError | None = None
    while not closing.done():
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError as error:
            if closing.cancelled():
                raise
            cancelled = error
    closing.result()
    if cancelled is not None:
        raise cancelled


async def _close(steps: Generator[T, None, None], step: asyncio.Future[object] | None) -> None:
    if step is not None:
        await asyncio.wait([step])
        if not step.cancelled():
            step.exception()  # told by the step itself, or of no interest to one who has left
    await asyncio.to_thread(steps.close)
