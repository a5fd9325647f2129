"""The log of requests: every request ends once, and any wait can be cancelled."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from server.errors import Cancelled, EngineError, RequestNotFound
from server.services.requests import ENDED_KEPT, MAX_PROMPT_CHARS, PROMPTS_KEPT, RequestLog, is_open
from server.types.generation import Origin

ORIGIN = Origin("/api/chat", "127.0.0.1 test")


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_request_is_open_then_done() -> None:
    clock = Clock()
    log = RequestLog(clock)
    async with log.track("spark", ORIGIN) as request:
        request.waits(2, "waits for memory")
        (waiting,) = log.snapshots()
        assert (waiting.state, waiting.queue_position, waiting.wait_reason) == (
            "queued",
            2,
            "waits for memory",
        )
        assert (log.n_active(), log.n_queued()) == (0, 1)
        request.waits(0, "loading")
        assert log.snapshots()[0].state == "loading"
        request.prefills()
        clock.now_s += 0.5
        request.decoded(1)
        clock.now_s += 2.0
        request.decoded(10)
        (decoding,) = log.snapshots()
        assert (decoding.state, decoding.first_token_s, decoding.tokens_per_s) == ("decode", 0.5, 5.0)
        assert (log.n_active(), log.n_queued()) == (1, 0)
    (ended,) = log.snapshots()
    assert (ended.state, ended.n_output_tokens, ended.duration_s) == ("done", 11, 2.5)
    clock.now_s += 60
    assert log.snapshots()[0].duration_s == 2.5
    assert not is_open(ended.state)


async def test_an_error_is_the_end() -> None:
    log = RequestLog()
    with pytest.raises(EngineError):
        async with log.track("spark", ORIGIN):
            raise EngineError("the worker is gone")
    (ended,) = log.snapshots()
    assert (ended.state, ended.error) == ("failed", "the worker is gone")


async def test_what_ended_first_counts() -> None:
    log = RequestLog()
    with pytest.raises(GeneratorExit):
        async with log.track("spark", ORIGIN) as request:
            request.end("done")
            raise GeneratorExit
    assert log.snapshots()[0].state == "done"


async def test_a_wait_is_cancelled_by_id() -> None:
    log = RequestLog()
    waiting = asyncio.Event()

    async def stand() -> None:
        async with log.track("spark", ORIGIN) as request, request.cancellable():
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stand())
    await waiting.wait()
    log.cancel(log.snapshots()[0].id)
    with pytest.raises(Cancelled):
        await task
    assert log.snapshots()[0].state == "cancelled"


async def test_a_request_that_is_between_waits_is_cancelled_at_the_next() -> None:
    log = RequestLog()
    with pytest.raises(Cancelled):
        async with log.track("spark", ORIGIN) as request:
            log.cancel_all()
            async with request.cancellable():
                pytest.fail("the wait began")


async def test_a_task_goes_on_after_its_wait_was_cancelled() -> None:
    log = RequestLog()
    waiting = asyncio.Event()

    async def stand() -> int:
        with contextlib.suppress(Cancelled):
            async with log.track("spark", ORIGIN) as request, request.cancellable():
                waiting.set()
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    task = asyncio.create_task(stand())
    await waiting.wait()
    log.cancel_all()
    log.cancel_all()
    assert await task == 0


@pytest.mark.parametrize("task_first", [True, False])
async def test_a_task_that_is_cancelled_beside_its_request_is_cancelled(task_first: bool) -> None:
    log = RequestLog()
    waiting = asyncio.Event()

    async def stand() -> None:
        async with log.track("spark", ORIGIN) as request, request.cancellable():
            waiting.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(stand())
    await waiting.wait()
    for cancel in (task.cancel, log.cancel_all) if task_first else (log.cancel_all, task.cancel):
        cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_wait_that_has_ended_is_not_cancelled_any_more() -> None:
    log = RequestLog()
    async with log.track("spark", ORIGIN) as request:
        async with request.cancellable():
            pass
        log.cancel_all()
        await asyncio.sleep(0)
        with pytest.raises(Cancelled):
            async with request.cancellable():
                pytest.fail("the wait began")


async def test_a_foreign_time_out_is_not_taken_for_a_cancellation() -> None:
    log = RequestLog()
    with pytest.raises(TimeoutError):
        async with log.track("spark", ORIGIN) as request, request.cancellable():
            raise TimeoutError


async def test_an_unknown_id_is_said_to_be_unknown() -> None:
    with pytest.raises(RequestNotFound):
        RequestLog().cancel(1)


async def test_ended_requests_are_bounded_and_newest_first() -> None:
    log = RequestLog()
    for _ in range(ENDED_KEPT + 5):
        async with log.track("spark", ORIGIN):
            pass
    ids = [snapshot.id for snapshot in log.snapshots()]
    assert len(ids) == ENDED_KEPT
    assert ids == sorted(ids, reverse=True)


async def test_prompts_are_recorded_where_that_is_wanted_and_are_bounded() -> None:
    log = RequestLog(record_prompts=True)
    long = "a" * MAX_PROMPT_CHARS + "z" * 10
    async with log.track("spark", ORIGIN) as request:
        with pytest.raises(RequestNotFound, match="no prompt is kept of request 1"):
            log.prompt(1)
        request.prefills("<user>Why?")
        assert log.prompt(request.id).text == "<user>Why?"
    assert log.prompt(1).n_left_out == 0
    async with log.track("spark", ORIGIN) as request:
        request.prefills(long)
    kept = log.prompt(2)
    assert (len(kept.text), kept.n_left_out) == (MAX_PROMPT_CHARS, 10)
    assert kept.text.startswith("aa") and kept.text.endswith("zzzzzzzzzz")
    for _ in range(PROMPTS_KEPT - 1):
        async with log.track("spark", ORIGIN) as request:
            request.prefills("more")
    assert log.prompt(2)
    with pytest.raises(RequestNotFound):
        log.prompt(1)


async def test_without_recording_nothing_is_kept() -> None:
    log = RequestLog()
    async with log.track("spark", ORIGIN) as request:
        request.prefills("<user>Why?")
    with pytest.raises(RequestNotFound, match="records no prompts"):
        log.prompt(1)
