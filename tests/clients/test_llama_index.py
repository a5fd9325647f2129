"""LlamaIndex's packages for Ollama: llms and embeddings."""

from __future__ import annotations

from typing import Any, Literal

import httpx
import ollama
import pydantic
import pytest
from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.llms.ollama import Ollama

from tests.clients.asked import CAPITAL, CAPITAL_ANSWER, ENDLESS, SKY, WEATHER, assert_near
from tests.clients.serving import Server
from tests.support.vision_models import picture


class City(pydantic.BaseModel):
    """A city"""

    city: Literal["Paris", "Rome"]
    size: Literal[1, 2, 3]


def get_weather(city: str) -> str:
    """Weather of a city"""
    return f"18 C in {city}"


def llm(server: Server, model: str, **fields: Any) -> Ollama:
    options = {"num_predict": 200, **fields.pop("options", {})}
    given: dict[str, Any] = {"temperature": 0, "request_timeout": 60.0, **fields}
    return Ollama(model=model, base_url=server.url, additional_kwargs=options, **given)


def asked(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


def test_chat_whole_and_streamed(server: Server) -> None:
    plain = llm(server, "plain")
    whole = plain.chat(asked(CAPITAL))
    assert (whole.message.role.value, whole.message.content) == ("assistant", CAPITAL_ANSWER)
    parts = list(plain.stream_chat(asked(CAPITAL)))
    assert "".join(part.delta or "" for part in parts) == parts[-1].message.content == CAPITAL_ANSWER
    assert plain.complete(CAPITAL).text == CAPITAL_ANSWER
    pieces = list(plain.stream_complete(CAPITAL))
    assert "".join(piece.delta or "" for piece in pieces) == pieces[-1].text == CAPITAL_ANSWER


async def test_chat_asynchronously(server: Server) -> None:
    plain = llm(server, "plain")
    assert (await plain.achat(asked(CAPITAL))).message.content == CAPITAL_ANSWER
    parts = [part.delta or "" async for part in await plain.astream_chat(asked(CAPITAL))]
    assert "".join(parts) == CAPITAL_ANSWER


def test_the_context_length_is_read_from_show(server: Server) -> None:
    plain = llm(server, "native", context_window=-1)
    assert plain.metadata.context_window == 2048
    assert plain.chat(asked(CAPITAL)).message.content
    assert server.running()["native:latest"]["n_ctx"] == 2048


def test_thinking_stands_apart(server: Server) -> None:
    whole = llm(server, "spark", thinking=True).chat(asked(CAPITAL))
    (thought,) = [block for block in whole.message.blocks if block.block_type == "thinking"]
    assert "The user asks for the capital of France" in (thought.content or "")
    assert whole.message.content == CAPITAL_ANSWER
    off = llm(server, "spark", thinking=False).chat(asked(CAPITAL))
    assert {block.block_type for block in off.message.blocks} == {"text"}


def test_tools_plain_streamed_and_their_results(server: Server) -> None:
    spark = llm(server, "spark", thinking=False)
    tools = [FunctionTool.from_defaults(get_weather)]
    reply = spark.chat_with_tools(tools, user_msg=WEATHER)
    (call,) = spark.get_tool_calls_from_response(reply)
    assert (call.tool_name, call.tool_kwargs) == ("get_weather", {"city": "Paris"})
    last = list(spark.stream_chat_with_tools(tools, user_msg=WEATHER))[-1]
    assert [one.tool_kwargs for one in spark.get_tool_calls_from_response(last)] == [{"city": "Paris"}]
    result = ChatMessage(role="tool", content="18 C", additional_kwargs={"tool_call_id": call.tool_id})
    answer = spark.chat([*asked(WEATHER), reply.message, result])
    assert answer.message.content


def test_structured_output(server: Server) -> None:
    city = llm(server, "plain").as_structured_llm(City).chat(asked(CAPITAL))
    assert isinstance(city.raw, City)


def test_embeddings(server: Server) -> None:
    embedding = OllamaEmbedding(model_name="minilm", base_url=server.url)
    assert_near(embedding.get_text_embedding_batch(SKY))
    assert embedding.get_query_embedding(SKY[0]) == pytest.approx(embedding.get_text_embedding(SKY[0]))


async def test_embeddings_asynchronously(server: Server) -> None:
    embedding = OllamaEmbedding(model_name="minilm", base_url=server.url)
    assert_near(await embedding.aget_text_embedding_batch(SKY))


def test_images_used_and_refused(server: Server) -> None:
    def looked(model: str, seed: int) -> Any:
        blocks = [TextBlock(text="What is this?"), ImageBlock(image=picture(seed))]
        chat = llm(server, model, options={"num_predict": 12})
        return chat.chat([ChatMessage(role="user", blocks=blocks)])

    first, second = looked("eyes", 1), looked("eyes", 2)
    assert first.raw["prompt_eval_count"] == second.raw["prompt_eval_count"] > 64
    assert first.message.content != second.message.content
    with pytest.raises(ollama.ResponseError, match="multimodal"):
        looked("plain", 1)


def test_a_broken_off_stream_and_a_timeout_free_their_slots(server: Server) -> None:
    llm(server, "endless", options={"num_predict": 1}).chat(asked(ENDLESS))
    with server.broken_off("endless"):
        stream = llm(server, "endless", options={"num_predict": 20_000}).stream_chat(asked(ENDLESS))
        assert next(stream).delta is not None
        stream.close()  # type: ignore[attr-defined]
    with server.broken_off("endless"), pytest.raises(httpx.ReadTimeout):
        llm(server, "endless", request_timeout=0.5, options={"num_predict": 20_000}).chat(asked(ENDLESS))


def test_errors_are_those_of_the_package_below(server: Server) -> None:
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found"):
        llm(server, "nope", context_window=2048).chat(asked("Hi"))
