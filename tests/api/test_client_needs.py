"""What clients send and wait for, and what is easily got wrong, asked of the whole server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.exchanges import STOP, make_model, make_models
from tests.support.live_server import live_server
from tests.support.plain_model import SPARK, plain_model
from tests.support.vision_models import picture as make_picture

ASK = [{"role": "user", "content": "What is the capital of Japan?"}]
TOKYO = "The capital of Japan is Tokyo."
GREEDY = {"temperature": 0, "seed": 1, "num_predict": 24}
TOOL = {"name": "get_weather", "description": "Get the current weather in a city"}
SHAPE = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"type": "function", "function": {**TOOL, "parameters": SHAPE}}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("needs")
    with live_server(folder, OLLAMA_MAX_LOADED_MODELS="8", OLLAMA_NUM_PARALLEL="1") as client:
        make_models(client)
        yield client


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def text_of(body: Any) -> str:
    """The answer's text in any of the four forms of a chat."""
    if "message" in body:
        return str(body["message"]["content"])
    if "choices" in body:
        return str(body["choices"][0]["message"]["content"])
    parts = body["content"] if "content" in body else [p for o in body["output"] for p in o["content"]]
    return "".join(part["text"] for part in parts)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer sk-1"},
        {"Authorization": "Bearer sk-1", "x-api-key": "sk-1", "anthropic-version": "2023-06-01"},
        {"x-api-key": "sk-1", "anthropic-version": "2026-10-21"},
        {"anthropic-version": "soon"},
    ],
)
def test_keys_and_versions_are_accepted(client: httpx.Client, headers: dict[str, str]) -> None:
    body = {"model": "plain", "messages": ASK, "max_tokens": 24, "temperature": 0}
    for path in ("/v1/messages", "/v1/chat/completions", "/api/chat"):
        reply = client.post(path, json={**body, "stream": False, "options": GREEDY}, headers=headers)
        assert (reply.status_code, text_of(reply.json())) == (200, TOKYO)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": ASK, "temperature": 0, "max_output_tokens": 5, "tool_choice": "auto"}),
        ("/v1/chat/completions", {"messages": ASK, "max_tokens": 24, "temperature": 0}),
        ("/v1/messages", {"messages": ASK, "max_tokens": 24, "temperature": 0}),
        ("/v1/responses", {"input": ASK, "max_output_tokens": 24, "temperature": 0, "store": False}),
    ],
)
def test_unknown_keys_are_tolerated(client: httpx.Client, path: str, body: dict[str, Any]) -> None:
    unknown = {"of_tomorrow": {"a": [1]}, "Another": None}
    given = {**body, **unknown, "options": GREEDY, "stream": False}
    assert text_of(post(client, path, model="plain", **given)) == TOKYO


def test_two_names_of_one_file_are_two_models(client: httpx.Client) -> None:
    other = {"template": "<|im_start|>user\n{{ .Prompt }} Say so.<|im_end|>\n", "parameters": STOP}
    make_model(client, "twin", plain_model(), **other)
    rendered = {}
    for name in ("plain", "twin"):
        debug = post(client, "/api/chat", model=name, messages=ASK, stream=False, _debug_render_only=True)
        rendered[name] = debug["_debug_info"]["rendered_template"]
        post(client, "/api/generate", model=name, prompt="Hi", stream=False, options=GREEDY)
    assert "Say so." in rendered["twin"] and "Say so." not in rendered["plain"]

    def names() -> set[str]:
        return {model["name"] for model in client.get("/api/ps").json()["models"]}

    assert {"plain:latest", "twin:latest"} <= names()
    client.request("DELETE", "/api/delete", json={"model": "twin"}).raise_for_status()
    assert "twin:latest" not in names()
    assert "plain:latest" in names()


def test_a_jinja_model_takes_tools_beside_a_go_model_of_its_file(client: httpx.Client) -> None:
    make_model(client, "spark-jinja", SPARK)
    question = [{"role": "user", "content": "What is the weather in Paris?"}]
    for name in ("spark", "spark-jinja", "spark"):
        reply = post(
            client,
            "/api/chat",
            model=name,
            messages=question,
            tools=[FUNCTION],
            think=False,
            stream=False,
            options={**GREEDY, "num_predict": 80},
        )
        (call,) = reply["message"]["tool_calls"]
        assert call["function"]["arguments"] == {"city": "Paris"}
        assert call["id"].startswith("call_") == (name == "spark")
        assert len(call["id"]) == (13 if name == "spark" else 32)


def test_an_answer_goes_on_past_the_context(client: httpx.Client) -> None:
    endless = {"0": -100, "2": -100}
    reply = post(
        client,
        "/api/generate",
        model="plain",
        prompt="Once upon a time",
        raw=True,
        stream=False,
        options={**GREEDY, "num_ctx": 64, "num_predict": 150},
        olla={"logit_bias": endless},
    )
    assert (reply["eval_count"], reply["done_reason"]) == (150, "length")


def test_images_in_a_rendered_prompt_of_a_model_without_eyes(client: httpx.Client) -> None:
    picture = base64.b64encode(make_picture(1)).decode()
    body = {"model": "plain", "prompt": "Look.", "images": [picture], "stream": False}
    debug = post(client, "/api/generate", **body, _debug_render_only=True)["_debug_info"]
    assert "[img-0]" in debug["rendered_template"]
    assert debug["image_count"] == 1
    assert client.post("/api/generate", json=body).status_code == 400


def test_log_probabilities_stand_for_each_token_and_its_bytes(client: httpx.Client) -> None:
    options = {**GREEDY, "num_predict": 10}
    reply = post(
        client,
        "/api/generate",
        model="plain",
        prompt="Tell me a story.",
        stream=False,
        logprobs=True,
        options=options,
        olla={"logit_bias": {"0": -100, "2": -100}},
    )
    assert len(reply["logprobs"]) == reply["eval_count"] == 10
    for item in reply["logprobs"]:
        assert item["token"]
        assert bytes(item["bytes"]).decode() == item["token"]
    assert "".join(item["token"] for item in reply["logprobs"]) == reply["response"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"truncate": False, "input": "river " * 800}, "the input length exceeds the context length"),
        (
            {"options": {"num_ctx": 1}, "input": "a river"},
            "input after truncation exceeds maximum context length",
        ),
        (
            {"options": {"num_ctx": 0}, "input": "a river flows"},
            "input exceeds maximum context length and cannot be truncated further",
        ),
    ],
)
def test_inputs_that_cannot_be_embedded(client: httpx.Client, fields: dict[str, Any], message: str) -> None:
    reply = client.post("/api/embed", json={"model": "minilm", **fields})
    assert (reply.status_code, reply.json()["error"]) == (400, message)


def test_an_input_is_cut_to_fewer_tokens_than_any_context_has(client: httpx.Client) -> None:
    def embed(text: str, **fields: Any) -> Any:
        return post(client, "/api/embed", model="minilm", input=text, **fields)

    body = embed("why is the sky blue?", options={"num_ctx": 3})
    assert body["embeddings"][0] == pytest.approx(embed("why")["embeddings"][0], abs=1e-5)
    assert body["olla"]["context"] == {"limit": 3, "used": 3, "dropped_messages": 0, "dropped_tokens": 5}
    assert embed("why", options={"num_ctx": 3})["prompt_eval_count"] == 3
    (model,) = (m for m in client.get("/api/ps").json()["models"] if m["name"] == "minilm:latest")
    assert model["context_length"] == 4
    assert embed("a river", options={"num_ctx": 0})["prompt_eval_count"] == 4


SPEAKERS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What is the weather in Paris?"}]},
    {"role": "developer", "content": [{"type": "text", "text": "Use the tool."}]},
]
CALL = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
RESULT = [{"type": "text", "text": "21 degrees and sunny"}]
OPENAI = [
    *SPEAKERS,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": CALL}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": RESULT},
]
NATIVE = [
    SPEAKERS[0],
    {"role": "user", "content": "What is the weather in Paris?"},
    {"role": "developer", "content": "Use the tool."},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "21 degrees and sunny"},
]
USE = {"type": "tool_use", "id": "c1", "name": "get_weather", "input": {"city": "Paris"}}
ANTHROPIC = [
    *SPEAKERS,
    {"role": "assistant", "content": [USE]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": RESULT}]},
]
RESPONSES = [
    SPEAKERS[0],
    {"role": "user", "content": [{"type": "input_text", "text": "What is the weather in Paris?"}]},
    {"role": "developer", "content": [{"type": "input_text", "text": "Use the tool."}]},
    {"type": "function_call", "call_id": "c1", **CALL},
    {
        "type": "function_call_output",
        "call_id": "c1",
        "output": [{"type": "input_text", "text": "21 degrees and sunny"}],
    },
]


@pytest.mark.parametrize("model", ["spark", "native"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        # Content in parts is no text, which Ollama's own API refuses with 400.
        ("/api/chat", {"messages": NATIVE, "tools": [FUNCTION], "think": False, "options": GREEDY}),
        (
            "/v1/chat/completions",
            {"messages": OPENAI, "tools": [FUNCTION], "max_tokens": 24, "reasoning_effort": "none"},
        ),
        (
            "/v1/messages",
            {
                "messages": ANTHROPIC,
                "tools": [{**TOOL, "input_schema": SHAPE}],
                "max_tokens": 24,
                "thinking": {"type": "disabled"},
            },
        ),
        (
            "/v1/responses",
            {
                "input": RESPONSES,
                "tools": [{"type": "function", **TOOL, "parameters": SHAPE}],
                "max_output_tokens": 24,
                "reasoning": {"effort": "none"},
                "store": False,
            },
        ),
    ],
    ids=["native", "openai", "anthropic", "responses"],
)
def test_all_roles_and_forms_of_content_are_heard(
    client: httpx.Client, path: str, body: dict[str, Any], model: str
) -> None:
    reply = post(client, path, model=model, **{"temperature": 0, "stream": False, **body})
    assert "21 degrees" in text_of(reply)


def test_ps_answers_while_a_model_is_loaded_and_unloaded(client: httpx.Client) -> None:
    post(client, "/api/generate", model="native", keep_alive=0)
    with client.stream("POST", "/api/generate", json={"model": "native", "prompt": "Hi"}) as reply:
        for _ in range(20):
            for model in client.get("/api/ps").raise_for_status().json()["models"]:
                assert model["name"] == model["model"]
                assert {"size", "digest", "expires_at", "size_vram", "context_length"} <= model.keys()
        last = json.loads(list(reply.iter_lines())[-1])
    assert last["done"]
