from __future__ import annotations

import asyncio
import threading

import pytest

from server.services.threads import in_thread


async def test_the_result_of_the_work_comes_back() -> None:
    assert await in_thread(lambda: 3, lambda: None) == 3


async def test_its_failure_comes_back() -> None:
    def fail() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await in_thread(fail, lambda: None)


async def test_work_that_is_given_up_is_aborted_and_waited_for() -> None:
    begun, stopped, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        stopped.wait(20)
        ended.set()

    task = asyncio.create_task(in_thread(work, stopped.set))
    await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
