from __future__ import annotations

import asyncio
import os
import sys

import pytest

from server.backends.spare import SpareWorker
from server.errors import LoadFailed
from tests.support.fake_engine import command
from tests.support.until import until


def ignore(line: str) -> None:
    pass


async def test_lines_before_the_take_are_passed_on() -> None:
    spare = SpareWorker(command())
    spare.prepare()
    lines: list[str] = []
    worker = await spare.take(lines.append)
    worker.ask_to_leave()
    await worker.reap()
    assert "fake engine: started" in lines
    await spare.close()


async def test_close_ends_the_spare() -> None:
    spare = SpareWorker(command(), ready_after_s=0.0)
    worker = await spare.take(ignore)
    worker.kill()
    await worker.reap()
    assert spare.pid == 0
    spare.restock()
    await until(lambda: spare.pid > 0)
    pid = spare.pid
    await spare.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    spare.prepare()
    spare.restock()
    assert spare.pid == 0


async def test_one_is_there_soon_after_the_start() -> None:
    spare = SpareWorker(command(), first_after_s=0.0)
    assert spare.pid == 0
    spare.begin()
    await until(lambda: spare.pid > 0)
    await spare.close()


async def test_a_load_need_not_wait_for_the_first_and_there_is_no_second() -> None:
    spare = SpareWorker(command(), first_after_s=3600.0)
    spare.begin()
    worker = await spare.take(ignore)
    assert spare._timer is None
    assert spare.pid == 0
    worker.kill()
    await worker.reap()
    await spare.close()


async def test_a_server_that_ends_at_once_leaves_none() -> None:
    spare = SpareWorker(command(), first_after_s=3600.0)
    spare.begin()
    await spare.close()
    assert spare._timer is None
    spare.begin()
    assert spare._timer is None


async def test_spare_that_died_is_replaced() -> None:
    spare = SpareWorker(command())
    spare.prepare()
    await until(lambda: spare.pid > 0)
    dead_pid = spare.pid
    os.kill(dead_pid, 9)
    await until(lambda: spare.pid == 0)
    worker = await spare.take(ignore)
    assert worker.pid != dead_pid
    worker.kill()
    await worker.reap()
    await spare.close()


async def test_spare_that_does_not_start_fails_the_taker_only() -> None:
    spare = SpareWorker((sys.executable, "-c", "raise SystemExit(3)"))
    spare.prepare()
    with pytest.raises(LoadFailed, match="exit status 3"):
        await spare.take(ignore)
    await spare.close()


async def test_cancelled_take_leaves_the_spare_to_the_next() -> None:
    spare = SpareWorker(command())
    spare.prepare()
    take = asyncio.create_task(spare.take(ignore))
    await asyncio.sleep(0)
    take.cancel()
    await asyncio.wait([take])
    assert take.cancelled()
    await until(lambda: spare.pid > 0)
    pid = spare.pid
    worker = await spare.take(ignore)
    assert worker.pid == pid
    worker.kill()
    await worker.reap()
    await spare.close()


async def test_two_takes_get_two_workers() -> None:
    spare = SpareWorker(command())
    spare.prepare()
    workers = await asyncio.gather(spare.take(ignore), spare.take(ignore))
    assert workers[0].pid != workers[1].pid
    for worker in workers:
        worker.kill()
        await worker.reap()
    await spare.close()
