"""Ollama's Python package, both of its clients."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import ollama
import pytest

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    CITY_SCHEMA,
    ENDLESS,
    N_EMBD,
    SKY,
    WEATHER,
    WEATHER_TOOL,
    assert_city,
    assert_near,
    user,
)
from tests.clients.serving import MODELS, Server
from tests.support.vision_models import picture

GREEDY = {"temperature": 0, "num_predict": 200}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.url) as client:
        yield client


def get_weather(city: str) -> str:
    """Weather of a city

    Args:
        city: City
    """
    return f"18 C in {city}"


def test_chat_and_generate_whole_and_streamed(client: ollama.Client) -> None:
    whole = client.chat("plain", messages=user(CAPITAL), options=GREEDY)
    assert (whole.message.role, whole.message.content) == ("assistant", CAPITAL_ANSWER)
    assert (whole.done, whole.done_reason, whole.eval_count) == (True, "stop", 8)
    parts = list(client.chat("plain", messages=user(CAPITAL), options=GREEDY, stream=True))
    assert "".join(part.message.content or "" for part in parts) == CAPITAL_ANSWER
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1].prompt_eval_count == whole.prompt_eval_count
    generated = client.generate("plain", CAPITAL, options=GREEDY)
    assert generated.response == CAPITAL_ANSWER
    assert generated.context
    pieces = list(client.generate("plain", CAPITAL, options=GREEDY, stream=True))
    assert "".join(piece.response for piece in pieces) == CAPITAL_ANSWER
    assert [piece.done for piece in pieces].count(True) == 1


@pytest.mark.parametrize("model", ["spark", "native"])
def test_thinking_on_unset_and_off(client: ollama.Client, model: str) -> None:
    for think in (True, None):
        reply = client.chat(model, messages=user(CAPITAL), think=think, options=GREEDY)
        assert "The user asks for the capital of France" in (reply.message.thinking or "")
        assert (reply.message.content or "").strip() == CAPITAL_ANSWER
    off = client.chat(model, messages=user(CAPITAL), think=False, options=GREEDY)
    assert (off.message.thinking, off.message.content) == (None, CAPITAL_ANSWER)
    parts = list(client.chat(model, messages=user(CAPITAL), think=True, stream=True, options=GREEDY))
    kinds = ["thinking" if part.message.thinking else "content" for part in parts]
    assert kinds == sorted(kinds, reverse=True) and kinds[0] == "thinking"
    assert "".join(part.message.thinking or "" for part in parts) == reply.message.thinking
    with pytest.raises(ollama.ResponseError, match="does not support thinking") as caught:
        client.chat("plain", messages=user(CAPITAL), think=True)
    assert caught.value.status_code == 400


@pytest.mark.parametrize("model", ["spark", "native"])
@pytest.mark.parametrize("tool", [WEATHER_TOOL, get_weather])
def test_tools_plain_streamed_and_their_results(client: ollama.Client, model: str, tool: Any) -> None:
    fields: dict[str, Any] = {"tools": [tool], "think": False, "options": GREEDY}
    reply = client.chat(model, messages=user(WEATHER), **fields)
    (call,) = reply.message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("get_weather", {"city": "Paris"})
    parts = list(client.chat(model, messages=user(WEATHER), stream=True, **fields))
    streamed = [call for part in parts for call in part.message.tool_calls or []]
    assert [one.function for one in streamed] == [call.function]
    messages = [
        *user(WEATHER),
        reply.message,
        {"role": "tool", "tool_name": "get_weather", "content": "18 C and sunny"},
    ]
    answer = client.chat(model, messages=messages, **fields)
    assert answer.message.content and not answer.message.tool_calls


def test_an_empty_list_of_tools_is_none(client: ollama.Client) -> None:
    assert (
        client.chat("plain", messages=user(CAPITAL), tools=[], options=GREEDY).message.content
        == CAPITAL_ANSWER
    )
    with pytest.raises(ollama.ResponseError, match="does not support tools"):
        client.chat("plain", messages=user(CAPITAL), tools=[WEATHER_TOOL])


def test_structured_output(client: ollama.Client) -> None:
    for model in ("plain", "spark", "native"):
        reply = client.chat(model, messages=user(CAPITAL), format=CITY_SCHEMA, options=GREEDY)
        assert_city(json.loads(reply.message.content or ""))
    generated = client.generate("plain", CAPITAL, format=CITY_SCHEMA, options=GREEDY)
    assert_city(json.loads(generated.response))
    loose = client.chat("plain", messages=user(CAPITAL), format="json", options=GREEDY)
    assert isinstance(json.loads(loose.message.content or ""), dict)


def test_log_probabilities(client: ollama.Client) -> None:
    reply = client.chat("plain", messages=user(CAPITAL), logprobs=True, top_logprobs=2, options=GREEDY)
    assert reply.logprobs
    assert "".join(entry.token for entry in reply.logprobs) == CAPITAL_ANSWER
    assert {len(entry.top_logprobs or []) for entry in reply.logprobs} == {2}


def test_embeddings(client: ollama.Client) -> None:
    reply = client.embed("minilm", input=SKY)
    assert_near(reply.embeddings)
    assert reply.prompt_eval_count and reply.model == "minilm"
    assert len(client.embed("minilm", input=SKY[0], dimensions=64).embeddings[0]) == 64
    assert len(client.embeddings("minilm", SKY[0]).embedding) == N_EMBD
    with pytest.raises(ollama.ResponseError) as caught:
        client.embed("minilm", input="word " * 2000, truncate=False)
    assert caught.value.status_code == 400
    assert "exceeds the context length" in caught.value.error


def test_images_used_and_refused(client: ollama.Client) -> None:
    def looked(model: str, *images: bytes) -> ollama.ChatResponse:
        message = {"role": "user", "content": "What is this?", "images": images}
        return client.chat(model, messages=[message], options={**GREEDY, "num_predict": 12})

    blind, first, second = looked("eyes"), looked("eyes", picture(1)), looked("eyes", picture(2))
    assert first.prompt_eval_count == second.prompt_eval_count
    assert (first.prompt_eval_count or 0) > (blind.prompt_eval_count or 0)
    assert len({blind.message.content, first.message.content, second.message.content}) == 3
    with pytest.raises(ollama.ResponseError, match="multimodal") as caught:
        looked("plain", picture(1))
    assert caught.value.status_code == 400


def test_models_are_listed_shown_copied_and_deleted(client: ollama.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert {"spark:latest", "plain:latest", "native:latest", "minilm:latest"} <= set(listed)
    details = listed["spark:latest"].details
    assert details and (details.format, details.family, details.quantization_level) == (
        "gguf",
        "llama",
        "Q8_0",
    )
    shown = client.show("spark")
    assert {"completion", "tools", "thinking", "insert"} == set(shown.capabilities or [])
    assert shown.modelinfo and shown.modelinfo["llama.context_length"] == 2048
    assert "<|im_start|>" in (shown.template or "")
    assert client.copy("plain", "twin").status == "success"
    assert client.delete("twin").status == "success"
    for ask in (client.show, client.delete):
        with pytest.raises(ollama.ResponseError, match="not found") as caught:
            ask("twin")
        assert caught.value.status_code == 404


def test_a_model_is_made_of_a_blob_and_of_a_model(client: ollama.Client) -> None:
    path = MODELS / "minilm.gguf"
    digest = client.create_blob(path)
    assert digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    states = [state.status for state in client.create("again", files={path.name: digest}, stream=True)]
    assert states[-1] == "success" and len(states) > 1
    made = client.create("pirate", from_="plain", system="You are a pirate.", parameters={"seed": 7})
    assert made.status == "success"
    shown = client.show("pirate")
    assert "You are a pirate." in (shown.modelfile or "")
    assert "seed" in (shown.parameters or "")
    for name in ("again", "pirate"):
        client.delete(name)
    with pytest.raises(ollama.ResponseError) as caught:
        client.create("orphan", files={"a.gguf": f"sha256:{'0' * 64}"})
    assert caught.value.status_code == 404 and "blob" in caught.value.error


def test_a_model_is_loaded_and_unloaded(client: ollama.Client) -> None:
    loaded = client.generate("native", keep_alive="5m")
    assert (loaded.done, loaded.done_reason) == (True, "load")
    running = {model.model: model for model in client.ps().models}
    assert running["native:latest"].context_length == 2048
    assert client.chat("native", keep_alive=0).done_reason == "unload"
    assert "native:latest" not in {model.model for model in client.ps().models}


def test_a_broken_off_stream_frees_its_slot(client: ollama.Client, server: Server) -> None:
    with server.broken_off("endless"):
        stream = client.chat("endless", messages=user(ENDLESS), stream=True)
        assert next(stream).message.content is not None
        stream.close()


def test_a_timeout_frees_its_slot(client: ollama.Client, server: Server) -> None:
    client.generate("endless")
    with server.broken_off("endless"), ollama.Client(host=server.url, timeout=0.5) as hasty:
        with pytest.raises(httpx.ReadTimeout):
            hasty.chat("endless", messages=user(ENDLESS))


def test_errors_are_the_clients_own(client: ollama.Client) -> None:
    for stream in (False, True):
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as caught:
            list(client.chat("nope", messages=user("Hi"), stream=stream))  # type: ignore[call-overload]
        assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError, match="does not support chat"):
        client.chat("minilm", messages=user("Hi"))
    with pytest.raises(ConnectionError, match="Failed to connect"):
        ollama.Client(host="http://127.0.0.1:9").list()


async def test_the_asynchronous_client(server: Server) -> None:
    async with ollama.AsyncClient(host=server.url) as client:
        parts = [
            part
            async for part in await client.chat("plain", messages=user(CAPITAL), stream=True, options=GREEDY)
        ]
        assert "".join(part.message.content or "" for part in parts) == CAPITAL_ANSWER
        replies = await asyncio.gather(
            *[client.chat("plain", messages=user(CAPITAL), options=GREEDY) for _ in range(4)]
        )
        assert {reply.message.content for reply in replies} == {CAPITAL_ANSWER}
        called = await client.chat(
            "spark", messages=user(WEATHER), tools=[get_weather], think=False, options=GREEDY
        )
        (call,) = called.message.tool_calls or []
        assert call.function.arguments == {"city": "Paris"}
        assert_near((await client.embed("minilm", input=SKY)).embeddings)
        assert "spark:latest" in {model.model for model in (await client.list()).models}
        assert "tools" in ((await client.show("spark")).capabilities or [])
        with pytest.raises(ollama.ResponseError) as caught:
            await client.chat("nope", messages=user("Hi"))
        assert caught.value.status_code == 404


async def test_the_asynchronous_client_sends_a_known_blob_and_makes_a_model(server: Server) -> None:
    async with ollama.AsyncClient(host=server.url) as client:
        digest = await client.create_blob(MODELS / "minilm.gguf")
        assert digest == await client.create_blob(MODELS / "minilm.gguf")
        made = await client.create("async-made", files={"minilm.gguf": digest})
        assert made.status == "success"
        await client.delete("async-made")


async def test_the_asynchronous_client_breaks_off(server: Server) -> None:
    async with ollama.AsyncClient(host=server.url) as client:
        await client.generate("endless")
        with server.broken_off("endless"):
            stream = await client.chat("endless", messages=user(ENDLESS), stream=True)
            async for part in stream:
                assert part.message.content is not None
                break
            await stream.aclose()  # type: ignore[attr-defined]
        with server.broken_off("endless"), pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(client.chat("endless", messages=user(ENDLESS)), 0.5)
