"""The whole pipeline on the real worker and the bundled model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from server.errors import Cancelled, CapabilityMissing, InvalidModelName, InvalidRequest, ModelNotFound
from server.services.container import ServerServices, build_services
from server.settings import Settings
from server.types.generation import (
    ChatRequest,
    Chunk,
    Completed,
    EmbedRequest,
    Format,
    GenerateRequest,
    GenerationEvent,
    Rendered,
)
from server.types.messages import Message, Tool
from server.types.models import CreateRequest, ShowRequest
from server.types.ranking import RerankRequest
from tests.support.engine_worker import MINILM
from tests.support.whole_input_models import ranking_minilm

GREEDY = {"temperature": 0, "seed": 1}
WEATHER = Tool(
    name="get_weather",
    description="Get the current weather in a city",
    parameters={
        "type": "object",
        "required": ["city"],
        "properties": {"city": {"type": "string", "description": "The name of the city"}},
    },
)


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[ServerServices]:
    environ = {"HOME": str(tmp_path), "OLLAMA_NUM_PARALLEL": "4"}
    built = build_services(Settings.load(environ=environ))
    await built.start()
    yield built
    await built.aclose()


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


async def events(services: ServerServices, request: ChatRequest | GenerateRequest) -> list[GenerationEvent]:
    inference = services.inference
    stream = inference.chat(request) if isinstance(request, ChatRequest) else inference.generate(request)
    async with aclosing(stream):
        return [event async for event in stream]


def joined(got: list[GenerationEvent]) -> Chunk:
    chunks = [event for event in got if isinstance(event, Chunk)]
    return Chunk(
        content="".join(chunk.content for chunk in chunks),
        thinking="".join(chunk.thinking for chunk in chunks),
        tool_calls=tuple(call for chunk in chunks for call in chunk.tool_calls),
    )


async def test_a_new_store_has_spark_and_it_answers(services: ServerServices) -> None:
    assert [model.name for model in await services.models.list_models()] == ["spark:latest"]
    got = await events(
        services,
        ChatRequest(
            model="spark", messages=user("What is the capital of France?"), options=GREEDY, think=False
        ),
    )
    assert joined(got).content == "The capital of France is Paris."
    end = got[-1]
    assert isinstance(end, Completed)
    assert (end.reason, end.timings.n_prompt_tokens, end.timings.n_output_tokens) == ("stop", 15, 8)
    (request,) = (await services.status.snapshot()).requests
    assert (request.state, request.n_prompt_tokens, request.n_output_tokens) == ("done", 15, 8)
    (running,) = await services.status.running()
    assert (running.name, running.n_slots) == ("spark:latest", 4)


async def test_thinking_is_on_by_default_and_apart_from_the_answer(services: ServerServices) -> None:
    got = joined(
        await events(
            services,
            ChatRequest(model="spark", messages=user("What is the capital of Japan?"), options=GREEDY),
        )
    )
    assert got.thinking == "The user asks for the capital of Japan. It is Tokyo.\n"
    assert got.content == "The capital of Japan is Tokyo."


async def test_a_tool_is_called(services: ServerServices) -> None:
    got = joined(
        await events(
            services,
            ChatRequest(
                model="spark",
                messages=user("What is the weather in Paris?"),
                tools=(WEATHER,),
                options=GREEDY,
                think=False,
            ),
        )
    )
    (call,) = got.tool_calls
    assert (call.name, call.arguments, got.content) == ("get_weather", {"city": "Paris"}, "")
    assert call.id.startswith("call_")


@pytest.mark.parametrize("think", [False, True])
@pytest.mark.parametrize("format_", [None, "json"])
async def test_a_required_call_comes_whatever_is_asked(
    services: ServerServices, think: bool, format_: Format
) -> None:
    request = ChatRequest(
        model="spark",
        messages=user("What is the capital of France?"),
        tools=(WEATHER, Tool(name="noop", parameters={"type": "object", "properties": {}})),
        tool_choice="required",
        format=format_,
        options={**GREEDY, "num_predict": 200},
        think=think,
    )
    got = joined(await events(services, request))
    assert got.content == ""
    assert got.tool_calls
    for call in got.tool_calls:
        assert call.name in ("get_weather", "noop")
        if call.name == "get_weather":
            assert isinstance(call.arguments["city"], str)
    assert bool(got.thinking) == think


async def test_a_stream_that_is_left_has_given_its_slot_back(services: ServerServices) -> None:
    request = ChatRequest(model="spark", messages=user("Tell me a story."), think=False, options=GREEDY)
    async with aclosing(services.inference.chat(request)) as stream:
        await anext(stream)
        assert (await services.status.running())[0].n_busy_slots == 1
    assert (await services.status.running())[0].n_busy_slots == 0
    assert (await services.status.snapshot()).requests[0].state == "cancelled"


@pytest.mark.parametrize("think", [False, True])
async def test_a_schema_holds_with_and_without_thinking(services: ServerServices, think: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
        "required": ["name", "age"],
    }
    got = joined(
        await events(
            services,
            ChatRequest(
                model="spark",
                messages=user("Ann is 30 years old and lives in Paris. Reply in JSON."),
                format=schema,
                options={**GREEDY, "num_predict": 200},
                think=think,
            ),
        )
    )
    answer = json.loads(got.content)
    assert list(answer) == ["name", "age"]
    assert "<think>" not in got.content


async def test_fill_in_the_middle_and_its_context(services: ServerServices) -> None:
    got = await events(
        services,
        GenerateRequest(
            model="spark",
            prompt="def add(a, b):\n    return ",
            suffix="\n",
            options={**GREEDY, "num_predict": 24},
        ),
    )
    assert joined(got).content == " a + "
    end = got[-1]
    assert isinstance(end, Completed)
    assert end.context == (3, 1147, 1102, 13, 70, 17, 351, 1097, 1065, 532, 226, 4, 204, 5, 267, 479, 226)


async def test_a_long_prompt_is_cut_and_says_so(services: ServerServices) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 60
    got = await events(
        services,
        GenerateRequest(model="spark", prompt=long, options={**GREEDY, "num_ctx": 128, "num_predict": 4}),
    )
    end = got[-1]
    assert isinstance(end, Completed)
    assert end.timings.n_prompt_tokens == 66
    assert end.n_dropped_tokens > 0


async def test_old_messages_are_dropped_and_counted(services: ServerServices) -> None:
    long = "The quick brown fox jumps over the lazy dog. " * 20
    messages = (*user(long), Message(role="assistant", content="Yes."), *user("What is the capital of Peru?"))
    got = await events(
        services,
        ChatRequest(model="spark", messages=messages, think=False, options={**GREEDY, "num_ctx": 128}),
    )
    end = got[-1]
    assert isinstance(end, Completed)
    assert end.n_dropped_messages >= 1
    assert joined(got).content == "The capital of Peru is Lima."


async def test_rendering_alone(services: ServerServices) -> None:
    (rendered,) = await events(
        services, ChatRequest(model="spark", messages=user("Hi"), think=False, render_only=True)
    )
    assert rendered == Rendered(prompt="<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


async def test_loading_and_unloading(services: ServerServices) -> None:
    assert await events(services, ChatRequest(model="spark")) == [Completed(reason="load")]
    assert len(await services.status.running()) == 1
    assert await events(services, GenerateRequest(model="spark", keep_alive_s=0)) == [
        Completed(reason="unload")
    ]
    assert await services.status.running() == ()


@pytest.mark.parametrize(
    ("request_", "error", "message"),
    [
        (ChatRequest(model="nope", messages=user("x")), ModelNotFound, "model 'nope' not found"),
        (ChatRequest(model="a b", messages=user("x")), InvalidModelName, "invalid model name"),
        (
            GenerateRequest(model="spark", prompt="x", raw=True, system="y"),
            InvalidRequest,
            "raw mode does not support template, system, or context",
        ),
        (
            GenerateRequest(model="spark", prompt="x", images=(b"x",)),
            InvalidRequest,
            "Multimodal data provided, but model does not support multimodal requests.",
        ),
    ],
)
async def test_bad_requests(
    services: ServerServices,
    request_: ChatRequest | GenerateRequest,
    error: type[Exception],
    message: str,
) -> None:
    with pytest.raises(error) as caught:
        await events(services, request_)
    assert str(caught.value) == message


async def test_an_embedding_model_does_not_chat(services: ServerServices, tmp_path: Path) -> None:
    await install(services, "minilm", MINILM)
    with pytest.raises(CapabilityMissing) as caught:
        await events(services, ChatRequest(model="minilm", messages=user("x")))
    assert str(caught.value) == '"minilm" does not support chat'
    result = await services.inference.embed(EmbedRequest(model="minilm", inputs=("a", "b"), n_dimensions=8))
    assert [len(vector) for vector in result.vectors] == [32, 32]
    assert result.n_prompt_tokens == 6


def contents(path: Path) -> bytes:
    return path.read_bytes()


async def install(services: ServerServices, name: str, path: Path) -> None:
    data = contents(path)
    digest = "sha256:" + hashlib.sha256(data).hexdigest()

    async def body() -> AsyncIterator[bytes]:
        yield data

    await services.models.put_blob(digest, body())
    request = CreateRequest(model=name, files={path.name: digest})
    async with aclosing(services.models.create(request)) as steps:
        assert [step.status async for step in steps][-1] == "success"


async def test_a_request_is_cancelled_by_id_and_its_slot_is_free(services: ServerServices) -> None:
    request = ChatRequest(model="spark", messages=user("Tell me a story."), think=False, options=GREEDY)
    with pytest.raises(Cancelled):
        async with aclosing(services.inference.chat(request)) as stream:
            async for _ in stream:
                (open_,) = (await services.status.snapshot()).requests
                await services.status.cancel_request(open_.id)
    (ended,) = (await services.status.snapshot()).requests
    assert ended.state == "cancelled"
    assert (await services.status.running())[0].n_busy_slots == 0


async def test_a_model_that_ranks_puts_documents_in_order(services: ServerServices) -> None:
    await install(services, "ranker", ranking_minilm())
    info = await services.models.show(ShowRequest(model="ranker"))
    assert info.capabilities == ("rerank",)
    documents = ("Bananas are yellow.", "Paris is the capital of France.", "The sky is blue.")
    request = RerankRequest(model="ranker", query="What is the capital of France?", documents=documents)
    result = await services.inference.rerank(request)
    assert sorted(one.index for one in result.ranking) == [0, 1, 2]
    scores = [one.score for one in result.ranking]
    assert scores == sorted(scores, reverse=True)
    assert result.n_prompt_tokens > 30
    best = await services.inference.rerank(msgspec.structs.replace(request, n_top=1))
    assert best.ranking[0].index == result.ranking[0].index
    assert best.ranking[0].score == pytest.approx(scores[0], abs=1e-4)
    assert len(best.ranking) == 1
    with pytest.raises(CapabilityMissing, match="does not support embeddings"):
        await services.inference.embed(EmbedRequest(model="ranker", inputs=("a",)))
    with pytest.raises(CapabilityMissing, match="does not support chat"):
        await events(services, ChatRequest(model="ranker", messages=user("x")))


async def test_other_models_do_not_rank(services: ServerServices) -> None:
    with pytest.raises(CapabilityMissing) as caught:
        await services.inference.rerank(RerankRequest(model="spark", query="q", documents=("a",)))
    assert str(caught.value).startswith('"spark" does not support rerank')
    assert await services.status.running() == ()
