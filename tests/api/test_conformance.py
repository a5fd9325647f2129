"""Behaviour of Ollama's API that the recorded exchanges do not show, asked of the whole server."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest

from server.types.names import ModelName
from tests.support.exchanges import make_models
from tests.support.live_server import live_server

GREEDY = {"temperature": 0, "seed": 1, "num_predict": 24}
ASK = [{"role": "user", "content": "What is the capital of Japan?"}]
TOKYO = "The capital of Japan is Tokyo."
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the current weather in a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The name of the city"}},
            "required": ["city"],
        },
    },
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with live_server(tmp_path_factory.mktemp("conformance")) as client:
        make_models(client)
        yield client


def post(client: httpx.Client, path: str, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    return reply.json()


def refused(client: httpx.Client, path: str, **body: Any) -> tuple[int, str]:
    reply = client.post(path, json=body)
    error = reply.json()["error"]
    return reply.status_code, error["message"] if isinstance(error, dict) else error


def generate(client: httpx.Client, prompt: str = "Tell me a story.", **body: Any) -> Any:
    options = {**GREEDY, **body.pop("options", {})}
    return post(client, "/api/generate", model="plain", prompt=prompt, stream=False, options=options, **body)


def chat(client: httpx.Client, model: str = "plain", **body: Any) -> Any:
    return post(
        client, "/api/chat", **{"model": model, "messages": ASK, "stream": False, "options": GREEDY, **body}
    )


def openai(client: httpx.Client, **body: Any) -> Any:
    given = {"model": "plain", "messages": ASK, "temperature": 0, "max_tokens": 24, **body}
    return post(client, "/v1/chat/completions", **given)


def running(client: httpx.Client) -> dict[str, Any]:
    return {model["name"]: model for model in client.get("/api/ps").json()["models"]}


def seconds_left(model: dict[str, Any]) -> float:
    return datetime.fromisoformat(model["expires_at"]).timestamp() - time.time()


def test_keep_alive_stays_until_it_is_changed(client: httpx.Client) -> None:
    post(client, "/api/generate", model="plain", keep_alive="1h")
    generate(client, options={"num_predict": 1})
    assert 3500 < seconds_left(running(client)["plain:latest"]) < 3700
    post(client, "/api/generate", model="plain", keep_alive=-1)
    assert seconds_left(running(client)["plain:latest"]) > 100 * 365 * 86_400
    post(client, "/api/chat", model="plain", messages=[], keep_alive="5m")
    assert seconds_left(running(client)["plain:latest"]) < 400


def test_unload(client: httpx.Client) -> None:
    post(client, "/api/generate", model="plain")
    assert "plain:latest" in running(client)
    reply = post(client, "/api/chat", model="plain", messages=[], keep_alive=0)
    assert reply["done_reason"] == "unload"
    assert "plain:latest" not in running(client)
    again = post(client, "/api/generate", model="plain", keep_alive=0)
    assert again["done_reason"] == "unload"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("x@y", "invalid model name"),
        ("x:cloud:local", 'use either :local or :cloud, not both: "x:cloud:local"'),
    ],
)
def test_names_that_are_refused(client: httpx.Client, name: str, message: str) -> None:
    assert refused(client, "/api/generate", model=name, prompt="x") == (400, message)


def test_the_cloud_is_off(client: httpx.Client) -> None:
    for path in ("/api/generate", "/api/chat", "/api/embed", "/v1/chat/completions"):
        status, message = refused(client, path, model="x:cloud", prompt="x", messages=ASK, input="x")
        assert (status, message) == (403, "ollama cloud is disabled: remote model is unavailable")
    status, message = refused(client, "/api/show", model="x:cloud")
    assert (status, message) == (403, "ollama cloud is disabled: remote model details are unavailable")


def test_a_local_suffix_is_left_out(client: httpx.Client) -> None:
    assert chat(client, "plain:local")["message"]["content"] == TOKYO


def test_names_are_found_in_any_case(client: httpx.Client) -> None:
    assert chat(client, "PLAIN:Latest")["model"] == "PLAIN:Latest"


def test_null_options_are_left_out(client: httpx.Client) -> None:
    assert generate(client, options={"top_k": None, "num_predict": 2})["eval_count"] == 2


def test_the_same_seed_gives_the_same_text(client: httpx.Client) -> None:
    hot = {"temperature": 1.5, "seed": 7}
    assert generate(client, options=hot)["response"] == generate(client, options=hot)["response"]
    assert (
        generate(client, options=hot)["response"] != generate(client, options={**hot, "seed": 8})["response"]
    )


def test_a_stop_text_is_not_part_of_the_answer(client: httpx.Client) -> None:
    reply = generate(client, options={"stop": [" "]})
    assert (reply["response"], reply["done_reason"]) == ("Once", "stop")
    details = generate(client, options={"stop": [" "]}, olla={"details": True})["olla"]
    assert details["stop_text"] == " "


@pytest.mark.parametrize("format_", ["", None])
def test_no_format(client: httpx.Client, format_: Any) -> None:
    assert chat(client, format=format_)["message"]["content"] == TOKYO


def test_a_schema_is_kept(client: httpx.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
        "required": ["city"],
    }
    reply = chat(client, format=schema, options={**GREEDY, "num_predict": 60})
    assert json.loads(reply["message"]["content"])["city"] in ("Oslo", "Rome")


def test_a_bad_template_of_the_requests_own(client: httpx.Client) -> None:
    status, _ = refused(client, "/api/generate", model="plain", prompt="x", template="{{")
    assert status == 500


def test_a_template_of_the_requests_own(client: httpx.Client) -> None:
    reply = post(
        client,
        "/api/generate",
        model="plain",
        prompt="x",
        template="[{{ .System }}|{{ .Prompt }}]",
        system="s",
        _debug_render_only=True,
    )
    assert reply["_debug_info"]["rendered_template"] == "[s|x]"


def test_roles_in_capitals(client: httpx.Client) -> None:
    messages = [{"role": "USER", "content": ASK[0]["content"]}]
    assert chat(client, messages=messages)["message"]["content"] == TOKYO


def test_embedding_models_do_not_chat(client: httpx.Client) -> None:
    assert refused(client, "/api/chat", model="minilm", messages=ASK) == (
        400,
        '"minilm" does not support chat',
    )


def test_arguments_of_calls_are_objects(client: httpx.Client) -> None:
    calls = [{"function": {"name": "f", "arguments": "{}"}}]
    messages = [*ASK, {"role": "assistant", "content": "", "tool_calls": calls}]
    assert refused(client, "/api/chat", model="spark", messages=messages)[0] == 400


def test_the_requests_own_system_replaces_the_models(client: httpx.Client) -> None:
    post(
        client,
        "/api/create",
        **{"model": "pirate", "from": "plain", "system": "Be a pirate.", "stream": False},
    )
    own = [{"role": "system", "content": "Be brief."}, *ASK]
    rendered = {
        name: chat(client, "pirate", messages=messages, _debug_render_only=True)["_debug_info"][
            "rendered_template"
        ]
        for name, messages in (("own", own), ("none", ASK))
    }
    assert "pirate" in rendered["none"]
    assert "pirate" not in rendered["own"]
    assert "Be brief." in rendered["own"]


@pytest.mark.parametrize("stream", [True, False])
def test_streamed_and_whole_calls_are_alike(client: httpx.Client, stream: bool) -> None:
    body = {
        "model": "spark",
        "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
        "tools": [WEATHER],
        "think": False,
        "stream": stream,
        "options": {**GREEDY, "num_predict": 80},
    }
    lines = [json.loads(line) for line in client.post("/api/chat", json=body).text.splitlines()]
    calls = [call for line in lines for call in line["message"].get("tool_calls", [])]
    assert [call["function"] for call in calls] == [
        {"index": 0, "name": "get_weather", "arguments": {"city": "Paris"}}
    ]
    assert "".join(line["message"]["content"] for line in lines) == ""
    assert lines[-1]["done_reason"] == "stop"


def test_a_result_by_the_id_of_its_call_alone(client: httpx.Client) -> None:
    history = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "21 degrees and sunny"},
    ]
    reply = chat(client, "spark", messages=history, tools=[WEATHER], think=False)
    assert "21 degrees" in reply["message"]["content"]


def test_vectors_have_unit_length(client: httpx.Client) -> None:
    reply = post(client, "/api/embed", model="minilm", input=["a", "b"])
    assert [len(vector) for vector in reply["embeddings"]] == [384, 384]
    assert math.dist(reply["embeddings"][0], [0] * 384) == pytest.approx(1, abs=1e-3)
    (short,) = post(client, "/api/embed", model="minilm", input="a", dimensions=8)["embeddings"]
    assert math.dist(short, [0] * 8) == pytest.approx(1, abs=1e-3)
    assert post(client, "/api/embeddings", model="minilm", prompt="") == {"embedding": []}


def test_token_ids_are_embedded(client: httpx.Client) -> None:
    text = post(client, "/v1/embeddings", model="minilm", input="hello world")
    tokens = client.post("/olla/tokenize", json={"model": "minilm", "text": "hello world"}).json()["tokens"]
    by_ids = post(client, "/v1/embeddings", model="minilm", input=tokens)
    assert by_ids["data"][0]["embedding"] == pytest.approx(text["data"][0]["embedding"], abs=1e-3)


def test_show_with_arrays(client: httpx.Client) -> None:
    short = post(client, "/api/show", model="plain")
    long = post(client, "/api/show", model="plain", verbose=True)
    assert short["model_info"]["tokenizer.ggml.tokens"] is None
    assert len(long["model_info"]["tokenizer.ggml.tokens"]) == 4096
    assert short["tensors"] == long["tensors"]


def test_tags_are_sorted_by_whole_seconds_then_by_name(client: httpx.Client) -> None:
    models = client.get("/api/tags").json()["models"]
    order = []
    for model in models:
        modified_s = int(datetime.fromisoformat(model["modified_at"]).timestamp())
        order.append((-modified_s, ModelName.parse(model["name"]).full()))
    assert len(order) > 1
    assert order == sorted(order)
    assert all(len(model["digest"]) == 64 for model in models)


def test_the_newer_limit_counts(client: httpx.Client) -> None:
    reply = openai(client, max_completion_tokens=1, max_tokens=None)
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 1


def test_efforts(client: httpx.Client) -> None:
    assert openai(client, reasoning_effort="none")["choices"][0]["message"]["content"] == TOKYO
    status, _ = refused(client, "/v1/chat/completions", model="plain", messages=ASK, reasoning_effort="weird")
    assert status == 400


def test_biased_tokens_do_not_come(client: httpx.Client) -> None:
    (token,) = client.post("/olla/tokenize", json={"model": "plain", "text": " Tokyo"}).json()["tokens"]
    reply = openai(client, logit_bias={str(token): -100})
    assert "Tokyo" not in reply["choices"][0]["message"]["content"]


def test_log_probabilities_for_openai(client: httpx.Client) -> None:
    choice = openai(client, logprobs=True, top_logprobs=2)["choices"][0]
    content = choice["logprobs"]["content"]
    assert "".join(item["token"] for item in content).startswith("The capital")
    assert all(len(item["top_logprobs"]) == 2 and item["logprob"] <= 0 for item in content)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "get_weather"}}])
def test_a_call_that_is_required_comes(client: httpx.Client, choice: Any) -> None:
    reply = openai(client, model="spark", tools=[WEATHER], tool_choice=choice, max_tokens=200)["choices"][0]
    assert {call["function"]["name"] for call in reply["message"]["tool_calls"]} == {"get_weather"}
    assert (reply["message"]["content"], reply["finish_reason"]) == ("", "tool_calls")


def test_several_choices(client: httpx.Client) -> None:
    reply = openai(
        client, n=2, temperature=1.5, seed=3, messages=[{"role": "user", "content": "Tell me a story."}]
    )
    first, second = (choice["message"]["content"] for choice in reply["choices"])
    assert first != second


def test_a_developer_is_heard(client: httpx.Client) -> None:
    messages = [
        {"role": "developer", "content": "Answer in capital letters."},
        {"role": "user", "content": "What is the opposite of hot?"},
    ]
    assert (
        openai(client, messages=messages)["choices"][0]["message"]["content"]
        == "THE OPPOSITE OF HOT IS COLD."
    )


def test_an_empty_prompt_only_loads(client: httpx.Client) -> None:
    reply = post(client, "/v1/completions", model="plain", prompt="")
    assert reply["choices"][0]["finish_reason"] == "load"


ENDLESS = {
    "model": "plain",
    "prompt": "Once",
    "raw": True,
    "options": {"num_predict": -1},
    # Without its two end tokens the model goes on for thousands of tokens.
    "olla": {"logit_bias": {"0": -100, "2": -100}},
}


def newest_request(client: httpx.Client) -> dict[str, Any]:
    newest: dict[str, Any] = client.get("/olla/status").json()["requests"][0]
    return newest


def test_a_closed_stream_gives_its_slot_back(client: httpx.Client) -> None:
    with client.stream("POST", "/api/generate", json=ENDLESS) as reply:
        pieces = reply.iter_raw()
        next(pieces)
        assert newest_request(client)["state"] == "decode"
    deadline_s = time.monotonic() + 10
    while (state := newest_request(client)["state"]) == "decode":
        assert time.monotonic() < deadline_s
    assert state == "cancelled"


def test_a_request_can_be_cancelled_by_its_number(client: httpx.Client) -> None:
    with client.stream("POST", "/api/generate", json=ENDLESS) as reply:
        lines = reply.iter_lines()
        next(lines)
        client.post(f"/olla/requests/{newest_request(client)['id']}/cancel").raise_for_status()
        assert json.loads(list(lines)[-1]) == {"error": "the request was cancelled", "olla": {"status": 499}}


def test_unknown_requests_cannot_be_cancelled(client: httpx.Client) -> None:
    assert refused(client, "/olla/requests/999999/cancel")[0] == 404


def test_logs_count_up(client: httpx.Client) -> None:
    post(client, "/api/generate", model="plain", keep_alive=0)
    generate(client, options={"num_predict": 1})
    numbers = [line["number"] for line in client.get("/olla/logs").json()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    later = client.get(f"/olla/logs?after={numbers[-1] - 1}").json()
    assert later[0]["number"] == numbers[-1]


def test_an_empty_store(tmp_path_factory: pytest.TempPathFactory) -> None:
    with live_server(tmp_path_factory.mktemp("empty")) as client:
        assert client.get("/v1/models").json() == {"object": "list", "data": None}
        assert client.get("/api/tags").json() == {"models": []}
        (bundled,) = client.get("/olla/bundled").json()
        assert not bundled["installed"]
        client.post(f"/olla/bundled/{bundled['name']}").raise_for_status()
        assert [model["name"] for model in client.get("/api/tags").json()["models"]] == [bundled["name"]]
