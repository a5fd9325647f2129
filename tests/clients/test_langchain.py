"""LangChain's packages for Ollama and OpenAI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import ollama
import openai
import pydantic
import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

from tests.clients.asked import (
    CAPITAL,
    CAPITAL_ANSWER,
    ENDLESS,
    SKY,
    WEATHER,
    assert_near,
    picture_base64,
)
from tests.clients.serving import Server


class City(pydantic.BaseModel):
    """A city"""

    city: Literal["Paris", "Rome"]
    size: Literal[1, 2, 3]


@tool
def get_weather(city: str) -> str:
    """Weather of a city"""
    return f"18 C in {city}"


@tool
def now(zone: Literal["utc"]) -> str:
    """The time"""
    return f"noon {zone}"


def native(server: Server, model: str, **fields: Any) -> ChatOllama:
    given: dict[str, Any] = {"temperature": 0, "num_predict": 200, **fields}
    return ChatOllama(model=model, base_url=server.url, **given)


def compatible(server: Server, model: str, **fields: Any) -> ChatOpenAI:
    given: dict[str, Any] = {"temperature": 0, "max_completion_tokens": 200, "max_retries": 0, **fields}
    return ChatOpenAI(model=model, base_url=f"{server.url}/v1", api_key="unused", **given)  # type: ignore[arg-type]


def joined(chunks: Iterator[Any]) -> AIMessageChunk:
    whole: AIMessageChunk | None = None
    for chunk in chunks:
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    return whole


@pytest.mark.parametrize("make", [native, compatible])
def test_chat_whole_streamed_and_at_once(server: Server, make: Any) -> None:
    chat = make(server, "plain")
    whole = chat.invoke(CAPITAL)
    assert (whole.type, whole.content) == ("ai", CAPITAL_ANSWER)
    assert whole.usage_metadata["output_tokens"] in (8, 9)
    assert joined(chat.stream(CAPITAL)).content == CAPITAL_ANSWER
    assert {reply.content for reply in chat.batch([CAPITAL] * 3)} == {CAPITAL_ANSWER}
    cut = make(server, "plain", **({"num_predict": 3} if make is native else {"max_completion_tokens": 3}))
    assert cut.invoke(CAPITAL).usage_metadata["output_tokens"] == 3


@pytest.mark.parametrize("make", [native, compatible])
async def test_chat_asynchronously(server: Server, make: Any) -> None:
    chat = make(server, "plain")
    assert (await chat.ainvoke(CAPITAL)).content == CAPITAL_ANSWER
    assert "".join([part.content async for part in chat.astream(CAPITAL)]) == CAPITAL_ANSWER


def test_thinking_stands_apart(server: Server) -> None:
    chat = native(server, "spark", reasoning=True)
    whole = chat.invoke(CAPITAL)
    assert "The user asks for the capital of France" in whole.additional_kwargs["reasoning_content"]
    assert whole.content == CAPITAL_ANSWER
    streamed = joined(chat.stream(CAPITAL))
    assert streamed.additional_kwargs["reasoning_content"] == whole.additional_kwargs["reasoning_content"]
    assert streamed.content == CAPITAL_ANSWER
    off = native(server, "spark", reasoning=False).invoke(CAPITAL)
    assert "reasoning_content" not in off.additional_kwargs and off.content == CAPITAL_ANSWER
    silent = compatible(server, "spark", reasoning_effort="none").invoke(CAPITAL)
    assert silent.content == CAPITAL_ANSWER


def test_tools_plain_streamed_and_their_results(server: Server) -> None:
    for chat in (
        native(server, "spark", reasoning=False),
        compatible(server, "spark", reasoning_effort="none"),
    ):
        bound = chat.bind_tools([get_weather])
        asked = HumanMessage(WEATHER)
        reply = bound.invoke([asked])
        assert isinstance(reply, AIMessage)
        (call,) = reply.tool_calls
        assert (call["name"], call["args"]) == ("get_weather", {"city": "Paris"})
        (streamed,) = joined(bound.stream([asked])).tool_calls
        assert (streamed["name"], streamed["args"]) == ("get_weather", {"city": "Paris"})
        result = get_weather.invoke(call)
        assert isinstance(result, ToolMessage)
        assert bound.invoke([asked, reply, result]).content


def test_tools_forced_named_and_forbidden(server: Server) -> None:
    chat = compatible(server, "spark", reasoning_effort="none")

    def called(text: str, choice: str) -> list[str]:
        bound = chat.bind_tools([get_weather, now], tool_choice=choice, parallel_tool_calls=False)
        return [call["name"] for call in bound.invoke(text).tool_calls]

    assert len(called("Hello!", "required")) == 1
    assert called("Hello!", "now") == ["now"]
    assert called(WEATHER, "none") == []
    assert called(WEATHER, "auto") == ["get_weather"]


def test_structured_output(server: Server) -> None:
    by_format = native(server, "plain").with_structured_output(City, method="json_schema")
    assert isinstance(by_format.invoke(CAPITAL), City)
    by_schema = compatible(server, "plain").with_structured_output(City, method="json_schema")
    assert isinstance(by_schema.invoke(CAPITAL), City)
    by_call = compatible(server, "spark", reasoning_effort="none").with_structured_output(
        City, method="function_calling"
    )
    assert isinstance(by_call.invoke(CAPITAL), City)


def test_completions(server: Server) -> None:
    ours = OllamaLLM(model="plain", base_url=server.url, temperature=0)
    assert ours.invoke(CAPITAL) == CAPITAL_ANSWER
    assert "".join(ours.stream(CAPITAL)) == CAPITAL_ANSWER
    theirs = OpenAI(model="plain", base_url=f"{server.url}/v1", api_key="unused", temperature=0)  # type: ignore[arg-type]
    assert theirs.invoke(CAPITAL) == CAPITAL_ANSWER


def test_responses(server: Server) -> None:
    chat = compatible(server, "plain", use_responses_api=True)
    assert chat.invoke(CAPITAL).text == CAPITAL_ANSWER
    assert joined(chat.stream(CAPITAL)).text == CAPITAL_ANSWER


def test_embeddings(server: Server) -> None:
    ours = OllamaEmbeddings(model="minilm", base_url=server.url)
    assert_near(ours.embed_documents(SKY))
    theirs = OpenAIEmbeddings(
        model="minilm",
        base_url=f"{server.url}/v1",
        api_key="unused",  # type: ignore[arg-type]
        check_embedding_ctx_length=False,
    )
    assert_near(theirs.embed_documents(SKY))
    assert theirs.embed_query(SKY[0]) == pytest.approx(ours.embed_query(SKY[0]), abs=1e-6)


@pytest.mark.parametrize(
    ("make", "refused"), [(native, ollama.ResponseError), (compatible, openai.BadRequestError)]
)
def test_images_used_and_refused(server: Server, make: Any, refused: type[Exception]) -> None:
    def looked(model: str, seed: int) -> Any:
        url = f"data:image/png;base64,{picture_base64(seed)}"
        parts = [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}]
        return make(server, model).invoke([HumanMessage(parts)])

    first, second = looked("eyes", 1), looked("eyes", 2)
    assert first.usage_metadata["input_tokens"] == second.usage_metadata["input_tokens"] > 64
    assert first.content != second.content
    with pytest.raises(refused, match="multimodal"):
        looked("plain", 1)


def test_broken_off_streams_free_their_slots(server: Server) -> None:
    native(server, "endless", num_predict=1).invoke(ENDLESS)
    for chat in (
        native(server, "endless", num_predict=20_000),
        compatible(server, "endless", max_completion_tokens=20_000),
    ):
        with server.broken_off("endless"):
            stream = chat.stream(ENDLESS)
            assert isinstance(next(stream), AIMessageChunk)
            stream.close()  # type: ignore[attr-defined]


def test_a_timeout_frees_its_slot(server: Server) -> None:
    native(server, "endless", num_predict=1).invoke(ENDLESS)
    with server.broken_off("endless"), pytest.raises(openai.APITimeoutError):
        compatible(server, "endless", max_completion_tokens=20_000, timeout=0.5).invoke(ENDLESS)


def test_errors_are_those_of_the_packages_below(server: Server) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
        native(server, "nope").invoke("Hi")
    with pytest.raises(openai.NotFoundError, match="model 'nope' not found"):
        compatible(server, "nope").invoke("Hi")
    with pytest.raises(Exception, match="nope"):
        native(server, "nope", validate_model_on_init=True)
    assert native(server, "spark", validate_model_on_init=True).model == "spark"
