"""Calls that outlive crashes and hangs of a real worker process, which misbehaves as told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import pytest

from server.backends.base import GenerationDone, GenerationJob, TextDelta
from server.errors import (
    EngineCrashed,
    EngineError,
    EngineHung,
    InvalidRequest,
    ShuttingDown,
)
from server.types.generation import LoadParams, SamplingParams
from tests.support.fake_backends import FILE, JOB, Make, events_of, kill, load, text_of
from tests.support.fake_engine import Script
from tests.support.until import until

LONG = SamplingParams(n_predict=60)
ENDLESS = GenerationJob(prompt=("abc",), sampling=SamplingParams(n_predict=1_000_000))


async def test_crash_before_the_first_token_is_not_noticed(make: Make, tmp_path: Path) -> None:
    backend = make(Script(crash_after_tokens=0, once=str(tmp_path / "crashed")))
    await load(backend)
    first_pid = backend.stats().pid
    assert await text_of(backend) == "abcabc"
    assert (tmp_path / "crashed").exists()
    assert backend.stats().pid != first_pid


@pytest.mark.parametrize("n_tokens", [1, 3, 5, 6])
async def test_crash_in_mid_stream_is_not_noticed(make: Make, tmp_path: Path, n_tokens: int) -> None:
    """The worker takes over only from exactly the tokens and the text that were sent."""
    backend = make(Script(crash_after_tokens=n_tokens, once=str(tmp_path / "crashed")))
    await load(backend)
    deltas, done = await events_of(backend, GenerationJob(prompt=("aé漢",), sampling=JOB.sampling))
    assert "".join(delta.text for delta in deltas) == "aé漢".encode().decode("latin-1")
    assert sum(delta.n_tokens for delta in deltas) == done.n_output_tokens == 6
    assert (tmp_path / "crashed").exists()


async def test_a_stream_outlives_two_workers_and_no_more(make: Make) -> None:
    backend = make(Script(crash_each_tokens=3, token_s=0.01))
    await load(backend)
    job = GenerationJob(prompt=("abc",), sampling=SamplingParams(n_predict=8))
    assert await text_of(backend, job) == "abcabcab"
    backend = make(Script(crash_each_tokens=3, token_s=0.01))
    await load(backend)
    text = ""
    with pytest.raises(EngineCrashed, match=r"unexpectedly stopped.*SIGKILL") as caught:
        async with aclosing(backend.generate(ENDLESS)) as events:
            async for event in events:
                assert isinstance(event, TextDelta)
                text += event.text
    assert text == "abcabcabc"
    assert caught.value.exit_code == -signal.SIGKILL
    assert "crashing as scripted" in caught.value.log_tail


async def test_a_request_that_crashes_each_worker_ends_alone(make: Make) -> None:
    backend = make(Script(crash_on_text="poison", token_s=0.01))
    await load(backend)
    streams = [backend.generate(GenerationJob(prompt=("abc",), sampling=LONG)) for _ in range(3)]
    texts = [""] * len(streams)
    for index, stream in enumerate(streams):
        event = await anext(stream)
        assert isinstance(event, TextDelta)
        texts[index] += event.text
    poison = asyncio.create_task(text_of(backend, GenerationJob(prompt=("poison",), sampling=LONG)))

    async def drain(index: int) -> None:
        async for event in streams[index]:
            if isinstance(event, TextDelta):
                texts[index] += event.text

    await asyncio.gather(*(drain(index) for index in range(len(streams))))
    with pytest.raises(EngineCrashed):
        await poison
    assert texts == ["abc" * 20] * 3


async def test_a_request_that_waits_for_a_slot_is_not_taken_for_the_cause(make: Make) -> None:
    backend = make(Script(token_s=0.01))
    await backend.load(FILE, LoadParams(n_ctx=1000, n_slots=1), lambda fraction: None)
    stream = asyncio.create_task(text_of(backend, GenerationJob(prompt=("abc",), sampling=LONG)))
    await until(lambda: backend.stats().n_busy_slots == 1)
    waiting = asyncio.create_task(text_of(backend))
    for _ in range(2):
        await until(lambda: backend.stats().n_queued == 1)
        kill(backend)
        await until(lambda: not backend.stats().pid)
    assert await asyncio.gather(stream, waiting) == ["abc" * 20, "abcabc"]


@pytest.mark.parametrize("message", ["Embed", "Rerank", "Tokenize", "Detokenize"])
async def test_other_calls_are_asked_again(make: Make, tmp_path: Path, message: str) -> None:
    backend = make(Script(crash_on=message, once=str(tmp_path / "crashed")))
    await load(backend)
    answers = {
        "Embed": await backend.embed(("ab",), truncate=True),
        "Rerank": await backend.rerank("a", ("bc", "d"), truncate=True),
        "Tokenize": await backend.tokenize(("ab",)),
        "Detokenize": await backend.detokenize((97, 98)),
    }
    assert answers["Embed"][1] == (2,)
    assert answers["Rerank"] == ((-3.0, -2.0), (3, 2), (0, 0))
    assert answers["Tokenize"] == ((256, 97, 98),)
    assert answers["Detokenize"] == "ab"
    assert (tmp_path / "crashed").exists()


@pytest.mark.parametrize("message", ["Embed", "Rerank", "Tokenize", "Detokenize"])
async def test_other_calls_are_not_asked_for_ever(make: Make, message: str) -> None:
    backend = make(Script(crash_on=message))
    await load(backend)
    call = {
        "Embed": lambda: backend.embed(("ab",), truncate=True),
        "Rerank": lambda: backend.rerank("a", ("b",), truncate=True),
        "Tokenize": lambda: backend.tokenize(("ab",)),
        "Detokenize": lambda: backend.detokenize((97, 98)),
    }[message]
    with pytest.raises(EngineCrashed, match="SIGKILL"):
        await call()


async def test_all_calls_on_a_killed_worker_go_on(make: Make) -> None:
    backend = make(Script(token_s=0.01))
    await load(backend)
    streams = [backend.generate(GenerationJob(prompt=("abc",), sampling=LONG)) for _ in range(4)]
    begun = [await anext(stream) for stream in streams]
    waiting = [asyncio.create_task(text_of(backend)) for _ in range(3)]  # no slot is free for these
    await until(lambda: backend.stats().n_queued == 3)
    pid = kill(backend)

    async def rest(stream: AsyncIterator[TextDelta | GenerationDone]) -> str:
        return "".join([event.text async for event in stream if isinstance(event, TextDelta)])

    rests = await asyncio.gather(*(rest(stream) for stream in streams))
    texts = [
        first.text + more for first, more in zip(begun, rests, strict=True) if isinstance(first, TextDelta)
    ]
    assert texts == ["abc" * 20] * 4
    assert await asyncio.gather(*waiting) == ["abcabc"] * 3
    assert backend.stats().pid != pid


async def test_a_stream_that_is_read_late_goes_on_too(make: Make) -> None:
    """Tokens that arrived and were not taken count as emitted."""
    backend = make(Script(token_s=0.005))
    await load(backend)
    async with aclosing(backend.generate(GenerationJob(prompt=("abc",), sampling=LONG))) as late:
        first = await anext(late)
        await text_of(backend, GenerationJob(prompt=("xyz",), sampling=SamplingParams(n_predict=20)))
        kill(backend)
        await until(lambda: not backend.stats().pid)
        events = [first] + [event async for event in late]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "abc" * 20


async def test_a_stream_that_is_closed_while_a_worker_is_replaced_ends(make: Make) -> None:
    backend = make(Script(token_s=0.01, load_step_s=0.05))
    await load(backend)
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(backend.generate(ENDLESS)) as stream:
            async for _ in stream:
                begun.set()

    consumer = asyncio.create_task(consume())
    await begun.wait()
    kill(backend)
    await until(lambda: not backend.stats().pid)
    consumer.cancel()
    await asyncio.wait([consumer])
    assert consumer.cancelled()
    assert await text_of(backend) == "abcabc"
    assert backend.stats().n_busy_slots == 0


async def test_worker_killed_while_idle_is_replaced(make: Make) -> None:
    backend = make()
    await load(backend)
    kill(backend)
    assert await text_of(backend) == "abcabc"


async def test_silent_worker_is_killed_and_its_calls_go_on(make: Make, tmp_path: Path) -> None:
    backend = make(Script(hang_on="Tokenize", token_s=0.01, once=str(tmp_path / "hung")), hang_timeout_s=0.3)
    await load(backend)
    pid = backend.stats().pid
    async with aclosing(backend.generate(GenerationJob(prompt=("abc",), sampling=LONG))) as stream:
        events = [await anext(stream)]
        tokens = asyncio.create_task(backend.tokenize(("ab",)))
        events += [event async for event in stream]
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "abc" * 20
    assert await tokens == ((256, 97, 98),)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_a_call_that_silences_each_worker_is_reported(make: Make) -> None:
    backend = make(Script(hang_on="Tokenize"), hang_timeout_s=0.1)
    await load(backend)
    with pytest.raises(EngineHung, match="stopped answering"):
        await backend.tokenize(("ab",))


async def test_silence_without_work_is_no_hang(make: Make) -> None:
    backend = make(Script(token_s=0.001), hang_timeout_s=0.1)
    await load(backend)
    pid = backend.stats().pid
    assert await text_of(backend) == "abcabc"
    done = asyncio.Event()
    asyncio.get_running_loop().call_later(0.25, done.set)
    await done.wait()
    assert await text_of(backend) == "abcabc"
    assert backend.stats().pid == pid


async def test_bytes_that_are_no_frame_count_as_a_crash(make: Make) -> None:
    backend = make(Script(garbage_on="Detokenize"))
    await load(backend)
    with pytest.raises(EngineCrashed, match="longer than the bound"):
        await backend.detokenize((97,))


async def test_refused_request_keeps_the_worker(make: Make) -> None:
    backend = make(Script(fail=("invalid_request", "no")))
    await load(backend)
    pid = backend.stats().pid
    with pytest.raises(InvalidRequest, match="no"):
        await text_of(backend)
    assert backend.stats().pid == pid


async def test_the_log_tells_of_a_crash(make: Make, tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    script = Script(crash_after_tokens=3, once=str(tmp_path / "crashed"))
    backend = make(script, on_log=lambda level, text: lines.append((level, text)))
    await load(backend)
    await text_of(backend)
    assert ("error", "the engine stopped unexpectedly (killed by SIGKILL) with 1 open request") in lines


async def test_log_lines_arrive_with_their_level(make: Make) -> None:
    lines: list[tuple[str, str]] = []
    backend = make(on_log=lambda level, text: lines.append((level, text)))
    await load(backend)
    assert ("info", "fake engine: started") in lines


async def test_close_while_a_worker_is_replaced_ends_the_waiting_call(make: Make) -> None:
    backend = make(Script(load_step_s=0.05))
    await load(backend)
    kill(backend)
    await until(lambda: not backend.stats().pid)
    call = asyncio.create_task(text_of(backend))
    await asyncio.sleep(0)
    await backend.close()
    with pytest.raises(ShuttingDown):
        await call


async def test_rate_counts_tokens_of_the_last_seconds(make: Make) -> None:
    backend = make(Script(token_s=0.005))
    await load(backend)
    assert backend.stats().tokens_per_s == 0.0
    await text_of(backend, GenerationJob(prompt=("abc",), sampling=SamplingParams(n_predict=50)))
    assert 20 < backend.stats().tokens_per_s < 250


async def test_call_of_a_failed_engine_error_is_an_engine_error(make: Make) -> None:
    backend = make(Script(fail=("engine", "decode failed")))
    await load(backend)
    with pytest.raises(EngineError, match="decode failed"):
        await backend.tokenize(("a",))
