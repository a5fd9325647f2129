"""The official Python clients of Ollama and OpenAI, unmodified."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Any

import ollama
import openai
import pytest

from tests.e2e.conftest import MODELS, Served

TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string", "description": "City"}},
        },
    },
}
CAPITAL = [{"role": "user", "content": "What is the capital of France?"}]


@pytest.fixture(scope="module")
def native(served: Served) -> Iterator[ollama.Client]:
    with ollama.Client(host=served.url) as client:
        yield client


@pytest.fixture(scope="module")
def compatible(served: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{served.url}/v1", api_key="unused") as client:
        yield client


def cosine(left: list[float], right: list[float]) -> float:
    dot = math.fsum(a * b for a, b in zip(left, right, strict=True))
    return dot / math.sqrt(math.fsum(a * a for a in left) * math.fsum(b * b for b in right))


def test_ollama_chat_whole_and_streamed_are_equal(native: ollama.Client) -> None:
    whole = native.chat("spark", messages=CAPITAL, think=False, options={"temperature": 0})
    assert "Paris" in (whole.message.content or "")
    parts = list(native.chat("spark", messages=CAPITAL, think=False, stream=True, options={"temperature": 0}))
    assert "".join(part.message.content or "" for part in parts) == whole.message.content
    assert [part.done for part in parts].count(True) == 1
    assert parts[-1].done_reason == whole.done_reason == "stop"


def test_ollama_thinking_stands_apart(native: ollama.Client) -> None:
    reply = native.chat("spark", messages=CAPITAL, think=True, options={"temperature": 0})
    assert reply.message.thinking
    assert "<think>" not in (reply.message.content or "")


def test_ollama_tools(native: ollama.Client) -> None:
    messages = [{"role": "user", "content": "What is the weather in Paris?"}]
    reply = native.chat("spark", messages=messages, tools=[TOOL], think=False, options={"temperature": 0})
    calls = reply.message.tool_calls or []
    assert [call.function.name for call in calls] == ["get_weather"]
    assert calls[0].function.arguments.get("city") == "Paris"


def test_ollama_embeddings(native: ollama.Client) -> None:
    texts = ["The sky is blue", "The heaven is azure", "Tax law is dull"]
    vectors = native.embed("minilm", input=texts).embeddings
    sky, heaven, tax = [list(vector) for vector in vectors]
    assert len(sky) == 384
    assert cosine(sky, heaven) > cosine(sky, tax)


def test_ollama_models(native: ollama.Client) -> None:
    names = {model.model for model in native.list().models}
    assert {"spark:latest", "plain:latest", "native:latest", "minilm:latest"} <= names
    assert "thinking" in (native.show("spark").capabilities or [])
    native.copy("plain", "twin")
    native.delete("twin")
    with pytest.raises(ollama.ResponseError) as caught:
        native.show("twin")
    assert caught.value.status_code == 404


def test_ollama_create_from_a_blob(native: ollama.Client) -> None:
    path = MODELS / "minilm.gguf"
    digest = native.create_blob(path)
    assert digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    states = [state.status for state in native.create("again", files={path.name: digest}, stream=True)]
    assert states[-1] == "success"
    native.delete("again")


async def test_ollama_async_client_may_send_a_known_blob_again(served: Served) -> None:
    async with ollama.AsyncClient(host=served.url) as client:
        digest = await client.create_blob(MODELS / "minilm.gguf")
        assert digest == await client.create_blob(MODELS / "minilm.gguf")


def test_openai_chat_whole_and_streamed_are_equal(compatible: openai.OpenAI) -> None:
    request: dict[str, Any] = {"model": "plain", "messages": CAPITAL, "temperature": 0}
    whole = compatible.chat.completions.create(**request)
    text = whole.choices[0].message.content
    assert text is not None
    assert "Paris" in text
    assert whole.usage is not None
    chunks = list(
        compatible.chat.completions.create(**request, stream=True, stream_options={"include_usage": True})
    )
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == text
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage


def test_openai_tools(compatible: openai.OpenAI) -> None:
    reply = compatible.chat.completions.create(
        model="spark",
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[TOOL],  # type: ignore[list-item]
        temperature=0,
        extra_body={"reasoning_effort": "none"},
    )
    assert reply.choices[0].finish_reason == "tool_calls"
    calls = reply.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == ["get_weather"]


def test_openai_embeddings_in_base64_equal_those_in_numbers(compatible: openai.OpenAI) -> None:
    packed = compatible.embeddings.create(model="minilm", input="The sky is blue")
    plain = compatible.embeddings.create(model="minilm", input="The sky is blue", encoding_format="float")
    assert cosine(packed.data[0].embedding, plain.data[0].embedding) > 0.999999


def test_openai_models(compatible: openai.OpenAI) -> None:
    assert "spark:latest" in {model.id for model in compatible.models.list()}


def test_openai_errors(compatible: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        compatible.chat.completions.create(model="nope", messages=[{"role": "user", "content": "Hi"}])


def test_openai_completions_have_choices_log_probabilities_and_echo(compatible: openai.OpenAI) -> None:
    request: dict[str, Any] = {"model": "plain", "prompt": "What is the capital of France?", "temperature": 0}
    got = compatible.completions.create(**request, max_tokens=5, logprobs=2, n=2)
    assert [choice.index for choice in got.choices] == [0, 1]
    first = got.choices[0]
    assert first.logprobs is not None
    assert "".join(first.logprobs.tokens or []) == first.text
    assert all(len(top) == 2 for top in first.logprobs.top_logprobs or [])
    echoed = compatible.completions.create(**request, max_tokens=5, echo=True)
    assert echoed.choices[0].text == request["prompt"] + first.text
    parts = compatible.completions.create(**request, max_tokens=5, stream=True, n=2)
    texts = {0: "", 1: ""}
    for part in parts:
        texts[part.choices[0].index] += part.choices[0].text
    assert set(texts.values()) == {first.text}


def test_openai_completions_of_token_ids(compatible: openai.OpenAI, served: Served) -> None:
    text = "What is the capital of France?"
    tokens = served.post("/tokenize", {"model": "plain", "content": text})["tokens"]
    assert served.post("/detokenize", {"model": "plain", "tokens": tokens})["content"] == text
    request: dict[str, Any] = {"model": "plain", "temperature": 0, "max_tokens": 5}
    by_tokens = compatible.completions.create(prompt=tokens, **request)
    raw = served.post(
        "/api/generate",
        {
            "model": "plain",
            "prompt": text,
            "raw": True,
            "stream": False,
            "options": {"temperature": 0, "num_predict": 5},
        },
    )
    assert by_tokens.choices[0].text == raw["response"]
    assert by_tokens.usage is not None and by_tokens.usage.prompt_tokens == len(tokens)
    reply = served.client.post("/detokenize", json={"model": "plain", "tokens": [2_000_000_000]})
    assert reply.status_code == 400


def test_openai_completions_score_a_text(compatible: openai.OpenAI, served: Served) -> None:
    """As evaluation harnesses do: the log probabilities of a continuation."""
    context, continuation = "What is the capital of France?", " It is Paris."
    count = {"model": "plain", "with_pieces": False}
    of_context = served.post("/tokenize", {**count, "content": context})["tokens"]
    tokens = of_context + served.post("/tokenize", {**count, "content": continuation})["tokens"]
    request: dict[str, Any] = {"model": "plain", "temperature": 0, "echo": True, "logprobs": 2}
    scored = compatible.completions.create(prompt=[tokens, tokens], max_tokens=1, **request)
    for choice in scored.choices:
        logprobs = choice.logprobs
        assert logprobs is not None and logprobs.token_logprobs is not None and logprobs.tokens is not None
        assert choice.text == context + continuation  # it ends there
        assert "".join(logprobs.tokens) == choice.text + "<|im_end|>"
        assert len(logprobs.tokens) == len(tokens) + 1
        first, *rest = logprobs.token_logprobs
        assert first is None and all(value is not None and value <= 0 for value in rest)
        assert logprobs.top_logprobs is not None and logprobs.top_logprobs[0] is None
        for value, top in zip(rest, logprobs.top_logprobs[1:], strict=True):
            assert len(top) <= 2 and value <= max(top.values())
        offsets = logprobs.text_offset
        assert offsets is not None and offsets[len(of_context)] == len(context)
        continued = logprobs.token_logprobs[len(of_context) : -1]
    nothing = compatible.completions.create(prompt=tokens, max_tokens=0, **request).choices[0]
    assert (nothing.text, nothing.finish_reason) == (context + continuation, "length")
    assert nothing.logprobs is not None and nothing.logprobs.token_logprobs is not None
    alone = nothing.logprobs.token_logprobs[len(of_context) :]
    for one, other in zip(continued, alone, strict=True):
        assert abs(one - other) < 2e-2
    parts = list(compatible.completions.create(prompt=tokens, max_tokens=1, stream=True, **request))
    told = [part.choices[0].logprobs for part in parts if part.choices and part.choices[0].logprobs]
    assert sum(len(one.tokens or []) for one in told) == len(tokens) + 1
    assert parts[0].choices[0].text == context + continuation
    bare = compatible.completions.create(model="plain", prompt=context, echo=True, max_tokens=0)
    assert bare.choices[0].text == context
    with pytest.raises(openai.BadRequestError, match="context holds"):
        compatible.completions.create(prompt=tokens * 2000, max_tokens=0, **request)


def test_openai_counts_out_what_it_is_told_to(compatible: openai.OpenAI) -> None:
    request: dict[str, Any] = {"model": "plain", "messages": CAPITAL, "temperature": 0}
    got = compatible.chat.completions.create(
        **request, n=2, logprobs=True, top_logprobs=2, max_completion_tokens=5, parallel_tool_calls=False
    )
    assert [choice.index for choice in got.choices] == [0, 1]
    for choice in got.choices:
        assert choice.logprobs is not None
        assert "".join(entry.token for entry in choice.logprobs.content or []) == choice.message.content
    assert got.usage is not None
    assert got.usage.completion_tokens == 10
