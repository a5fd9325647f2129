"""A prompt of any length around the limit is used whole, refused with both numbers, or told as shortened."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import httpx
import pytest

from tests.support.exchanges import make_model, make_models
from tests.support.live_server import live_server
from tests.support.whole_input_models import ranking_minilm

LIMIT = 64
WORDS = (24, 40, 44, 46, 48, 50, 54, 58, 80)
MODELS = ("plain", "native")
"""One is rendered by a Go template, one by its own Jinja template."""


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        n_used: tokens of the prompt, by the reply's own usage.
        context: what the reply tells of a shortened prompt.
        fault: the message of a refusal.
    """

    status: int
    n_used: int = 0
    context: dict[str, int] | None = None
    fault: str = ""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with live_server(
        tmp_path_factory.mktemp("contract"), OLLAMA_NUM_PARALLEL="1", OLLAMA_MAX_LOADED_MODELS="8"
    ) as client:
        make_models(client)
        for model in MODELS:
            for name, n_ctx in ((f"{model}-tight", LIMIT), (f"{model}-wide", 512)):
                body = {"model": name, "from": model, "parameters": {"num_ctx": n_ctx}, "stream": False}
                client.post("/api/create", json=body).raise_for_status()
        yield client


def last_of(reply: httpx.Response) -> dict[str, Any]:
    """The body, with what the last events of a stream say put together."""
    if "event-stream" in reply.headers["content-type"]:
        made: dict[str, Any] = {}
        for line in reply.text.splitlines():
            if line.startswith("data: {"):
                event = json.loads(line.removeprefix("data: "))
                made |= event.get("response") or {}
                made |= {key: value for key, value in event.items() if key in ("usage", "olla") and value}
        return made
    lines = reply.text.strip().splitlines()
    body: dict[str, Any] = json.loads(lines[-1])
    return body


def outcome(reply: httpx.Response) -> Outcome:
    body = last_of(reply)
    if reply.status_code != 200:
        error = body["error"]
        return Outcome(reply.status_code, fault=error if isinstance(error, str) else error["message"])
    usage = body.get("usage", {})
    cached = usage.get("cache_read_input_tokens", 0)
    n_used = body.get("prompt_eval_count") or usage.get("prompt_tokens") or usage["input_tokens"] + cached
    return Outcome(200, n_used, (body.get("olla") or {}).get("context"))


def body_of(path: str, model: str, n_words: int, variant: dict[str, Any]) -> dict[str, Any]:
    text = " ".join(["river"] * n_words)
    turns = [
        {"role": "user", "content": "Hello there."},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": text},
    ]
    native = {"options": {"num_predict": 1}}
    bodies: dict[str, dict[str, Any]] = {
        "/api/generate": {"prompt": text, "stream": False, **native},
        "/api/chat": {"messages": turns, "stream": False, **native},
        "/v1/chat/completions": {"messages": turns, "max_tokens": 1},
        "/v1/completions": {"prompt": text, "max_tokens": 1},
        "/v1/messages": {"messages": turns, "max_tokens": 1},
        "/v1/responses": {"input": turns, "max_output_tokens": 1, "store": False},
    }
    return {"model": model, **bodies[path], **variant}


ROUTES: list[tuple[str, dict[str, Any]]] = [
    ("/api/generate", {}),
    ("/api/generate", {"raw": True}),
    ("/api/generate", {"truncate": False}),
    ("/api/generate", {"shift": False}),
    ("/api/chat", {}),
    ("/api/chat", {"stream": True}),
    ("/api/chat", {"truncate": False}),
    ("/v1/chat/completions", {}),
    ("/v1/chat/completions", {"stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/completions", {}),
    ("/v1/completions", {"stream": True, "stream_options": {"include_usage": True}}),
    ("/v1/completions", {"echo": True, "logprobs": 1}),
    ("/v1/messages", {}),
    ("/v1/messages", {"stream": True}),
    ("/v1/responses", {}),
    ("/v1/responses", {"truncation": "auto"}),
    ("/v1/responses", {"truncation": "auto", "stream": True}),
]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("path", "variant"), ROUTES, ids=[f"{path} {variant}" for path, variant in ROUTES])
def test_around_the_limit(client: httpx.Client, path: str, variant: dict[str, Any], model: str) -> None:
    kinds = set()
    for n_words in WORDS:
        wide = outcome(client.post(path, json=body_of(path, f"{model}-wide", n_words, variant)))
        assert (wide.status, wide.context) == (200, None)
        tight = outcome(client.post(path, json=body_of(path, f"{model}-tight", n_words, variant)))
        if tight.status != 200:
            kinds.add("refused")
            assert tight.status == 400
            # A conversation is refused when not even its last message fits; that is what is told.
            n_told, limit = map(int, re.findall(r"\d+", tight.fault))
            assert LIMIT <= n_told <= wide.n_used
            assert limit == LIMIT
            assert "num_ctx" in tight.fault
            assert wide.n_used >= LIMIT
        elif tight.context is None:
            kinds.add("whole")
            assert tight.n_used == wide.n_used < LIMIT
        else:
            kinds.add("shortened")
            assert tight.context["limit"] == LIMIT
            assert tight.context["used"] == tight.n_used < LIMIT
            assert tight.n_used + tight.context["dropped_tokens"] == wide.n_used
            assert wide.n_used >= LIMIT
    assert "whole" in kinds
    assert len(kinds) > 1
    never_cut = variant.get("truncate") is False or variant.get("echo")
    if never_cut or (path == "/v1/responses" and not variant):
        assert "shortened" not in kinds


def test_embeddings_are_whole_cut_or_refused(client: httpx.Client) -> None:
    def embed(n_words: int, **fields: Any) -> httpx.Response:
        text = " ".join(["river"] * n_words)
        return client.post("/api/embed", json={"model": "minilm", "input": text, **fields})

    limit = embed(800).json()["prompt_eval_count"]
    for n_words in (limit - 3, limit - 2, limit - 1, limit + 2):
        n_tokens = n_words + 2
        body = embed(n_words).json()
        assert body["prompt_eval_count"] == min(n_tokens, limit)
        twice = {"model": "minilm", "input": [" ".join(["river"] * n_words)] * 2}
        compatible = client.post("/v1/embeddings", json=twice).json()
        if n_tokens <= limit:
            assert "olla" not in body
            assert "olla" not in compatible
        else:
            told = {"limit": limit, "dropped_messages": 0}
            n_over = n_tokens - limit
            assert body["olla"]["context"] == {**told, "used": limit, "dropped_tokens": n_over}
            assert compatible["olla"]["context"] == {**told, "used": 2 * limit, "dropped_tokens": 2 * n_over}
        reply = embed(n_words, truncate=False)
        if n_tokens <= limit:
            assert reply.json()["prompt_eval_count"] == n_tokens
        else:
            assert reply.status_code == 400
            assert reply.json()["error"] == "the input length exceeds the context length"
            assert reply.headers["olla-hint"].startswith(f"it has {n_tokens} tokens, and {limit} fit")


@pytest.mark.parametrize("model", MODELS)
def test_token_ids_are_whole_or_told_as_cut(client: httpx.Client, model: str) -> None:
    ids = client.post("/tokenize", json={"model": model, "content": "river " * 80}).json()["tokens"]
    for n_tokens in (LIMIT - 2, LIMIT - 1, LIMIT, LIMIT + 1, LIMIT + 9):
        body = {"model": f"{model}-tight", "prompt": ids[:n_tokens], "max_tokens": 1}
        told = outcome(client.post("/v1/completions", json=body))
        if n_tokens < LIMIT:
            assert (told.status, told.n_used, told.context) == (200, n_tokens, None)
        else:
            assert told.context is not None and told.context["limit"] == LIMIT
            assert told.context["used"] == told.n_used < LIMIT
            assert told.n_used + told.context["dropped_tokens"] == n_tokens


@pytest.mark.parametrize("path", ["/api/rerank", "/v1/rerank"])
def test_documents_to_rank_are_whole_cut_or_refused(client: httpx.Client, path: str) -> None:
    make_model(client, "ranker", ranking_minilm(), parameters={"num_ctx": LIMIT})

    def rank(n_words: int, **fields: Any) -> httpx.Response:
        documents = [" ".join(["river"] * n_words), "A lake."]
        return client.post(path, json={"model": "ranker", "query": "water", "documents": documents, **fields})

    n_beside = rank(1).json()["usage"]["prompt_tokens"] - 1
    n_short = rank(1, documents=["A lake."]).json()["usage"]["prompt_tokens"]
    for n_words in (LIMIT - 6, LIMIT - 5, LIMIT - 4, LIMIT - 3, LIMIT + 20):
        n_long = n_beside + n_words - n_short
        body = rank(n_words).json()
        assert body["usage"]["prompt_tokens"] == min(n_long, LIMIT) + n_short
        of_long = next(one for one in body["results"] if one["index"] == 0)
        refused = rank(n_words, truncate=False)
        if n_long <= LIMIT:
            assert "olla" not in body and "olla" not in of_long
            assert refused.status_code == 200
            continue
        n_over = n_long - LIMIT
        assert of_long["olla"] == {"dropped_tokens": n_over}
        assert body["olla"]["context"] == {
            "limit": LIMIT,
            "used": LIMIT + n_short,
            "dropped_messages": 0,
            "dropped_tokens": n_over,
        }
        assert refused.status_code == 400
        assert refused.headers["olla-hint"].startswith(f"it has {n_long} tokens, and {LIMIT} fit")
