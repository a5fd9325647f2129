"""Asking a live server what a real Ollama was asked, in the same order."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from tests.support.golden import Response, parse_body
from tests.support.plain_model import SPARK, plain_model

GOLDEN = Path(__file__).parents[1] / "golden" / "api"
MODELS = Path(__file__).parents[1] / "models"
STOP = {"stop": ["<|im_end|>"]}


CREATED_BETWEEN = {"blob-head-none": {"model": "x", "from": "plain", "stream": False}}
"""Models that the recorded server was given between two exchanges, by the exchange that comes after."""


class Answer(NamedTuple):
    """The reply to an exchange, and to the request that was made after it."""

    response: Response
    after: Response | None


def order() -> list[str]:
    """Names of all exchanges, in the order in which they must be asked: some change what later ones see."""
    names: list[str] = json.loads((GOLDEN / "order.json").read_text())
    return names


def load(name: str) -> dict[str, Any]:
    """An exchange: `request` and `response`."""
    exchange: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return exchange


def make_models(client: httpx.Client) -> None:
    """Upload and create the four models that the exchanges are about."""
    spark = {"template": (SPARK.parent / "spark.gotmpl").read_text(), "parameters": STOP}
    plain = {"template": (MODELS / "plain.gotmpl").read_text(), "parameters": STOP}
    make_model(client, "spark", SPARK, **spark)
    make_model(client, "plain", plain_model(), **plain)
    make_model(client, "native", MODELS / "spark-f16.gguf")
    make_model(client, "minilm", MODELS / "minilm.gguf")
    # The recordings begin with this blob in the store.
    client.post(f"/api/blobs/{_digest(b'abc')}", content=b"abc").raise_for_status()


def make_model(client: httpx.Client, name: str, file: Path, **fields: Any) -> None:
    """Upload a file and create a model of it."""
    data = file.read_bytes()
    digest = _digest(data)
    client.post(f"/api/blobs/{digest}", content=data).raise_for_status()
    body = {"model": name, "files": {file.name: digest}, "stream": False, **fields}
    client.post("/api/create", json=body).raise_for_status()


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def ask_all(client: httpx.Client) -> dict[str, Answer]:
    """The answers to all exchanges, asked in order."""
    answers = {}
    for name in order():
        if name in CREATED_BETWEEN:
            client.post("/api/create", json=CREATED_BETWEEN[name]).raise_for_status()
        answers[name] = ask(client, load(name)["request"])
    return answers


def ask(client: httpx.Client, request: dict[str, Any]) -> Answer:
    """Make one request, and the one after it if there is one."""
    body = request.get("body")
    content = body.encode() if isinstance(body, str) else None
    headers = {name: value for name, value in request.get("headers", {}).items() if value}
    reply = client.request(
        request["method"],
        request["path"],
        content=content,
        json=None if content is not None else body,
        headers=headers,
    )
    after = _response(client.get(request["after"])) if "after" in request else None
    return Answer(_response(reply), after)


def _response(reply: httpx.Response) -> Response:
    headers = {name: reply.headers.get_list(name)[0] for name in reply.headers}
    return Response(reply.status_code, headers, parse_body(headers.get("content-type", ""), reply.text))
