"""Waiting for what another process does, where nothing tells when it is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], bool], *, within_s: float = 20.0) -> None:
    """Let the loop run until `condition` holds. Raises: TimeoutError after `within_s` of real time."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            raise TimeoutError("the condition did not come true")
        await asyncio.sleep(0)
