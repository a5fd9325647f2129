"""pydantic-ai by its Ollama model (OpenAI's chat) and by OpenAI's responses."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

import pydantic
import pytest
from pydantic_ai import Agent, BinaryContent, ModelHTTPError, NativeOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.messages import ThinkingPart, ToolCallPart, ToolReturnPart
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.asked import CAPITAL, CAPITAL_ANSWER, ENDLESS, SKY, WEATHER, assert_near
from tests.clients.serving import Server
from tests.support.vision_models import picture

GREEDY: Any = {"temperature": 0, "max_tokens": 200}
SILENT: Any = {**GREEDY, "openai_reasoning_effort": "none"}


class City(pydantic.BaseModel):
    """A city"""

    city: Literal["Paris", "Rome"]
    size: Literal[1, 2, 3]


def chat(server: Server, model: str) -> OllamaModel:
    return OllamaModel(model, provider=OllamaProvider(base_url=f"{server.url}/v1"))


def responses(server: Server, model: str) -> OpenAIResponsesModel:
    return OpenAIResponsesModel(model, provider=OpenAIProvider(base_url=f"{server.url}/v1", api_key="unused"))


@pytest.mark.parametrize("make", [chat, responses])
async def test_an_answer_whole_and_streamed(server: Server, make: Any) -> None:
    agent = Agent(make(server, "plain"), model_settings=GREEDY)
    whole = await agent.run(CAPITAL)
    assert whole.output == CAPITAL_ANSWER
    async with agent.run_stream(CAPITAL) as stream:
        texts = [text async for text in stream.stream_text(delta=True, debounce_by=None)]
    assert "".join(texts) == CAPITAL_ANSWER
    cut = await agent.run(CAPITAL, model_settings={"max_tokens": 3})
    assert cut.usage.output_tokens == 3


async def test_thinking_is_a_part_of_its_own(server: Server) -> None:
    ran = await Agent(chat(server, "spark"), model_settings=GREEDY).run(CAPITAL)
    thoughts = [
        part for message in ran.new_messages() for part in message.parts if isinstance(part, ThinkingPart)
    ]
    assert len(thoughts) == 1 and "The user asks for the capital of France" in thoughts[0].content
    assert ran.output == CAPITAL_ANSWER


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_a_tool_is_called_and_its_result_given_back(server: Server, is_streamed: bool) -> None:
    agent = Agent(chat(server, "spark"), model_settings=SILENT)
    asked: list[str] = []

    @agent.tool_plain
    def get_weather(city: str) -> str:
        """Weather of a city"""
        asked.append(city)
        return "18 C and sunny"

    if is_streamed:
        async with agent.run_stream(WEATHER) as stream:
            output = await stream.get_output()
            messages = stream.new_messages()
    else:
        ran = await agent.run(WEATHER)
        output, messages = ran.output, ran.new_messages()
    assert asked == ["Paris"] and output
    kinds = [type(part) for message in messages for part in message.parts]
    assert kinds.index(ToolCallPart) < kinds.index(ToolReturnPart)


async def test_structured_output_by_a_schema_and_by_a_forced_tool(server: Server) -> None:
    by_schema = await Agent(chat(server, "plain"), output_type=NativeOutput(City), model_settings=GREEDY).run(
        CAPITAL
    )
    assert isinstance(by_schema.output, City)
    by_tool = await Agent(chat(server, "spark"), output_type=City, model_settings=SILENT).run(CAPITAL)
    assert isinstance(by_tool.output, City)


async def test_embeddings(server: Server) -> None:
    provider = OllamaProvider(base_url=f"{server.url}/v1")
    embedder = Embedder(OpenAIEmbeddingModel("minilm", provider=provider))
    assert_near((await embedder.embed_documents(SKY)).embeddings)


async def test_images_used_and_refused(server: Server) -> None:
    async def looked(model: str, seed: int) -> Any:
        agent = Agent(chat(server, model), model_settings={"temperature": 0, "max_tokens": 12})
        return await agent.run(["What is this?", BinaryContent(picture(seed), media_type="image/png")])

    first, second = await looked("eyes", 1), await looked("eyes", 2)
    assert first.usage.input_tokens == second.usage.input_tokens > 64
    assert first.output != second.output
    with pytest.raises(ModelHTTPError, match="multimodal") as caught:
        await looked("plain", 1)
    assert caught.value.status_code == 400


async def test_a_broken_off_stream_and_a_timeout_free_their_slots(server: Server) -> None:
    agent = Agent(chat(server, "endless"), model_settings={"max_tokens": 20_000})
    await agent.run(ENDLESS, model_settings={"max_tokens": 1})
    with server.broken_off("endless"):
        async with agent.run_stream(ENDLESS) as stream:
            async for _ in stream.stream_text(delta=True, debounce_by=None):
                await stream.cancel()
                break
    with server.broken_off("endless"), pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(agent.run(ENDLESS), 0.5)


async def test_errors_are_the_clients_own(server: Server) -> None:
    with pytest.raises(ModelHTTPError, match="model 'nope' not found") as caught:
        await Agent(chat(server, "nope")).run("Hi")
    assert caught.value.status_code == 404
