"""Real workers on real models that are killed: what was open goes on elsewhere as if nothing had happened."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from server.backends.base import Backend, GenerationDone, GenerationJob, TextDelta
from server.backends.llamacpp import LlamaCppBackend
from server.types.generation import LoadParams, ModelPaths, SamplingParams, TokenLogprob
from tests.support.engine_worker import MINILM, SPARK
from tests.support.generator_player import FRANCE, STORY
from tests.support.until import until

EMOJI = "<|im_start|>user\nShow me an emoji.<|im_end|>\n<|im_start|>assistant\n"
DIGITS = 'root ::= "[" [0-9]{3} ("," [0-9]{3}){30} "]"'
LONG: dict[str, Any] = {"ignore_eos": True, "n_predict": 150}


class Told(list[TextDelta | GenerationDone]):
    """The events of a generation."""

    @property
    def text(self) -> str:
        return "".join(event.text for event in self if isinstance(event, TextDelta))

    @property
    def n_tokens(self) -> int:
        return sum(event.n_tokens for event in self if isinstance(event, TextDelta))

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return [item for event in self if isinstance(event, TextDelta) for item in event.logprobs]

    @property
    def done(self) -> GenerationDone:
        done = self[-1]
        assert isinstance(done, GenerationDone)
        return done


@pytest.fixture
async def backend() -> AsyncIterator[Backend]:
    made = LlamaCppBackend("spark", on_log=lambda level, text: None)
    yield made
    await made.close()


async def load_spark(backend: Backend, **values: Any) -> None:
    params = LoadParams(**{"n_ctx": 512, "n_slots": 4, "n_gpu_layers": 0, **values})
    await backend.load(ModelPaths(model=str(SPARK)), params, lambda fraction: None)


def job(prompt: str, **options: Any) -> GenerationJob:
    return GenerationJob(prompt=(prompt,), sampling=SamplingParams(**{"temperature": 0.0, **options}))


def kill(backend: Backend) -> None:
    os.kill(backend.stats().pid, signal.SIGKILL)


async def run(backend: Backend, wanted: GenerationJob, *kill_at: int) -> Told:
    """All events. The worker is killed as soon as so many tokens have come, once for each of `kill_at`."""
    told = Told()
    left = list(kill_at)
    async with aclosing(backend.generate(wanted)) as events:
        async for event in events:
            told.append(event)
            if left and told.n_tokens >= left[0]:
                left.pop(0)
                kill(backend)
    assert not left, "the answer ended before its worker was killed"
    return told


@pytest.mark.parametrize(
    ("prompt", "options", "kill_at"),
    [
        (STORY, LONG, (1,)),
        (STORY, LONG, (20, 50)),
        (STORY, {**LONG, "repeat_penalty": 1.2, "frequency_penalty": 0.2}, (25,)),
        (STORY, {"stop": ("walked together through", "Grace showed the lamp")}, (10,)),
        (FRANCE, {"grammar": DIGITS}, (6, 15)),
        (STORY, {**LONG, "n_predict": 80, "logprobs": True, "n_top_logprobs": 1}, (8,)),
        (EMOJI, LONG, (2,)),
    ],
    ids=["early", "twice", "penalties", "stop text", "grammar", "log probabilities", "characters"],
)
async def test_a_stream_goes_on_where_it_was(
    backend: Backend, prompt: str, options: dict[str, Any], kill_at: tuple[int, ...]
) -> None:
    await load_spark(backend)
    whole = await run(backend, job(prompt, **options))
    pid = backend.stats().pid
    broken = await run(backend, job(prompt, **options), *kill_at)
    assert backend.stats().pid not in (0, pid)
    assert broken.text == whole.text
    assert broken.n_tokens == whole.n_tokens
    assert [item.token for item in broken.logprobs] == [item.token for item in whole.logprobs]
    assert (broken.done.reason, broken.done.stop_text) == (whole.done.reason, whole.done.stop_text)
    assert broken.done.n_output_tokens == whole.done.n_output_tokens
    assert broken.done.n_prompt_tokens == whole.done.n_prompt_tokens
    assert broken.done.n_cached_tokens < broken.done.n_prompt_tokens
    assert min(broken.done.prompt_duration_ns, broken.done.output_duration_ns) > 0


async def test_a_sampled_stream_goes_on_to_its_bound(backend: Backend) -> None:
    await load_spark(backend)
    sampled = job(STORY, **LONG, temperature=0.8, seed=-1)
    told = await run(backend, sampled, 10, 25)
    assert told.n_tokens == told.done.n_output_tokens == 150
    assert told.done.reason == "length"


async def test_eight_streams_at_once_go_on_where_they_were(backend: Backend) -> None:
    await load_spark(backend, n_slots=8)
    prompts = [
        f"<|im_start|>user\nCount from {n} to {n + 18}.<|im_end|>\n<|im_start|>assistant\n" for n in range(8)
    ]
    jobs = [job(prompt, **LONG) for prompt in prompts]
    whole = [await run(backend, wanted) for wanted in jobs]
    told = [Told() for _ in jobs]

    async def read(index: int) -> None:
        async with aclosing(backend.generate(jobs[index])) as events:
            async for event in events:
                told[index].append(event)

    readers = [asyncio.create_task(read(index)) for index in range(8)]
    for n_tokens in (3, 20):
        await until(lambda n=n_tokens: all(one.n_tokens >= n for one in told))  # type: ignore[misc]
        assert all(not isinstance(one[-1], GenerationDone) for one in told)
        kill(backend)
        await until(lambda: not backend.stats().pid)
    await asyncio.gather(*readers)
    assert [one.text for one in told] == [one.text for one in whole]
    assert [one.done.n_output_tokens for one in told] == [150] * 8


async def test_a_prompt_in_prefill_is_read_again(backend: Backend) -> None:
    await load_spark(backend, n_ctx=2048, n_slots=2, n_batch=32)
    prompt = "<|im_start|>system\n" + "You are a helpful model. " * 150 + "<|im_end|>\n" + FRANCE
    call = asyncio.create_task(run(backend, job(prompt)))
    await until(lambda: backend.stats().n_busy_slots == 1)
    first_pid = backend.stats().pid
    kill(backend)
    told = await call
    assert backend.stats().pid != first_pid
    whole = await run(backend, job(prompt))
    assert told.text == whole.text
    assert told.done.n_prompt_tokens == whole.done.n_prompt_tokens > 600
    assert told.done.n_cached_tokens == 0


async def test_streams_prompts_and_waiting_calls_go_on_together(backend: Backend) -> None:
    await load_spark(backend, n_slots=1)
    jobs = [job(STORY, **LONG), job(FRANCE), job(EMOJI)]
    whole = [await run(backend, wanted) for wanted in jobs]
    calls = [asyncio.create_task(run(backend, jobs[0], 10))]
    await until(lambda: backend.stats().n_busy_slots == 1)
    calls += [asyncio.create_task(run(backend, wanted)) for wanted in jobs[1:]]
    (tokens,) = await backend.tokenize(("a fox",))
    told = await asyncio.gather(*calls)
    assert [one.text for one in told] == [one.text for one in whole]
    assert await backend.tokenize(("a fox",)) == (tokens,)


async def test_streams_of_a_worker_that_stands_still_go_on() -> None:
    backend = LlamaCppBackend("spark", on_log=lambda level, text: None, hang_timeout_s=2.0)
    await load_spark(backend)
    whole = await run(backend, job(STORY, **LONG))
    pid = backend.stats().pid
    told = Told()
    async with aclosing(backend.generate(job(STORY, **LONG))) as events:
        async for event in events:
            told.append(event)
            if len(told) == 3:
                os.kill(pid, signal.SIGSTOP)
    assert told.text == whole.text
    assert told.done.n_output_tokens == whole.done.n_output_tokens
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    await backend.close()


async def test_an_embedding_in_flight_is_made_again(backend: Backend) -> None:
    params = LoadParams(n_ctx=256, n_gpu_layers=0, embedding=True)
    await backend.load(ModelPaths(model=str(MINILM)), params, lambda fraction: None)
    texts = tuple(f"{n} foxes " + "run over the hill " * 30 for n in range(16))
    whole = await backend.embed(texts, truncate=True)
    pid = backend.stats().pid
    call = asyncio.create_task(backend.embed(texts, truncate=True))
    await asyncio.sleep(0)  # now the question is sent
    kill(backend)
    vectors, n_tokens = await call
    assert backend.stats().pid != pid
    assert n_tokens == whole[1]
    for vector, expected in zip(vectors, whole[0], strict=True):
        assert struct.unpack("<384f", vector) == pytest.approx(struct.unpack("<384f", expected), abs=1e-5)
