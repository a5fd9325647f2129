from __future__ import annotations

import asyncio

import pytest

from server.backends.base import GenerationDone, GenerationJob, TextDelta
from server.backends.fake import FakeBackend, FakeScript, echo
from server.errors import EngineCrashed, OutOfMemory
from server.types.generation import LoadParams, ModelPaths, SamplingParams
from tests.support.clock import run_virtual

PATHS = ModelPaths(model="/none")


async def answer(backend: FakeBackend, **sampling: object) -> tuple[str, GenerationDone]:
    job = GenerationJob(prompt=("hi",), sampling=SamplingParams(**sampling))  # type: ignore[arg-type]
    *deltas, done = [event async for event in backend.generate(job)]
    assert isinstance(done, GenerationDone)
    return "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)), done


async def loaded(script: FakeScript) -> FakeBackend:
    backend = FakeBackend("fake", script)
    await backend.load(PATHS, LoadParams(n_ctx=100), lambda fraction: None)
    return backend


def test_echo_says_the_last_line_back() -> None:
    assert echo("one\ntwo\n") == "You wrote: two"
    assert echo("  ") == "You wrote: nothing"


def test_time_passes_as_scripted() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        backend = await loaded(FakeScript(load_duration_s=8.0, prompt_duration_s=4.0, token_duration_s=0.5))
        assert loop.time() - started_s == pytest.approx(8.0)
        text, done = await answer(backend, n_predict=4)
        assert text == "You "
        assert loop.time() - started_s == pytest.approx(14.0)
        assert (done.prompt_duration_ns, done.output_duration_ns) == (4_000_000_000, 2_000_000_000)

    run_virtual(scenario())


def test_earliest_stop_text_ends_the_answer() -> None:
    async def scenario() -> None:
        backend = await loaded(FakeScript(answer=lambda prompt: "ünder the bridge"))
        text, done = await answer(backend, stop=("bridge", "the"))
        assert (text, done.reason, done.stop_text) == ("ünder ", "stop", "the")

    run_virtual(scenario())


def test_crash_after_tokens_happens_as_often_as_scripted() -> None:
    async def scenario() -> None:
        backend = await loaded(FakeScript(crash_after_tokens=2, n_crashes=1))
        with pytest.raises(EngineCrashed):
            await answer(backend)
        assert (await answer(backend))[0] == "You wrote: hi"

    run_virtual(scenario())


def test_load_fails_as_scripted() -> None:
    with pytest.raises(OutOfMemory, match="too big"):
        run_virtual(loaded(FakeScript(load_error=OutOfMemory("too big"))))


def test_death_ends_open_calls() -> None:
    async def scenario() -> None:
        backend = await loaded(FakeScript(token_duration_s=1.0))
        call = asyncio.create_task(answer(backend))
        await asyncio.sleep(2.5)
        backend.die()
        with pytest.raises(EngineCrashed):
            await call
        assert not backend.is_usable
        with pytest.raises(EngineCrashed):
            await answer(backend)

    run_virtual(scenario())
