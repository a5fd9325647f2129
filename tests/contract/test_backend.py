"""What every backend promises, asked of a scripted one, of one on a fake worker and of llama.cpp itself."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from server.backends.base import Backend, GenerationDone, GenerationJob, LoadedInfo, TextDelta
from server.backends.fake import FakeBackend, FakeScript
from server.backends.llamacpp import LlamaCppBackend
from server.errors import ContextExceeded, InvalidGrammar, OllaError, ShuttingDown
from server.types.generation import LoadParams, ModelPaths, SamplingParams
from tests.support.fake_engine import Script, command
from tests.support.whole_input_models import ranking_minilm

ROOT = Path(__file__).parents[2]
SPARK = ModelPaths(model=str(ROOT / "server/bundled/spark.gguf"))
MINILM = ModelPaths(model=str(ROOT / "tests/models/minilm.gguf"))
PARAMS = LoadParams(n_ctx=256, n_slots=2)
LONG_ANSWER = "all work and no play makes a dull day, " * 50


def scripted() -> Backend:
    return FakeBackend("fake", FakeScript(answer=lambda prompt: LONG_ANSWER))


def on_fake_worker() -> Backend:
    script = Script(token_s=0.001)
    return LlamaCppBackend("fake", command=command(script), on_log=lambda level, text: None)


def on_llama_cpp() -> Backend:
    return LlamaCppBackend("spark", on_log=lambda level, text: None)


@pytest.fixture(params=[scripted, on_fake_worker, on_llama_cpp])
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    make: Callable[[], Backend] = request.param
    made = make()
    yield made
    await made.close()


@pytest.fixture
async def loaded(backend: Backend) -> Backend:
    await backend.load(SPARK, PARAMS, lambda fraction: None)
    return backend


def job(prompt: str = "Once upon a time", n_predict: int = 12, grammar: str = "") -> GenerationJob:
    sampling = SamplingParams(n_predict=n_predict, temperature=0.0, seed=1, grammar=grammar)
    return GenerationJob(prompt=(prompt,), sampling=sampling)


async def run(backend: Backend, wanted: GenerationJob) -> tuple[list[TextDelta], GenerationDone]:
    """All events of a generation, which has to end with one `GenerationDone`."""
    async with aclosing(backend.generate(wanted)) as events:
        *deltas, done = [event async for event in events]
    assert isinstance(done, GenerationDone)
    texts = [delta for delta in deltas if isinstance(delta, TextDelta)]
    assert len(texts) == len(deltas)
    return texts, done


async def test_load_reports_progress_up_to_the_end(backend: Backend) -> None:
    fractions: list[float] = []
    info = await backend.load(SPARK, PARAMS, fractions.append)
    assert isinstance(info, LoadedInfo)
    assert (info.n_ctx, info.n_slots) == (256, 2)
    assert info.weights_bytes > 0
    assert fractions
    assert fractions == sorted(fractions)
    assert all(0.0 <= fraction <= 1.0 for fraction in fractions)


async def test_generation_ends_once_and_counts_its_tokens(loaded: Backend) -> None:
    deltas, done = await run(loaded, job(n_predict=12))
    assert done.reason == "length"
    assert done.n_output_tokens == 12
    assert sum(delta.n_tokens for delta in deltas) == 12
    assert done.n_prompt_tokens > 0
    assert "".join(delta.text for delta in deltas)


async def test_equal_requests_have_equal_answers_also_side_by_side(loaded: Backend) -> None:
    results = await asyncio.gather(*(run(loaded, job()) for _ in range(5)))
    texts = {"".join(delta.text for delta in deltas) for deltas, _ in results}
    assert len(texts) == 1


async def test_more_requests_than_slots_all_end(loaded: Backend) -> None:
    results = await asyncio.gather(*(run(loaded, job(f"Story {i}:", n_predict=5)) for i in range(9)))
    assert len(results) == 9
    assert all(1 <= done.n_output_tokens <= 5 for _, done in results)  # spark ends some stories earlier


async def test_closing_frees_the_slot(backend: Backend) -> None:
    await backend.load(SPARK, LoadParams(n_ctx=256, n_slots=1), lambda fraction: None)
    async with aclosing(backend.generate(job(n_predict=100_000))) as endless:
        assert isinstance(await anext(endless), TextDelta)
    _, done = await run(backend, job(n_predict=3))
    assert done.n_output_tokens == 3
    assert backend.stats().n_busy_slots == 0


async def test_cancelled_consumer_frees_the_slot(backend: Backend) -> None:
    await backend.load(SPARK, LoadParams(n_ctx=256, n_slots=1), lambda fraction: None)
    begun = asyncio.Event()

    async def consume() -> None:
        async with aclosing(backend.generate(job(n_predict=100_000))) as endless:
            async for _ in endless:
                begun.set()

    task = asyncio.create_task(consume())
    await begun.wait()
    assert backend.stats().n_busy_slots == 1
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    _, done = await run(backend, job(n_predict=3))
    assert done.n_output_tokens == 3


async def test_slow_consumer_gets_everything_joined(loaded: Backend) -> None:
    fast, _ = await run(loaded, job(n_predict=20))
    async with aclosing(loaded.generate(job(n_predict=20))) as events:
        first = await anext(events)
        other = await run(loaded, job("Another:", n_predict=40))  # the first is not read meanwhile
        rest = [event async for event in events]
    assert other[1].n_output_tokens > 0
    assert isinstance(rest[-1], GenerationDone)
    slow = [event for event in [first, *rest] if isinstance(event, TextDelta)]
    assert "".join(delta.text for delta in slow) == "".join(delta.text for delta in fast)
    assert sum(delta.n_tokens for delta in slow) == 20


async def test_prompt_beyond_the_context_is_refused(loaded: Backend) -> None:
    with pytest.raises(ContextExceeded) as caught:
        await run(loaded, job("word " * 2000))
    assert caught.value.n_ctx == 256
    assert caught.value.n_prompt_tokens > 256
    _, done = await run(loaded, job(n_predict=2))
    assert done.n_output_tokens == 2


async def test_broken_grammar_is_refused(loaded: Backend) -> None:
    with pytest.raises(InvalidGrammar):
        await run(loaded, job(grammar="this ::= is [not"))
    _, done = await run(loaded, job(n_predict=2))
    assert done.n_output_tokens == 2


async def test_tokens_and_text_turn_into_each_other(loaded: Backend) -> None:
    texts = ("a fox ran", "café ☕")
    tokens = await loaded.tokenize(texts, add_special=False)
    assert len(tokens) == 2
    assert [(await loaded.detokenize(run)).strip() for run in tokens] == list(texts)


async def test_tokens_can_be_a_prompt(loaded: Backend) -> None:
    (tokens,) = await loaded.tokenize(("Once upon a time",), add_special=False)
    wanted = GenerationJob(prompt=(tokens,), sampling=SamplingParams(n_predict=4, temperature=0.0))
    _, done = await run(loaded, wanted)
    assert done.n_output_tokens == 4


async def test_embeddings_have_length_one(backend: Backend) -> None:
    info = await backend.load(MINILM, LoadParams(n_ctx=256, embedding=True), lambda fraction: None)
    vectors, n_tokens = await backend.embed(("why is the sky blue?", "a fox"), truncate=True)
    assert len(vectors) == len(n_tokens) == 2
    assert all(n > 0 for n in n_tokens)
    for vector in vectors:
        values = struct.unpack(f"<{info.n_embd}f", vector)
        assert math.isclose(math.hypot(*values), 1.0, rel_tol=1e-4)


async def test_too_long_input_of_an_embedding_is_cut_or_refused(backend: Backend) -> None:
    await backend.load(MINILM, LoadParams(n_ctx=64, n_batch=64, embedding=True), lambda fraction: None)
    _, n_tokens = await backend.embed(("word " * 500,), truncate=True)
    assert n_tokens[0] <= 64
    with pytest.raises(ContextExceeded):
        await backend.embed(("word " * 500,), truncate=False)


async def test_documents_are_scored_in_their_order(backend: Backend) -> None:
    ranker = ModelPaths(model=str(ranking_minilm()))
    await backend.load(ranker, LoadParams(n_ctx=64, embedding=True), lambda fraction: None)
    documents = ("a fox ran", "why is the sky blue?", "a fox ran")
    scores, n_tokens, n_dropped = await backend.rerank("a fox", documents, truncate=True)
    assert len(scores) == len(n_tokens) == 3
    assert n_dropped == (0, 0, 0)
    assert scores[0] == scores[2] != scores[1]
    cut, counts, n_dropped = await backend.rerank("a fox", ("word " * 500,), truncate=True)
    assert len(cut) == 1
    assert counts[0] <= 64
    assert n_dropped[0] > 400
    with pytest.raises(ContextExceeded):
        await backend.rerank("a fox", ("word " * 500,), truncate=False)


async def test_idle_backend_reports_no_work(loaded: Backend) -> None:
    await run(loaded, job(n_predict=3))
    stats = loaded.stats()
    assert (stats.n_busy_slots, stats.n_queued, stats.n_kv_tokens) == (0, 0, 0)


async def test_close_ends_open_calls_and_refuses_new_ones(loaded: Backend) -> None:
    async with aclosing(loaded.generate(job(n_predict=100_000))) as endless:
        await anext(endless)
        await loaded.close()
        with pytest.raises(ShuttingDown):
            async for _ in endless:
                pass
    assert not loaded.is_usable
    with pytest.raises(ShuttingDown):
        await run(loaded, job())


async def test_close_with_grace_lets_a_short_answer_end(loaded: Backend) -> None:
    async with aclosing(loaded.generate(job(n_predict=8))) as events:
        await anext(events)
        closing = asyncio.create_task(loaded.close(grace_s=5.0))
        rest = [event async for event in events]
        await closing
    assert isinstance(rest[-1], GenerationDone)


async def test_nothing_works_before_load(backend: Backend) -> None:
    with pytest.raises(OllaError, match="not loaded"):
        await backend.tokenize(("a",))


async def test_cancelled_load_leaves_nothing_behind(backend: Backend) -> None:
    begun = asyncio.Event()
    load = asyncio.create_task(backend.load(SPARK, PARAMS, lambda fraction: begun.set()))
    await begun.wait()
    load.cancel()
    await asyncio.wait([load])
    await backend.close()
    assert not backend.is_usable


async def test_killed_llama_cpp_goes_on_with_what_had_begun_and_what_waits() -> None:
    backend = on_llama_cpp()
    await backend.load(SPARK, PARAMS, lambda fraction: None)
    expected, _ = await run(backend, job())
    long = job("Count:", n_predict=100)
    whole, _ = await run(backend, long)
    async with aclosing(backend.generate(long)) as begun:
        events = [await anext(begun)]
        waiting = [asyncio.create_task(run(backend, job())) for _ in range(4)]
        await asyncio.sleep(0)
        os.kill(backend.stats().pid, signal.SIGKILL)
        events += [event async for event in begun]
    deltas = [event for event in events if isinstance(event, TextDelta)]
    assert "".join(delta.text for delta in deltas) == "".join(delta.text for delta in whole)
    text = "".join(delta.text for delta in expected)
    for others, _ in await asyncio.gather(*waiting):
        assert "".join(delta.text for delta in others) == text
    await backend.close()
